"""What holds of any study, splitter and loader, on drawn examples: used, or refused in one line.

Data files, frames, images and mapped files have theirs beside their own tests.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn import model_selection
from sklearn.model_selection import BaseCrossValidator

from pipeline.budget import Budget
from pipeline.choice import OneStandardError
from pipeline.data import Dataset, load
from pipeline.errors import BadInput
from pipeline.folds import split
from pipeline.refit_length import Refit
from pipeline.set_aside import set_test_rows_aside
from pipeline.spec import StudySpec

quick = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

plain = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**12), st.floats(), st.text(max_size=4),
    st.sampled_from([np.int64(3), np.float32("nan"), 3j, b"x", object, object(), len, np.zeros(2)]),
)  # fmt: skip
anything = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 3)), inner, max_size=3),
    ),
    max_leaves=4,
)


def study(**fields: Any) -> StudySpec:
    space = {"learning_rate": 0.1, "max_epochs": 3}
    given: Any = {"load_data": lambda: None, "build_model": lambda params: None, "space": space}
    return StudySpec(**given | fields)


def in_one_line(error: BadInput, *names: str) -> None:
    assert "\n" not in str(error)
    assert all(name in str(error) for name in names)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(StudySpec)])
@quick
@given(anything)
def test_any_value_in_any_field_is_a_study_or_a_line_that_names_the_field(name, value):
    try:
        spec = study(**{name: value})
    except BadInput as error:
        in_one_line(error, name)
    else:
        assert spec.signature(data_fingerprint="", splits_hash="")


@pytest.mark.parametrize("kind", [Budget, Refit])
@quick
@given(st.data())
def test_any_value_in_a_group_of_fields_is_used_or_named(kind, data):
    field = data.draw(st.sampled_from(dataclasses.fields(kind)))
    value = data.draw(anything)
    try:
        kind(**{field.name: value})
    except BadInput as error:
        in_one_line(error, f"{kind.__name__.lower()}.{field.name} must be")


dimensions = st.one_of(
    st.floats(-9, 9),
    st.integers(-9, 9),
    st.text(max_size=3),
    st.lists(st.one_of(st.text(max_size=3), st.integers()), min_size=1, max_size=3).map(
        CategoricalDistribution
    ),
    st.floats(1e-6, 1).map(lambda low: FloatDistribution(low, 2.0, log=True)),
    st.integers(-3, 20).map(lambda low: IntDistribution(low, 20)),
)
spaces = st.dictionaries(
    st.sampled_from(["learning_rate", "max_epochs", "batch_size", "units", "a b"]), dimensions
).flatmap(lambda some: st.permutations(list(some.items())))


@quick
@given(spaces)
def test_a_study_is_known_by_its_space_whatever_the_order_and_by_nothing_that_may_change(items):
    try:
        spec = study(space=dict(items))
    except BadInput as error:
        in_one_line(error)
        return
    signed = {
        each.signature(data_fingerprint="", splits_hash="")
        for each in (
            spec,
            study(space=dict(reversed(items))),
            study(space=dict(items), budget=Budget(n_trials=3), rule=OneStandardError()),
            study(space=dict(items), refit=Refit(enabled=False), keep_checkpoints=2),
        )
    }
    others = ({"seed": 1}, {"batch_size": 8}, {"space": {**dict(items), "max_epochs": 77}})
    different = [study(**{"space": dict(items), **other}) for other in others]
    signed |= {each.signature(data_fingerprint="", splits_hash="") for each in different}
    assert len(signed) == 1 + len(others)
    assert spec.sampled.keys() | spec.fixed.keys() >= dict(items).keys()


# --- splits ---


def parted(folds, data):
    """Assert what holds of all folds."""
    assert len(folds)
    for fold in folds:
        rows = np.concatenate([fold.train, fold.validation])
        assert len(fold.train)
        assert len(fold.validation)
        assert rows.min() >= 0
        assert rows.max() < data.n_rows
        assert not set(fold.train.tolist()) & set(fold.validation.tolist())
        if data.groups is not None:
            assert not set(data.groups[fold.train]) & set(data.groups[fold.validation])


@st.composite
def rows_to_split(draw):
    n = draw(st.integers(2, 40))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    y = draw(
        st.sampled_from([np.arange(n) % 2, random.integers(0, 4, n), random.random(n), np.eye(n)])
    )
    groups = draw(st.sampled_from([None, np.arange(n) // 5, random.integers(0, 6, n)]))
    return Dataset(random.random((n, 2)), y, groups=groups)


class Own:
    """A splitter of the user's own, which may give anything."""

    def __init__(self, folds):
        self.folds = folds

    def split(self, x, y=None, groups=None):
        return iter(self.folds)


