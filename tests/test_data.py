from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.data import Dataset, is_classes, load, with_validation_set
from pipeline.errors import BadInput

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1, 0, 1, 0, 1])
ONES = np.ones(6)
FRAME = pd.DataFrame({"a": X[:, 0], "b": list("uvwxyz")})


def changed(**parts: Any) -> Dataset:
    return Dataset(**{"x": X, "y": Y, **parts})


def test_lists_become_arrays():
    data = Dataset(X.tolist(), Y.tolist())
    np.testing.assert_array_equal(data.x, X)
    np.testing.assert_array_equal(data.y, Y)


def test_texts_take_the_room_that_they_need():
    texts = ["short"] * 5 + ["long" * 1000]
    for given in (texts, np.array(texts, dtype=np.dtypes.StringDType())):
        data = Dataset({"text": given}, Y)
        assert data.x["text"].dtype == object
        assert data.x["text"].tolist() == texts
    assert Dataset(texts, Y).fingerprint == Dataset(np.array(texts, object), Y).fingerprint
    assert Dataset(texts, Y).fingerprint != Dataset([*texts[1:], "other"], Y).fingerprint


@pytest.mark.parametrize("several", [tuple, list], ids=lambda kind: kind.__name__)
def test_arrays_in_a_row_are_parts_and_anything_else_is_rows(several):
    data = Dataset(several([X, X[:, 0]]), several(Y.tolist()))
    assert isinstance(data.x, tuple)
    assert (data.n_rows, data.y.tolist()) == (6, Y.tolist())


def test_every_part_is_taken():
    parts = {"a": X, "b": X[:, 0]}
    data = Dataset(parts, (Y, X), sample_weight=(ONES, 2 * ONES)).take(np.array([4, 0]))
    assert data.x["b"].tolist() == [8.0, 0.0]
    assert data.y[1].tolist() == [[8.0, 9.0], [0.0, 1.0]]
    assert data.sample_weight is not None
    assert data.sample_weight[1].tolist() == [2.0, 2.0]
    assert not data.is_classification


def test_frames_stay_frames_through_take():
    taken = Dataset(FRAME, Y).take(np.array([4, 0]))
    assert taken.x["b"].tolist() == ["y", "u"]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"y": Y[:5]}, "X and y must have the same number of rows, got 6 in X, 5 in y"),
        ({"x": X[:0], "y": Y[:0]}, "at least 1 row, got none"),
        ({"x": {"a": X, "b": X[:4]}}, r"rows, got 6 in X\['a'\], 4 in X\['b'\], 6 in y"),
        ({"x": (X, X), "y": [Y, Y[:4]]}, r"6 in X\[0\], 6 in X\[1\], 6 in y\[0\], 4 in y\[1\]"),
        ({"x": {}}, "X must have at least 1 part, got an empty dict"),
        ({"x": {"1": X}}, "X must name its parts by words, got the name '1'"),
        ({"x": {"a": 3}}, r"X\['a'\] must be an array with one entry per row, got int"),
        ({"x": {"a": FRAME}}, r"X\['a'\] must be an array, .* got a frame: use to_numpy\(\)"),
        ({"y": {"a": Y, "b": Y + np.inf}}, r"y\['b'\] must be finite"),
        ({"sample_weight": {"a": ONES}}, r"sample_weight must be \[6\], or .* got a dict of 'a'"),
        (
            {"y": {"a": Y, "b": Y}, "sample_weight": {"a": ONES, "b": -ONES}},
            r"sample_weight\['b'\] must be ≥ 0 in every row",
        ),
        ({"x": [[1], [1, 2]]}, "X must be a rectangular array"),
        ({"y": list("ababab")}, r"y must be numbers, got dtype object .the first value is 'a'"),
        ({"y": [1, None, 0, 1, 0, 1]}, "y must be numbers, got dtype object"),
        ({"y": [0, 1, np.nan, 1, np.inf, 1]}, r"y must be finite, got 2 .* first in row 2"),
        ({"sample_weight": ONES[:5]}, r"sample_weight must be \[6\], one per row, got \(5,\)"),
        ({"groups": X}, r"groups must be \[6\], one per row, got \(6, 2\)"),
        ({"sample_weight": -ONES}, "sample_weight must be ≥ 0 in every row, got -1.0 in row 0"),
        ({"sample_weight": ONES * np.inf}, "sample_weight must be finite"),
        ({"sample_weight": list("abcdef")}, "sample_weight must be numbers"),
        ({"validation_rows": Y == 1}, "must be row numbers .* got bool .*flatnonzero"),
        ({"validation_rows": [0, 6]}, r"some but not all of 0\.\.5, each once, .*\[0, 6\]"),
        ({"validation_rows": [-1]}, r"some but not all of 0\.\.5"),
        ({"validation_rows": [1, 1]}, "each once"),
        ({"validation_rows": np.array([], dtype=int)}, r"got 0 row\(s\)"),
        ({"validation_rows": range(6)}, "not all"),
    ],
)
def test_bad_part_says_what_must_hold_and_what_came(parts, says):
    with pytest.raises(BadInput, match=says):
        changed(**parts)


