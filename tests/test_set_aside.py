"""Which rows are set aside, and that they stay apart."""

import numpy as np
import pytest
from sklearn.model_selection import KFold, TimeSeriesSplit

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.set_aside import set_test_rows_aside

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
CLASSES = np.repeat([0, 1, 2], [30, 20, 10])
VALUES = RNG.normal(size=60)
GROUPS = np.arange(60) // 3
CLASSIFICATION = Dataset(X, CLASSES)
REGRESSION = Dataset(X, VALUES)
NUMBERED = Dataset(np.arange(60), VALUES)


def test_no_test_rows_by_default():
    assert set_test_rows_aside(CLASSIFICATION, 0, seed=0) == (CLASSIFICATION, None)


@pytest.mark.parametrize(("size", "n_test"), [(0.2, 12), (9, 9), (1, 1)])
def test_test_rows_are_set_aside_once(size, n_test):
    numbered = Dataset(np.arange(60), VALUES)
    development, test = set_test_rows_aside(numbered, size, seed=3)
    assert test is not None
    assert (development.n_rows, test.n_rows) == (60 - n_test, n_test)
    assert sorted([*development.x, *test.x]) == list(range(60))
    _, again = set_test_rows_aside(numbered, size, seed=3)
    _, other = set_test_rows_aside(numbered, size, seed=4)
    assert again is not None
    assert other is not None
    assert test.fingerprint == again.fingerprint != other.fingerprint


def test_test_rows_of_classes_are_stratified():
    _, test = set_test_rows_aside(CLASSIFICATION, 0.2, seed=0)
    assert test is not None
    assert np.bincount(test.y).tolist() == [6, 4, 2]


def test_test_rows_are_whole_groups():
    development, test = set_test_rows_aside(Dataset(X, CLASSES, groups=GROUPS), 4, seed=0)
    assert test is not None
    assert test.groups is not None
    assert development.groups is not None
    assert len(set(test.groups)) == 4
    assert not set(test.groups) & set(development.groups)


@pytest.mark.parametrize(
    ("data", "size", "says"),
    [
        (REGRESSION, 60, "test_size=60 cannot split 60 rows"),
        (CLASSIFICATION, 2, "test_size=2 cannot split 60 rows: .* number of classes"),
        (
            Dataset(X, VALUES, validation_rows=np.array([1])),
            5,
            "fixed validation set, keep test rows out",
        ),
    ],
)
def test_test_rows_that_cannot_be_are_refused(data, size, says):
    with pytest.raises(BadInput, match=says):
        set_test_rows_aside(data, size, seed=0)


def test_test_rows_of_several_parts_are_set_aside():
    several = Dataset((X, VALUES), {"kind": CLASSES, "size": VALUES}, groups=GROUPS)
    development, test = set_test_rows_aside(several, 4, seed=0)
    assert test is not None
    assert development.n_rows == 48
    assert isinstance(test.y, dict)
    assert len(test.y["size"]) == len(test.x[1]) == 12


@pytest.mark.parametrize(
    ("size", "gap", "n_development", "n_test"), [(0.21, 0, 47, 13), (9, 4, 47, 9)]
)
def test_where_folds_are_ordered_by_time_the_last_rows_are_set_aside(
    size, gap, n_development, n_test
):
    splitter = TimeSeriesSplit(3, gap=gap)
    development, test = set_test_rows_aside(NUMBERED, size, seed=3, splitter=splitter)
    assert test is not None
    assert development.x.tolist() == list(range(n_development))
    assert test.x.tolist() == list(range(60 - n_test, 60))


def test_other_splitters_leave_the_test_rows_to_the_seed():
    _, test = set_test_rows_aside(NUMBERED, 9, seed=3, splitter=KFold(3))
    _, without = set_test_rows_aside(NUMBERED, 9, seed=3)
    assert test is not None
    assert without is not None
    assert test.fingerprint == without.fingerprint


@pytest.mark.parametrize(
    ("data", "size", "gap", "says"),
    [
        (NUMBERED, 60, 0, "must leave rows to train on, got 60 test rows and a gap of 0 of 60"),
        (NUMBERED, 0.5, 30, "got 30 test rows and a gap of 30 of 60 rows"),
        (Dataset(X, VALUES, groups=GROUPS), 4, 0, "got group 18 before and among the last 4 rows"),
    ],
)
def test_last_rows_that_cannot_be_set_aside_are_refused(data, size, gap, says):
    with pytest.raises(BadInput, match=says):
        set_test_rows_aside(data, size, seed=0, splitter=TimeSeriesSplit(3, gap=gap))
