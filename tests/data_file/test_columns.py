"""What each column is, and what becomes of it."""

import numpy as np
import pandas as pd
import pytest

from pipeline.data_file.columns import MISSING, columns_of
from pipeline.errors import BadInput

N = 200


def texts(make):
    return pd.Series([make(i) for i in range(N)], dtype=object)


def beside(**columns):
    """Return what is decided of a table with these columns and a plain one."""
    plain = np.random.default_rng(1).normal(size=N)
    return columns_of(pd.DataFrame({"plain": plain, **columns}))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (texts(lambda i: f"2024-01-{i % 28 + 1:02d}"), "'it' holds dates.*--time orders the rows"),
        (texts(lambda i: f"{i % 28 + 1}.5.2024 10:00"), "'it' holds dates"),
        (pd.Series(pd.date_range("2024-01-01", periods=N)), "'it' holds dates"),
        (
            texts(lambda i: f"a note of many words, number {i}"),
            "'it' holds free text.*by itself, with the",
        ),
        (texts(lambda i: f"key {i % 150}"), "'it' has 150 different texts, over 100"),
        (texts(lambda i: "?" if i == 7 else str(i)), "'it' mixes numbers and texts such as '[?]'"),
        (texts(lambda i: f"{i},5"), "'it' writes its numbers as texts such as '0,5'"),
        (texts(lambda i: [i]), "'it' holds values of type list"),
        (pd.Series(np.where(np.arange(N) == 3, np.inf, 1.0)), "'it' holds 1 infinite value"),
        (pd.Series(np.arange(N) * 1j), "'it' holds complex128"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_with_advice(values, says):
    with pytest.raises(BadInput, match=says) as refused:
        beside(it=values)
    assert "--drop it" in str(refused.value)


def test_all_refused_columns_are_named_at_once():
    with pytest.raises(BadInput, match="--drop 'a b,day'"):
        beside(**{"a b": texts(lambda i: [i]), "day": pd.Series(pd.date_range("2024", periods=N))})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (pd.Series(np.full(N, 3.0)), "constant"),
        (texts(lambda i: "same"), "constant"),
        (pd.Series(np.full(N, np.nan)), "empty"),
        (pd.Series(np.arange(N)), "numbers the rows"),
        (pd.Series(np.delete(np.arange(int(1.2 * N)), np.arange(0, int(1.2 * N), 6))), "numbers"),
        (texts(lambda i: f"ticket {i}"), "another text in every row"),
    ],
)
def test_what_tells_nothing_is_left_out_and_told(values, why):
    columns = beside(it=values)
    assert columns.numbers == ("plain",)
    assert f"left out: 'it' ({why}" in columns.decisions[-1]


def test_without_a_column_left_there_is_nothing_to_learn_from():
    with pytest.raises(BadInput, match=r"a column to learn from.* got 'it' constant"):
        columns_of(pd.DataFrame({"it": np.ones(N)}))
    with pytest.raises(BadInput, match=r"a column to learn from.* got none"):
        columns_of(pd.DataFrame(index=range(N)))


def test_numbers_gaps_and_levels_make_the_inputs():
    columns = beside(
        gap=pd.Series(np.where(np.arange(N) % 9 == 0, np.nan, np.arange(N) % 5)),
        flag=pd.Series(np.arange(N) % 3 == 0),
        kind=texts(lambda i: None if i % 50 == 0 else "ab"[i % 2]),
        whole=texts(lambda i: "xyz"[i % 3]),
    )
    assert columns.numbers == ("plain", "gap", "flag")
    assert columns.gaps == ("gap",)
    assert columns.levels == {"kind": ("a", "b", MISSING), "whole": ("x", "y", "z")}
    assert columns.n_inputs == 3 + 1 + 3 + 3


def test_texts_are_learned_from_where_they_are_all_that_there_is():
    notes, id_ = texts(lambda i: f"a note of many words, number {i}"), pd.Series(range(N))
    columns = columns_of(pd.DataFrame({"id": id_, "note": notes}))
    assert (columns.text, columns.numbers, columns.levels) == ("note", (), {})
    assert columns.decisions == ("left out: 'id' (numbers the rows)",)
    for frame, may_be_text in (
        (pd.DataFrame({"note": notes, "other": notes}), True),
        (pd.DataFrame({"note": notes}), False),
    ):
        with pytest.raises(BadInput, match="'note' holds free text"):
            columns_of(frame, may_be_text=may_be_text)
