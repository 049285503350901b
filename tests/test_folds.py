from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
)

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import (
    Fold,
    Folds,
    expected_n_folds,
    split,
    untrained_classes,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
CLASSES = np.repeat([0, 1, 2], [30, 20, 10])
VALUES = RNG.normal(size=60)
GROUPS = np.arange(60) // 3
CLASSIFICATION = Dataset(X, CLASSES)
REGRESSION = Dataset(X, VALUES)


def fold_of(n_train: int, n_validation: int) -> Fold:
    return Fold(0, np.arange(n_train), np.arange(n_train, n_train + n_validation))


# Drawing


@pytest.mark.parametrize("data", [CLASSIFICATION, REGRESSION], ids=["classes", "values"])
def test_five_shuffled_folds_by_default_that_cover_every_row_once(data):
    folds = split(data, None, seed=0)
    assert len(folds) == 5
    validated = np.concatenate([fold.validation for fold in folds])
    assert sorted(validated) == list(range(60))
    assert validated.tolist() != sorted(validated)
    for fold in folds:
        assert sorted([*fold.train, *fold.validation]) == list(range(60))


def test_default_folds_of_classes_are_stratified():
    for fold in split(CLASSIFICATION, None, seed=0):
        assert np.bincount(CLASSES[fold.validation]).tolist() == [6, 4, 2]


class Alternating:
    """A splitter of one's own that does not look at groups; scikit-learn's say so themselves."""

    def split(self, x, y=None, groups=None):
        rows = np.arange(len(x))
        yield rows[::2], rows[1::2]


def test_a_splitter_that_parts_a_group_is_refused():
    """It would train on one row of a patient and validate on the next."""
    data = Dataset(X, CLASSES, groups=GROUPS)
    with pytest.raises(BadInput, match=r"got group 0 on both sides of fold 0 by .*use GroupKFold"):
        split(data, Alternating(), seed=0)
    with pytest.raises(BadInput, match="groups parameter is ignored by KFold; use GroupKFold"):
        split(data, KFold(5, shuffle=True), seed=0)


def test_a_class_that_a_fold_does_not_train_on_is_told():
    folds = split(CLASSIFICATION, KFold(3), seed=0)  # not shuffled: the last third has class 2
    assert untrained_classes(CLASSIFICATION, folds) == [
        "fold 2 trains on no row of class 2: it cannot learn it"
    ]
    assert untrained_classes(CLASSIFICATION, split(CLASSIFICATION, None, seed=0)) == []
    assert untrained_classes(REGRESSION, split(REGRESSION, KFold(3), seed=0)) == []


@pytest.mark.parametrize("y", [CLASSES, VALUES], ids=["classes", "values"])
@pytest.mark.parametrize("splitter", [None, GroupKFold(4)], ids=repr)
def test_groups_stay_on_one_side(y, splitter):
    for fold in split(Dataset(X, y, groups=GROUPS), splitter, seed=0):
        assert not set(GROUPS[fold.train]) & set(GROUPS[fold.validation])


def test_splitter_that_would_ignore_the_groups_is_refused():
    with pytest.raises(BadInput, match=r"splitter KFold.* groups parameter is ignored by KFold"):
        split(Dataset(X, VALUES, groups=GROUPS), KFold(5), seed=0)


@pytest.mark.parametrize(
    "splitter",
    [
        None,
        KFold(3, shuffle=True),
        StratifiedKFold(3, shuffle=True),
        ShuffleSplit(2),
        RepeatedKFold(n_splits=3),
    ],
    ids=repr,
)
def test_folds_are_a_function_of_the_seed(splitter):
    hashes = [split(CLASSIFICATION, splitter, seed).hash for seed in (7, 7, 8)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert getattr(splitter, "random_state", None) is None  # the user's own is left alone


def test_a_random_state_of_the_splitter_wins_over_the_seed():
    splitter = KFold(3, shuffle=True, random_state=1)
    assert split(REGRESSION, splitter, 7).hash == split(REGRESSION, splitter, 8).hash


def test_a_generator_as_random_state_gives_the_same_folds_again():
    splitter = KFold(3, shuffle=True, random_state=np.random.RandomState(1))
    assert split(REGRESSION, splitter, 0).hash == split(REGRESSION, splitter, 0).hash


def test_fixed_validation_set_is_the_one_fold():
    data = Dataset(X, VALUES, validation_rows=np.array([3, 50]))
    (fold,) = split(data, None, seed=0)
    assert fold.validation.tolist() == [3, 50]
    assert sorted(fold.train) == [row for row in range(60) if row not in (3, 50)]


def test_fixed_validation_set_and_splitter_exclude_each_other():
    data = Dataset(X, VALUES, validation_rows=np.array([3]))
    with pytest.raises(BadInput, match=r"not both.*splitter is KFold"):
        split(data, KFold(5), seed=0)


class Broken:
    def __init__(self, *folds: Any) -> None:
        self.folds = folds

    def split(self, x: Any, y: Any, groups: Any) -> Any:
        return iter(self.folds)


@pytest.mark.parametrize(
    ("data", "splitter", "says"),
    [
        (REGRESSION, KFold(61), "at most one fold a row, got 61 folds of 60 rows"),
        (
            CLASSIFICATION,
            StratifiedKFold(11),
            r"got 11 folds and 10 member\(s\) of class 2; use at",
        ),
        (
            Dataset(X, np.array([0] + [1] * 59)),
            StratifiedKFold(5),
            r"1 member\(s\) of class 0; use KFold",
        ),
        (REGRESSION, StratifiedKFold(5), "splitter StratifiedKFold.* cannot split 60 rows"),
        (Dataset(X, np.eye(3)[CLASSES]), StratifiedKFold(5), "multilabel-indicator"),
        (
            Dataset(X, {"kind": CLASSES, "size": VALUES}),
            StratifiedKFold(5),
            "StratifiedKFold.* by one column of classes, got y as a dict of 'kind', 'size'; use KF",
        ),
        (REGRESSION, 5, r"splitter must have scikit-learn's split\(X, y, groups\), got 5"),
        (REGRESSION, GroupKFold(5), "The 'groups' parameter should not be None"),
        (REGRESSION, Broken(), "gave no folds"),
        (REGRESSION, Broken(([0], [])), "fold 0 has no validation rows"),
        (REGRESSION, Broken(([], [0])), "fold 0 has no training rows"),
        (REGRESSION, Broken(([0, 1], [1])), "fold 0 has rows on both sides"),
        (REGRESSION, Broken(([0], [60])), r"fold 0 has rows outside 0\.\.59"),
        (REGRESSION, Broken(([0], [-1])), r"fold 0 has rows outside 0\.\.59"),
        (REGRESSION, Broken((VALUES > 0, VALUES < 0)), "row numbers for train, got bool"),
    ],
)
def test_folds_that_cannot_be_are_refused(data, splitter, says):
    with pytest.raises(BadInput, match=says):
        split(data, splitter, seed=0)


def test_leaving_one_out_is_as_many_folds_as_rows():
    assert len(split(Dataset(X[:4], VALUES[:4]), LeaveOneOut(), seed=0)) == 4


# Several inputs and outputs

SEVERAL = Dataset((X, VALUES), {"kind": CLASSES, "size": VALUES}, groups=GROUPS)


@pytest.mark.parametrize("splitter", [None, GroupKFold(5), ShuffleSplit(2)], ids=repr)
def test_rows_of_several_parts_are_split_like_those_of_one(splitter):
    groups = None if isinstance(splitter, ShuffleSplit) else GROUPS
    one = Dataset(X, VALUES, groups=groups)
    assert split(replace(SEVERAL, groups=groups), splitter, 3).hash == split(one, splitter, 3).hash


class ByKind(StratifiedKFold):
    """Stratifies by one of several outputs."""

    def split(self, X: Any, y: Any, groups: Any = None) -> Any:  # noqa: N803
        return super().split(X[0], y["kind"])


def test_a_splitter_of_ones_own_is_given_all_inputs_and_outputs():
    folds = split(replace(SEVERAL, groups=None), ByKind(5, shuffle=True), seed=0)
    assert folds.hash == split(CLASSIFICATION, StratifiedKFold(5, shuffle=True), seed=0).hash


# Frozen and hashed


def test_rows_of_a_fold_cannot_be_changed():
    rows = np.array([0, 1, 2])
    fold = Fold(0, rows, np.array([3]))
    rows[0] = 9
    assert fold.train.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        fold.validation[0] = 0


def test_a_fold_for_the_refit_has_no_validation_rows():
    assert Fold(0, np.arange(5), np.array([])).validation.shape == (0,)


def test_hash_is_of_every_row_and_its_side():
    several = [
        Folds((fold_of(3, 1),), 5),
        Folds((fold_of(2, 2),), 5),
        Folds((fold_of(3, 2),), 5),
        Folds((fold_of(3, 1),), 6),
        Folds((fold_of(3, 1), fold_of(2, 2)), 5),
        Folds((fold_of(2, 2), fold_of(3, 1)), 5),
    ]
    assert len({folds.hash for folds in several}) == len(several)
    as_int32 = Fold(0, np.arange(3, dtype=np.int32), np.array([3], dtype=np.int32))
    assert Folds((as_int32,), 5).hash == several[0].hash


def test_repeats_are_recognised_by_their_validation_rows():
    from sklearn.model_selection import KFold, RepeatedKFold, ShuffleSplit

    data = Dataset(np.zeros((12, 1)), np.arange(12.0))
    assert split(data, RepeatedKFold(n_splits=3, n_repeats=4), 0).n_repeats == 4
    assert split(data, KFold(3, shuffle=True), 0).n_repeats == 1
    assert split(data, ShuffleSplit(4, test_size=3), 0).n_repeats == 1


def test_a_splitter_says_how_many_folds_to_expect_or_the_default_is():
    assert expected_n_folds(KFold(3)) == 3
    assert expected_n_folds(RepeatedKFold(n_splits=3, n_repeats=2)) == 6
    assert expected_n_folds(None) == expected_n_folds(LeaveOneGroupOut()) == 5