@pytest.mark.parametrize(
    "other",
    [
        {"x": X + 1},
        {"x": X.astype(np.float32)},
        {"x": X.reshape(6, 1, 2)},
        {"y": 1 - Y},
        {"sample_weight": ONES},
        {"groups": ONES},
        {"validation_rows": [1]},
        {"validation_rows": [2]},
        {"x": FRAME},
        {"x": FRAME.rename(columns={"a": "c"})},
        {"x": FRAME.assign(b=list("uvwxyy"))},
        {"x": {"a": X}},
        {"x": {"b": X}},
        {"x": (X,)},
        {"x": (X, X)},
        {"y": {"a": Y}},
    ],
)
def test_fingerprint_is_of_everything_and_repeats(other):
    several: list[dict[str, Any]] = [{}, {"groups": Y}, {"sample_weight": ONES * 2}, other]
    prints = [changed(**parts).fingerprint for parts in several]
    assert len(set(prints)) == len(several)
    assert changed(**other).fingerprint == prints[-1]


def test_fingerprint_tells_weights_from_groups():
    assert changed(groups=ONES).fingerprint != changed(sample_weight=ONES).fingerprint


def test_fingerprint_sees_the_names_of_columns():
    renamed = FRAME.rename(columns={"a": "c"})
    assert changed(x=FRAME).fingerprint != changed(x=renamed).fingerprint


def test_fingerprint_does_not_see_the_order_of_names():
    assert changed(x={"a": X, "b": Y}).fingerprint == changed(x={"b": Y, "a": X}).fingerprint


def test_fingerprint_takes_dates_and_views():
    dates = pd.DataFrame({"day": pd.date_range("2026-01-01", periods=6)})
    assert changed(x=dates).fingerprint != changed(x=dates + pd.Timedelta("1D")).fingerprint
    assert changed(x=X[:, ::-1]).fingerprint == changed(x=X[:, ::-1].copy()).fingerprint


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (Y, True),
        (Y.astype(bool), True),
        (np.arange(100), False),  # every value once: a count, not a class
        (np.arange(100) % 10, True),
        (Y.astype(float), False),
        (np.eye(2, dtype=int)[Y], False),  # one column per class
    ],
)
def test_classes_are_one_column_of_repeated_integers(y, expected):
    assert is_classes(y) == expected


def test_load_returns_x_and_y():
    data = load(lambda: (X, Y))
    assert (data.n_rows, data.validation_rows) == (6, None)


def test_load_passes_a_dataset_through():
    data = changed(groups=Y)
    assert load(lambda: data) is data


def test_load_joins_a_fixed_validation_set_of_any_size():
    data = load(lambda: ((X, Y), (X[:1] + 100, Y[:1])))
    assert data.validation_rows is not None
    assert data.validation_rows.tolist() == [6]
    assert data.x[6].tolist() == [100, 101]


def test_validation_set_keeps_weights():
    data = with_validation_set(changed(sample_weight=2 * ONES), changed())
    assert data.sample_weight is not None
    assert data.sample_weight.tolist() == [2.0] * 6 + [1.0] * 6


def test_validation_set_of_parts_is_joined_part_by_part():
    train = Dataset({"a": X, "b": Y}, (Y, X))
    more = Dataset(
        {"b": Y[:1] + 9, "a": X[:1] + 100}, (Y[:1], X[:1]), sample_weight=(ONES[:1],) * 2
    )
    data = with_validation_set(train, more)
    assert data.x["a"][6].tolist() == [100, 101]
    assert data.x["b"][6] == 9
    assert data.y[1].shape == (7, 2)
    assert data.sample_weight is not None
    assert data.sample_weight[1].tolist() == [1.0] * 7


def test_validation_set_must_have_the_same_parts():
    with pytest.raises(BadInput, match=r"same parts .* got a dict of 'a' and a dict of 'b'"):
        with_validation_set(Dataset({"a": X}, Y), Dataset({"b": X}, Y))


def test_two_pairs_are_a_validation_set_and_the_error_says_so():
    with pytest.raises(BadInput, match="two inputs and two outputs go into a Dataset"):
        load(lambda: ((X, X[:, :1]), (Y, Y)))


@pytest.mark.parametrize(
    ("validation", "says"),
    [
        (X[:, :1], r"training set's columns, got x of shape \(2,\) and \(1,\)"),
        (FRAME, "a frame in both .* or in neither, got ndarray and DataFrame"),
    ],
)
def test_validation_set_must_look_like_the_training_set(validation, says):
    with pytest.raises(BadInput, match=says):
        load(lambda: ((X, Y), (validation, Y)))


def test_validation_frame_must_have_the_same_columns():
    with pytest.raises(BadInput, match=r"columns, got \['a', 'c'\] and \['a', 'b'\]"):
        load(lambda: ((FRAME, Y), (FRAME.rename(columns={"b": "c"}), Y)))


@pytest.mark.parametrize(
    ("loaded", "says"),
    [
        (None, "or a Dataset, got NoneType"),
        (X, "or a Dataset, got ndarray"),
        ((X, Y, ONES), "or a Dataset, got tuple of 3"),
        ((X[:1], Y[:1]), "at least 2 rows, got 1"),
    ],
)
def test_load_says_what_a_loader_returns(loaded, says):
    with pytest.raises(BadInput, match=says):
        load(lambda: loaded)


def test_load_gives_the_loaders_own_error():
    def missing() -> None:
        raise FileNotFoundError("no rows.csv")

    with pytest.raises(BadInput, match=r"load_data\(\) raised FileNotFoundError: no rows.csv"):
        load(missing)
