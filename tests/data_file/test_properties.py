"""What holds of any data: loaders, splits and the written study, on drawn examples."""

import csv
import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import pipeline
from pipeline.budget import Budget
from pipeline.data import load
from pipeline.data_file.reading import read_table
from pipeline.data_file.source import comment, constant, quoted, source_of_value
from pipeline.errors import BadInput
from pipeline.folds import split
from pipeline.preprocessing import preprocessed
from pipeline.spec import EarlyStopping, Refit
from tests.data_file.tables import spec_for, write

quick = settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)
names = st.text(min_size=1, max_size=8)


def read(text: str):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data.csv").write_text(text, encoding="utf-8", newline="")
        return read_table("data.csv", project_of=Path(folder) / "study.py")


def csv_of(rows) -> str:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows(rows)
    return written.getvalue()


@quick
@given(st.lists(st.lists(texts, min_size=3, max_size=3), min_size=1, max_size=6))
def test_a_table_is_read_row_for_row_whatever_its_texts_hold(rows):
    frame = read(csv_of([["a", "b", "c"], *rows]))
    assert (list(frame.columns), len(frame)) == (["a", "b", "c"], len(rows))


@quick
@given(st.lists(st.lists(texts, min_size=3, max_size=3), min_size=2, max_size=6), st.data())
def test_a_row_that_is_too_short_or_too_long_is_never_filled_up(rows, data):
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = rows[at][:-1] if data.draw(st.booleans()) else [*rows[at], "more"]
    with pytest.raises(BadInput, match=f"must have 3 fields in every row.*, got {len(rows[at])}"):
        read(csv_of([["a", "b", "c"], *rows]))


@st.composite
def tables(draw):
    """Return a table with a target `y`, groups `g`, and columns of any usable kind with gaps."""
    n = draw(st.integers(20, 50))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frame = pd.DataFrame({"y": np.arange(n) % draw(st.integers(2, 3)), "g": np.arange(n) % 7})
    for i in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["number", "whole", "flag", "level"]))
        values = {
            "number": random.normal(0, 10.0 ** draw(st.integers(-6, 6)), n),
            "whole": random.integers(-5, 5, n).astype(float),
            "flag": random.random(n) < 0.5,
            "level": random.choice(list("abcdefgh")[: draw(st.integers(2, 8))], n),
        }[kind]
        column = pd.Series(values, dtype=object)
        column[random.random(n) < draw(st.sampled_from([0.0, 0.1, 0.9]))] = None
        column[:2] = list(values[:2])
        frame[f"{kind} {i}"] = column
    return frame.assign(plain=random.normal(size=n))


@quick
@given(tables(), st.sampled_from([(), ("--groups", "g")]), st.sampled_from(["csv", "parquet"]))
def test_folds_part_the_rows_keep_groups_whole_and_have_the_same_inputs(frame, grouped, kind):
    if kind == "parquet":
        frame = frame.infer_objects()
        flags = [name for name in frame if name.startswith("flag")]
        frame[flags] = frame[flags].astype("boolean")
        whole = [name for name in frame if name.startswith(("whole", "number"))]
        frame[whole] = frame[whole].astype(float)
    drop = () if grouped else ("--drop", "g")
    with tempfile.TemporaryDirectory() as folder:
        data_file = write(Path(folder), frame, f"data.{kind}")
        spec = spec_for(data_file, "--target", "y", *grouped, *drop)
        data = load(spec.load_data)
        folds = split(data, spec.splitter, spec.seed)
    validated = np.concatenate([fold.validation for fold in folds])
    assert sorted(validated.tolist()) == list(range(len(frame)))
    widths = set()
    for fold in folds:
        assert not set(fold.train.tolist()) & set(fold.validation.tolist())
        assert len(fold.train) + len(fold.validation) == len(frame)
        if data.groups is not None:
            assert not set(data.groups[fold.train]) & set(data.groups[fold.validation])
        x, _ = preprocessed(data, fold, spec.preprocess)
        widths.add(x.shape[1])
    globals_of_study = spec.build_model.__globals__
    assert widths == {globals_of_study["N_INPUTS"]}


plain = st.recursive(
    st.one_of(texts, names, st.integers(), st.booleans(), st.floats(allow_nan=False, width=32)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.tuples(inner), st.tuples(inner, inner)),
    max_leaves=30,
)


@quick
@given(plain, st.dictionaries(names, st.lists(names, max_size=30).map(tuple), max_size=4))
def test_values_survive_their_way_through_source(value, levels):
    assert eval(quoted(value), {"inf": float("inf")}) == value
    read: dict = {"inf": float("inf")}
    exec("\n".join([constant("VALUE", value), constant("LEVELS", levels)]), read)
    assert read["VALUE"] == value
    assert read["LEVELS"] == levels


@quick
@given(st.text())
@example("first\nsecond\rthird\x00")
def test_a_comment_is_never_code(text):
    assert all(line.startswith("#") for line in comment(text).split("\n"))
    compile(comment(f"said of {text}"), "study", "exec")


rates = st.floats(1e-6, 0.1).flatmap(
    lambda low: st.builds(FloatDistribution, st.just(low), st.floats(low, 10.0), log=st.booleans())
)
dimensions = st.one_of(
    rates,
    st.integers(1, 50).flatmap(
        lambda low: st.builds(IntDistribution, st.just(low), st.integers(low, 99))
    ),
    st.lists(st.one_of(texts, st.integers(), st.none(), st.booleans()), min_size=1, max_size=4).map(
        CategoricalDistribution
    ),
    st.builds(Budget, st.integers(1, 99), st.one_of(st.none(), st.floats(0.1, 1e6))),
    st.builds(EarlyStopping, st.integers(1, 99), st.floats(0, 1)),
    st.builds(Refit, st.booleans(), st.sampled_from(["epochs", "updates", "scaled"])),
)


@quick
@given(dimensions)
def test_fields_of_a_study_survive_their_way_through_source(value):
    kinds = (FloatDistribution, IntDistribution, CategoricalDistribution)
    known = {kind.__name__: kind for kind in kinds}
    assert eval(source_of_value(value), {**known, "pipeline": pipeline}) == value


@quick
@given(st.lists(names.filter(str.strip), min_size=2, max_size=4, unique=True))
def test_a_columns_name_is_never_run(columns):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(size=30) for name in columns})
    frame["the target"] = np.arange(30) % 2
    with tempfile.TemporaryDirectory() as folder:
        data_file = write(Path(folder), frame, "data.parquet")
        spec = spec_for(data_file, "--target", "the target")
    assert spec.build_model.__globals__["NUMBERS"] == columns
