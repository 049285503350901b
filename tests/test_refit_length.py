"""How long the refit trains, by policy."""

import numpy as np
import pytest

from pipeline.folds import Fold
from pipeline.refit_length import RefitLength

# Five folds of 100 rows: 80 to train on, 10 updates of 8; all 100 are 13 updates.
ROWS = np.arange(100)
FOLDS = [Fold(k, ROWS[k != ROWS // 20], ROWS[k == ROWS // 20]) for k in range(5)]


def length(policy, n_epochs=26, horizon=52, batch_size=8) -> RefitLength:
    return RefitLength.of(
        policy, n_epochs=n_epochs, horizon=horizon, folds=FOLDS, n_rows=100, batch_size=batch_size
    )


@pytest.mark.parametrize(
    ("policy", "n_epochs", "horizon"),
    [("epochs", 26, 52), ("updates", 20, 40), ("scaled", 32, 65)],
)
def test_each_policy_keeps_what_it_says_and_the_share_of_the_horizon(policy, n_epochs, horizon):
    assert length(policy) == RefitLength(n_epochs, horizon, policy)


def test_the_same_updates_are_as_many_as_on_a_fold():
    assert length("updates").n_epochs * 13 == 26 * 10


def test_one_epoch_is_the_least_and_the_horizon_is_never_shorter():
    assert length("updates", n_epochs=1, horizon=1, batch_size=80) == RefitLength(1, 1, "updates")
    for policy in ("epochs", "updates", "scaled"):
        for n_epochs in range(1, 8):
            found = length(policy, n_epochs=n_epochs, horizon=n_epochs)
            assert 1 <= found.n_epochs <= found.horizon


def test_folds_of_different_sizes_count_with_their_mean():
    folds = [Fold(0, np.arange(20), np.arange(20, 30)), Fold(1, np.arange(60), np.arange(60, 70))]
    found = RefitLength.of("scaled", n_epochs=10, horizon=10, folds=folds, n_rows=80, batch_size=8)
    assert found.n_epochs == 20


def test_left_to_the_folds_it_is_the_epochs_of_even_ones_and_the_updates_of_uneven_ones():
    assert length("auto") == length("epochs")
    growing = [Fold(k, ROWS[: 16 * k], ROWS[16 * k : 16 * (k + 1)]) for k in range(1, 6)]
    found = RefitLength.of("auto", n_epochs=26, horizon=52, folds=growing, n_rows=100, batch_size=8)
    # 2, 4, 6, 8 and 10 updates an epoch, 6 on average; all rows are 13.
    assert found == RefitLength(12, 24, "updates")
