"""A trial's training: all folds in step, its state a value, its curves its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.folds import Fold
from pipeline.schedules import Cosine
from pipeline.training.lockstep import Snapshot
from pipeline.training.models import fold_seed, row_order
from tests.training.fit import fit
from tests.training.models import advanced, all_curves, case, dense, dropout, with_every_state

DENSE = case(dense)


@pytest.fixture(scope="module")
def engine():
    return DENSE.engine()


def test_all_folds_advance_together(engine):
    training = advanced(DENSE.training(engine), 2)
    assert training.n_epochs == 2
    assert training.history("val_loss").shape == (2, 2)
    assert training.n_updates == 2 * 2 * 3  # epochs × folds × ceil(22 / 8)


def test_advance_returns_every_folds_metrics_of_the_epoch(engine):
    training = DENSE.training(engine)
    for _ in range(2):
        scores = training.advance()
        assert scores.shape == (2, len(training.program.metric_names))
    np.testing.assert_array_equal(scores, all_curves(training)[:, :, -1].T)


@pytest.mark.parametrize(
    ("build", "mode"),
    [(with_every_state, "plain"), (dense, "xla"), (with_every_state, "stream")],
    ids=["plain", "xla", "stream"],
)
def test_going_on_from_a_snapshot_is_never_having_stopped(build, mode):
    case_ = case(build, schedule=Cosine())
    engine = case_.engine(mode)
    through = advanced(case_.training(engine), 4)

    stopped = advanced(case_.training(engine), 2)
    snapshot = stopped.snapshot()
    advanced(stopped, 3)  # a snapshot is a value: this must not reach into it
    going_on = case_.training(engine)
    going_on.restore(snapshot)
    assert going_on.n_epochs == snapshot.n_epochs == 2
    advanced(going_on, 2)

    np.testing.assert_array_equal(all_curves(going_on), all_curves(through))
    assert_same_states(going_on, through)

    as_arrays = {fold: tuple(np.array(part) for part in s) for fold, s in snapshot.states.items()}
    going_on.restore(Snapshot(as_arrays, snapshot.metrics, {}))  # as it comes back from a disk
    np.testing.assert_array_equal(all_curves(advanced(going_on, 2)), all_curves(through))


@pytest.mark.parametrize(
    ("build", "mode"),
    [(with_every_state, "plain"), (dense, "xla"), (with_every_state, "stream")],
    ids=["plain", "xla", "stream"],
)
def test_a_fold_that_comes_late_catches_up_to_the_same_bits(build, mode):
    case_ = case(build, schedule=Cosine(), max_epochs=5)
    engine = case_.engine(mode)
    through = advanced(case_.training(engine), 4)

    first = advanced(replace(case_, folds=case_.folds[1:]).training(engine), 2)
    late = case_.training(engine)
    assert late.fits(first.snapshot())
    assert not first.fits(through.snapshot())
    late.restore(first.snapshot())
    assert (late.n_epochs, late.n_fold_epochs, late.n_updates) == (0, 2, 2 * 3)
    with late.running_ahead():
        for n_epochs in (1, 2, 3, 4):
            scores = late.advance()
            assert late.n_epochs == n_epochs
            assert late.is_level == (n_epochs >= 2)
            np.testing.assert_array_equal(scores, through.metrics_after(n_epochs))
            assert all_curves(late).shape[2] == n_epochs
    np.testing.assert_array_equal(all_curves(late), all_curves(through))
    for ours, theirs in zip(late.row_losses() or (), through.row_losses() or (), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert_same_states(late, through)


def assert_same_states(ours, theirs):
    for fold in ours.states:
        for a, b in zip(ours.states[fold], theirs.states[fold], strict=True):
            np.testing.assert_array_equal(np.array(a), np.array(b))


def test_row_order_is_a_function_of_seed_fold_and_epoch():
    rows = np.arange(100, 130)
    keys = [(seed, fold, epoch) for seed in (0, 1) for fold in (0, 1) for epoch in (1, 2)]
    orders = [tuple(row_order(*key, rows)) for key in keys]
    assert all(sorted(order) == list(rows) for order in orders)
    assert len(set(orders)) == len(orders)
    np.random.seed(5)
    assert tuple(row_order(0, 0, 1, rows)) == orders[0]


def test_folds_start_from_different_weights(engine):
    assert len({fold_seed(seed, fold) for seed in range(3) for fold in range(5)}) == 15
    states = DENSE.training(engine).states
    assert not np.array_equal(np.array(states[0][0]), np.array(states[1][0]))


def test_folds_that_start_alike_have_the_same_weights_and_row_orders():
    """The same rows under two numbers then train to the same bits."""
    rows = np.arange(44)
    alike = tuple(Fold(i, rows[:28], rows[28:], starts_like=7) for i in (100, 101))
    itself = (Fold(7, rows[:28], rows[28:]),)
    cases = [case(dropout, folds=folds) for folds in (alike, itself)]
    two, one = (all_curves(advanced(each.training(each.engine()), 2)) for each in cases)
    np.testing.assert_array_equal(two[:, 0], two[:, 1])
    np.testing.assert_array_equal(two[:, 0], one[:, 0])


def test_curves_do_not_depend_on_the_trials_before():
    case_ = case(dropout)
    alone = case_.trained(2)
    engine = case_.engine()
    advanced(case_.training(engine, learning_rate=0.5, dropout=0.1), 1)
    advanced(case_.training(engine, learning_rate=0.5), 3)
    np.testing.assert_array_equal(
        all_curves(advanced(case_.training(engine), 2)), all_curves(alone)
    )


def test_a_schedule_gives_every_update_the_learning_rate_it_says():
    case_ = case(dense, schedule=Cosine(0.1), max_epochs=4, learning_rate=0.2)

    def rate(fold, epochs, update):
        share = (epochs + update / 3) / 4  # 3 updates an epoch, 4 epochs to the horizon
        return 0.2 * (0.1 + 0.9 * (1 + np.cos(np.pi * share)) / 2)

    training = case_.trained(3)
    curves = fit(case_, case_.folds[1], 3, rates=rate).curves
    np.testing.assert_array_equal(training.history("loss")[1], curves["loss"])
    np.testing.assert_array_equal(training.history("val_loss")[1], curves["val_loss"])
    assert training.learning_rate_in(training.n_epochs) == pytest.approx(rate(None, 2, 2))


def test_the_horizon_stretches_a_cosine_and_leaves_a_constant_alone(engine):
    cosine = case(dense, schedule=Cosine())
    short, long = (advanced(cosine.training(engine, max_epochs=n), 2) for n in (3, 30))
    assert not short.horizon_free
    assert not np.array_equal(short.history("loss"), long.history("loss"))
    short, long = (advanced(DENSE.training(engine, max_epochs=n), 2) for n in (3, 30))
    assert short.horizon_free
    np.testing.assert_array_equal(all_curves(short), all_curves(long))
