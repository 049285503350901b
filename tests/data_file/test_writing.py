"""The study that is written for a data file: what it says, and what it makes of the rows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.data import load
from pipeline.errors import BadInput
from pipeline.folds import split
from pipeline.preprocessing import preprocessed
from pipeline.set_aside import set_test_rows_aside
from pipeline.study_file import source_in
from tests.data_file.tables import notes, spec_for, table, text_for, write

LABEL = ("--target", "label")


def folds_of(spec):
    data = load(spec.load_data)
    return data, split(data, spec.splitter, spec.seed)


def test_every_fold_has_the_same_inputs_whatever_its_rows_hold(tmp_path):
    """A level or a gap that one fold's training rows lack would change the width."""
    rare = np.full(60, "common", dtype=object)
    rare[3] = "rare"
    gap = np.arange(60.0) % 7
    gap[5] = np.nan
    spec = spec_for(write(tmp_path, table(rare=rare, gap=gap, empty=np.nan)), *LABEL)
    data, folds = folds_of(spec)
    widths = {preprocessed(data, fold, spec.preprocess)[0].shape[1] for fold in folds}
    # size, count, gap; two with gaps; three colours and none; common and rare.
    assert widths == {3 + 2 + 4 + 2}


def test_preprocessing_is_fitted_on_training_rows_alone(tmp_path):
    spec = spec_for(write(tmp_path, table()), *LABEL)
    data, folds = folds_of(spec)
    x, _ = preprocessed(data, folds[0], spec.preprocess)
    known = ~data.x["size"].isna().to_numpy()
    assert x[folds[0].train, 0].mean() == pytest.approx(0, abs=1e-6)
    assert abs(x[folds[0].validation, 0][known[folds[0].validation]].mean()) > 1e-3
    unseen = data.x.head(2).assign(colour="purple")
    _, fitted = preprocessed(data, folds[0], spec.preprocess)
    assert (fitted.transform(unseen)[:, 3:] == 0).all()


def test_levels_are_those_of_the_development_rows(tmp_path):
    """A level that test rows alone have must not make a column."""
    colour = np.array(["red", "blue"] * 30, dtype=object)
    data = write(tmp_path, table(colour=colour))
    whole = load(spec_for(data, *LABEL).load_data)
    numbered = whole.__class__(np.arange(60)[:, None], whole.y)
    (first, *_) = set_test_rows_aside(numbered, 0.2, 3)[1].x[:, 0]
    colour[first] = "seen in a test row alone"
    write(tmp_path, table(colour=colour))
    arguments = (*LABEL, "--set", "test_size=0.2", "--seed", "3")
    assert "seen in a test row alone" not in text_for(data, *arguments)
    assert "seen in a test row alone" in text_for(data, *LABEL)
    spec = spec_for(data, *arguments)
    assert (spec.test_size, spec.seed) == (0.2, 3)


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    label = table()["label"].astype(object)
    label[:4] = None
    data = write(tmp_path, table(label=label))
    assert "left out: 4 row(s) without a target" in text_for(data, *LABEL)
    assert load(spec_for(data, *LABEL).load_data).n_rows == 56


def test_a_groups_rows_are_never_on_both_sides(tmp_path):
    person = np.arange(60) % 12
    spec = spec_for(write(tmp_path, table(person=person)), *LABEL, "--groups", "person")
    data, folds = folds_of(spec)
    assert "person" not in data.x.columns
    for fold in folds:
        assert not set(person[fold.train]) & set(person[fold.validation])


def test_ordered_rows_are_validated_by_later_ones(tmp_path):
    days = pd.date_range("2024-01-01", periods=60).strftime("%Y-%m-%d").to_numpy()
    shuffled = np.random.default_rng(0).permutation(60)
    frame = table(day=days, value=np.arange(60.0) ** 2).iloc[shuffled]
    data = write(tmp_path, frame)
    spec = spec_for(data, "--target", "value", "--time", "day", "--drop", "label")
    loaded, folds = folds_of(spec)
    assert (np.diff(loaded.y) > 0).all()
    assert all(fold.train.max() < fold.validation.min() for fold in folds)
    # What is known of the target before its time: the first sixth.
    assert f"CENTRES = [{np.mean(np.arange(10.0) ** 2):.1f}" in text_for(
        data, "--target", "value", "--time", "day", "--drop", "label"
    )


def test_of_ordered_rows_the_last_are_set_aside(tmp_path):
    colour = np.array(["red"] * 30 + ["blue"] * 24 + ["seen last"] * 6, dtype=object)
    frame = table(day=np.arange(60), value=np.arange(60.0), colour=colour)
    arguments = ("--target", "value", "--time", "day", "--drop", "label")
    data = write(tmp_path, frame.iloc[np.random.default_rng(0).permutation(60)])
    assert "seen last" in text_for(data, *arguments)
    text = text_for(data, *arguments, "--set", "test_size=0.1")
    assert "seen last" not in text
    assert "test_size=0.1" in text