sides = st.one_of(
    st.lists(st.integers(-1, 41), max_size=9),
    st.lists(st.integers(0, 5), max_size=4).map(np.array),
    arrays.arrays(bool, 4),
    arrays.arrays(np.float64, 3),
    plain,
)


@quick
@given(rows_to_split(), st.lists(st.one_of(st.tuples(sides, sides), plain), max_size=3))
def test_what_a_users_splitter_gives_is_folds_or_refused(data, given):
    try:
        folds = split(data, Own(given), seed=0)
    except BadInput as error:
        in_one_line(error)
    else:
        parted(folds, data)


SPLITTERS = {
    name: kind
    for name, kind in vars(model_selection).items()
    if isinstance(kind, type) and hasattr(kind, "split") and kind is not BaseCrossValidator
}
NEEDS = {"LeavePOut": (1,), "LeavePGroupsOut": (2,), "PredefinedSplit": (np.arange(10) % 3,)}


@pytest.mark.parametrize("name", SPLITTERS)
@quick
@given(data=rows_to_split())
def test_every_splitter_of_scikit_learn_parts_the_rows_again_alike_or_is_refused(name, data):
    def drawn():
        return split(data, SPLITTERS[name](*NEEDS.get(name, ())), seed=3)

    try:
        folds = drawn()
    except BadInput as error:
        in_one_line(error)
        return
    parted(folds, data)
    assert folds.hash == drawn().hash


@quick
@given(rows_to_split(), st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 50)))
def test_test_rows_are_taken_from_those_searched_on_with_whole_groups(data, test_size):
    numbered = Dataset(np.arange(data.n_rows)[:, None], data.y, groups=data.groups)
    try:
        development, test = set_test_rows_aside(numbered, test_size, seed=0)
    except BadInput as error:
        in_one_line(error)
        return
    rows = [] if test is None else test.x.ravel().tolist()
    assert sorted([*development.x.ravel().tolist(), *rows]) == list(range(data.n_rows))
    if test is not None and data.groups is not None:
        assert not set(np.asarray(development.groups)) & set(np.asarray(test.groups))


# --- loaders ---

kinds: Any = st.sampled_from(["f4", "f8", "i8", "?", "U3", "O", "M8[D]", "c16"]).map(np.dtype)
any_array = arrays.arrays(
    kinds,
    arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)
parts = st.one_of(
    any_array,
    st.lists(st.integers(-2, 2), max_size=5),
    st.dictionaries(st.sampled_from(["a", "b"]), any_array, max_size=2),
    # Of dates pandas knows some thousands of years.
    any_array.filter(lambda each: each.ndim == 2 and each.dtype.kind != "M").map(pd.DataFrame),
    anything,
)
loaded = st.one_of(
    parts, st.tuples(parts), st.tuples(parts, parts), st.tuples(parts, parts, parts),
    st.tuples(st.tuples(parts, parts), st.tuples(parts, parts)),
)  # fmt: skip


@settings(quick, max_examples=150)
@given(loaded)
def test_what_a_loader_returns_is_rows_or_refused(value):
    try:
        data = load(lambda: value)
    except BadInput as error:
        in_one_line(error)
        return
    assert data.n_rows >= 2
    assert data.fingerprint == load(lambda: value).fingerprint
    part = data.take(np.array([1, 0]))
    assert part.n_rows == 2
    assert part.take(np.array([1, 0])).fingerprint == data.take(np.array([0, 1])).fingerprint


@quick
@given(
    arrays.arrays(np.float64, (6, 2), elements=st.floats(-9, 9)),
    st.integers(0, 5),
    st.sampled_from([lambda x: x, pd.DataFrame, lambda x: {"a": x}, lambda x: (x, x)]),
)
def test_any_other_value_is_other_data(x, row, kept_as):
    other = x.copy()
    other[row, 1] += 1.0
    y = np.arange(6)
    assert Dataset(kept_as(x), y).fingerprint != Dataset(kept_as(other), y).fingerprint
    changed = y.copy()
    changed[row] += 1
    assert Dataset(kept_as(x), y).fingerprint != Dataset(kept_as(x), changed).fingerprint
