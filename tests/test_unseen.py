"""Which test rows neither model has used, and what they say of the two."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats
from sklearn.model_selection import KFold, TimeSeriesSplit

from pipeline import unseen
from pipeline.data import Dataset
from pipeline.identities import identities
from pipeline.lazy_rows import mapped

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
Y = RNG.integers(0, 2, 200)
OLD, NEW = np.arange(0, 120), np.arange(120, 200)


def numbers(x, n_rows=200, **fields):
    return identities(Dataset(x, Y[:n_rows], **fields)).tolist()


def test_a_row_has_its_number_wherever_it_stands_and_whatever_its_label():
    assert len(set(numbers(X))) == 200
    assert numbers(X[::-1]) == numbers(X)[::-1]
    assert identities(Dataset(X, 1 - Y)).tolist() == numbers(X)
    assert numbers(np.repeat(X[:1], 2, axis=0), n_rows=2) == numbers(X)[:1] * 2


def test_kinds_of_the_same_rows_have_the_same_numbers():
    assert numbers(mapped(X)) == numbers(X)
    assert numbers(sparse.csr_matrix(X.astype(np.float32))) == numbers(X.astype(np.float32))
    assert numbers((X, X[:, :1])) == numbers((mapped(X), X[:, :1]))
    assert numbers({"b": X, "a": X[:, :1]}) == numbers({"a": X[:, :1], "b": X})


def test_frames_and_texts_have_numbers_by_row():
    frame = pd.DataFrame({"a": range(200), "b": ["x", "y"] * 100})
    assert len(set(numbers(frame))) == 200
    assert numbers(frame[::-1]) == numbers(frame)[::-1]
    texts = np.array(["one", "two"] * 100, dtype=object)
    assert len(set(numbers(texts))) == 2


def test_rows_of_a_group_are_known_by_it():
    groups = np.arange(200) // 4
    assert len(set(numbers(X, groups=groups))) == 50
    assert numbers(X + 1, groups=groups) == numbers(X, groups=groups)


def question(development, test, **spec) -> Any:
    spec = {"splitter": KFold(5), "seed": 0, **spec}
    return SimpleNamespace(development=development, test=test, spec=SimpleNamespace(**spec))


def rows(at):
    return Dataset(X[at], Y[at])


def trained_on(at):
    return np.unique(identities(rows(at)))


def test_the_rows_that_both_set_aside_are_unseen():
    same = question(rows(OLD), rows(NEW))
    assert unseen.unseen_rows(same, trained_on(OLD)).tolist() == list(range(80))


def test_rows_that_were_trained_on_before_are_left_out():
    """Tonight's test rows are drawn anew from more rows: 30 of them were development rows."""
    at = np.r_[90:200]
    tonight = question(rows(np.arange(90)), rows(at))
    assert unseen.unseen_rows(tonight, trained_on(OLD)).tolist() == list(range(30, 110))


def test_a_row_that_is_also_among_the_development_rows_is_left_out():
    tonight = question(rows(OLD), rows(np.r_[NEW, 5]))
    assert unseen.unseen_rows(tonight, trained_on(OLD)).tolist() == list(range(80))


@pytest.mark.parametrize(
    ("known", "why"),
    [
        (None, "are not known"),
        (np.unique(identities(Dataset(X[OLD].astype(np.float32), Y[OLD]))), "120 of its 120"),
        (np.unique(identities(Dataset(RNG.normal(size=(2, 3)), Y[:2]))), "2 of its 2"),
        (trained_on(np.r_[OLD, 120:180]), "20 of the 80 test rows were used by neither"),
    ],
)
def test_where_it_cannot_be_told_nothing_is_compared(known, why):
    """Nobody knows the rows, they came in another form, some are gone, or too few are left."""
    with pytest.raises(unseen.UntoldError, match=why):
        unseen.unseen_rows(question(rows(OLD), rows(NEW)), known)


def test_of_a_mean_over_rows_the_interval_is_that_of_the_blocks_means():
    losses, others = RNG.random(80), RNG.random(80)
    blocks = np.array_split(np.arange(80), 20)
    kept = [np.arange(80), *(np.setdiff1d(np.arange(80), block) for block in blocks)]
    gain, interval = unseen.difference(
        np.array([others[k].mean() for k in kept]), np.array([losses[k].mean() for k in kept])
    )
    means = np.array([(others - losses)[block].mean() for block in blocks])
    low, high = stats.t.interval(0.95, 19, means.mean(), stats.sem(means))
    assert gain == pytest.approx((others - losses).mean())
    assert (interval.low, interval.high) == pytest.approx((low, high))


@pytest.mark.parametrize("groups", [None, np.arange(80) // 3])
def test_every_row_is_in_one_block_and_groups_stay_whole(groups):
    test = Dataset(X[NEW], Y[NEW], groups=groups)
    blocks = unseen.blocks_of(test, question(rows(OLD), test))
    assert len(blocks) == 20
    assert np.sort(np.concatenate(blocks)).tolist() == list(range(80))
    of_group = [set() if groups is None else set(groups[block]) for block in blocks]
    assert sum(map(len, of_group)) == len(set().union(*of_group))


def test_blocks_of_a_time_series_are_neighbours():
    test = rows(NEW)
    blocks = unseen.blocks_of(test, question(rows(OLD), test, splitter=TimeSeriesSplit(3)))
    assert np.concatenate(blocks).tolist() == list(range(80))
    shuffled = unseen.blocks_of(test, question(rows(OLD), test))
    assert np.concatenate(shuffled).tolist() != list(range(80))


def test_rows_of_a_single_group_say_nothing():
    test = Dataset(X[NEW], Y[NEW], groups=np.zeros(80))
    with pytest.raises(unseen.UntoldError, match="of one group"):
        unseen.blocks_of(test, question(rows(OLD), test))