def test_a_small_class_makes_fewer_folds(tmp_path):
    label = np.array(["many"] * 57 + ["few"] * 3)
    text = text_for(write(tmp_path, table(label=label)), *LABEL)
    assert "splitter=StratifiedKFold(3, shuffle=True)" in text
    assert "3 folds, as the smallest class has 3 rows" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--target", "labl"), "unknown column 'labl'; did you mean 'label'"),
        ((*LABEL, "--drop", "colour,sise"), "unknown column 'sise'; did you mean 'size'"),
        ((*LABEL, "--groups", "persn"), "unknown column 'persn'; did you mean 'person'"),
        ((*LABEL, "--groups", "colour"), "--groups must have a value in every row, got 6 missing"),
        ((*LABEL, "--groups", "same"), "--groups must be two or more, got 1 in 'same'"),
        ((*LABEL, "--time", "colour"), "--time must have a value in every row"),
        ((*LABEL, "--time", "person"), "--time must be a column of dates or numbers, got 'person'"),
        ((*LABEL, "--drop", "label"), "one of target, groups, time and dropped, got 'label' twice"),
        ((*LABEL, "--groups", "person", "--time", "count"), "got --groups and --time"),
        ((), "--target must name the column of data.csv to predict"),
        ((*LABEL, "--keep-weights"), "--keep-weights needs --model"),
        ((*LABEL, "--trust-model"), "--trust-model needs --model"),
        ((*LABEL, "--set", "batch_size=0"), "batch_size must be"),
        ((*LABEL, "--set", "space.layers=1"), "unknown field 'space.layers'"),
    ],
)
def test_what_does_not_fit_the_table_is_refused(tmp_path, arguments, says):
    person = np.array(["p", "q", "r"] * 20)
    data = write(tmp_path, table(person=person, same="s"))
    with pytest.raises(BadInput, match=says):
        text_for(data, *arguments)


def test_a_target_without_values_is_refused(tmp_path):
    with pytest.raises(BadInput, match="target 'label' must have values, got none"):
        text_for(write(tmp_path, table(label=np.nan)), *LABEL)


def images(tmp_path, **changes: Any):
    random = np.random.default_rng(0)
    named: dict[str, Any] = {
        "x": random.integers(0, 256, (40, 8, 8), dtype=np.uint8),
        "y": np.arange(40) % 2,
    }
    np.savez(tmp_path / "data.npz", **{**named, **changes})
    return tmp_path / "data.npz"


@pytest.mark.parametrize(
    ("changes", "arguments", "says"),
    [
        ({}, ("--target", "y"), "--target names columns of a table, got data.npz"),
        ({}, ("--drop", "y"), "--drop names columns of a table"),
        ({}, ("--groups", "g"), "unknown array 'g'"),
        ({"x": np.zeros((40, 3, 8))}, (), "images must be 4 × 4 or larger"),
        ({"x": np.zeros(40)}, (), "x must be rows × features, or images"),
        ({"x": np.full((40, 2), "a")}, (), "x must be numbers, got <U1"),
        ({"y": np.zeros((40, 2, 2))}, (), r"y must be \[n_rows\] or"),
        ({"y": np.where(np.arange(40) < 3, np.nan, 1.0)}, (), "known in every row, got 3 NaN"),
        ({"x": np.full((40, 3), np.inf)}, (), "x must be finite, or NaN .*, got 120 other value"),
        ({"x": np.full((40, 8, 8), np.nan)}, (), "x must be finite, got 2560 other value"),
        ({"y": np.ones(40)}, (), "target 'y' must have different values"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, arguments, says):
    with pytest.raises(BadInput, match=says):
        text_for(images(tmp_path, **changes), *arguments)


def test_images_and_names_of_classes_are_read(tmp_path):
    spec = spec_for(images(tmp_path, y=np.array(["cat", "dog"] * 20)))
    data, folds = folds_of(spec)
    assert data.x.shape == (40, 8, 8)
    assert (data.y == np.arange(40) % 2).all()
    assert len(folds) == 5
    assert "Rescaling(1 / 255)" in text_for(images(tmp_path))


def test_several_targets_are_weighed_by_their_scale(tmp_path):
    text = text_for(write(tmp_path, table(far=np.arange(60.0) ** 2)), "--target", "far,count")
    assert "loss=scaled_squared_error" in text
    assert "Rescaling(SCALES, CENTRES)" in text


def test_a_column_of_texts_is_read_by_its_words(tmp_path):
    data = write(tmp_path, notes())
    text = text_for(data, *LABEL)
    n_words = 2 + len({word for said in notes()["said"].dropna() for word in said.split()})
    assert f"N_TOKENS = {n_words}\nN_WORDS = 9\n" in text
    assert "# texts, 'said': their first 9 words (100% have no more)" in text
    spec = spec_for(data, *LABEL)
    x, y = spec.load_data()
    assert x["said"].tolist()[0] == ""
    assert (x.shape, y.shape) == ((60, 1), (60,))


@pytest.mark.parametrize("same", [True, False])
def test_what_changes_no_search_leaves_the_study_where_it_is(tmp_path, same):
    data = write(tmp_path, table())
    changes = ("--trials", "7", "--set", "rule=plateau") if same else ("--drop", "count")
    kept = source_in(text_for(data, *LABEL)) == source_in(text_for(data, *LABEL, *changes))
    assert kept is same


def test_changes_of_fields_are_in_the_study(tmp_path):
    spec = spec_for(
        write(tmp_path, table()), *LABEL, "--trials", "7", "--timeout", "90s", "--set",
        "space.max_epochs=12", "--set", "refit.policy=scaled", "--set", "rule=one-standard-error",
        "--set", "objective.metric=val_auc", "--set", "objective.direction=maximize",
    )  # fmt: skip
    assert (spec.budget.n_trials, spec.budget.timeout_secs) == (7, 90)
    assert spec.space["max_epochs"] == 12
    assert (spec.refit.policy, spec.rule.name) == ("scaled", "one-standard-error")
    assert (spec.objective.metric, spec.objective.direction) == ("val_auc", "maximize")
