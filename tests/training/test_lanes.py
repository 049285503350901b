"""Folds that train at once, and an epoch ahead: the same bits, and nothing left behind."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.folds import Fold
from pipeline.schedules import ReduceOnPlateau
from pipeline.training import LockstepTraining
from pipeline.training.engine import FoldEpoch
from pipeline.training.lanes import Lanes, give_up, results
from tests.training.models import (
    advanced,
    all_curves,
    case,
    convolutional,
    dense,
    images,
    with_every_state,
)

ROWS = np.arange(30)
FOLDS = tuple(Fold(i, np.setdiff1d(ROWS, ROWS[i::5]), ROWS[i::5]) for i in range(5))
PARAMS = {"learning_rate": 0.1, "max_epochs": 6, "batch_size": 8}


class Counting:
    """A program that trains nothing: a fold's state is the number of its epochs."""

    metric_names = ("loss", "val_loss")

    def __init__(
        self,
        n_lanes: int,
        *,
        n_devices: int = 1,
        fails_at: tuple[int, int] = (-1, -1),
        secs: float = 0.002,
    ) -> None:
        self.lanes, self.n_devices = Lanes(n_lanes, n_devices), n_devices
        self.epoch_secs = math.inf
        self.secs = secs
        self.fails_at = fails_at
        self.begun: list[tuple[int, int]] = []
        self.threads: set[tuple[int, str]] = set()
        self.n_running = self.most = 0
        self._lock = threading.Lock()

    def prepare(self, fold):
        pass

    def device_number(self, fold):
        return fold % self.n_devices

    def initial_state(self, fold):
        return (0,)

    def schedule(self, params):
        return None

    def run_epoch(self, fold, state, rows, learning_rates, callbacks):
        with self._lock:
            self.begun.append((fold, state[0] + 1))
            self.threads.add((fold, threading.current_thread().name))
            self.n_running += 1
            self.most = max(self.most, self.n_running)
        time.sleep(self.secs)
        with self._lock:
            self.n_running -= 1
        if (fold, state[0] + 1) == self.fails_at:
            raise FloatingPointError(f"fold {fold}")
        return (state[0] + 1,), FoldEpoch(np.array([fold, state[0] + 1.0]), None)


def training_on(program, schedule=None):
    return LockstepTraining(
        program, PARAMS, FOLDS, spec=replace(case(dense).spec, schedule=schedule)
    )


def begins(program: Counting, n: int) -> bool:
    """Whether so many folds' epochs are begun, within ten seconds, and no more."""
    deadline = time.monotonic() + 10
    while len(program.begun) < n and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    return len(program.begun) == n


@pytest.mark.parametrize("n_lanes", [1, 2, 3])
def test_as_many_folds_train_at_once_as_there_are_lanes(n_lanes):
    program = Counting(n_lanes, secs=0.2)
    scores = training_on(program).advance()
    np.testing.assert_array_equal(scores, [[fold, 1] for fold in range(5)])
    assert program.most == n_lanes


def test_a_devices_folds_train_in_its_own_lanes_and_all_devices_at_once():
    program = Counting(1, n_devices=2, secs=0.2)
    scores = training_on(program).advance()
    np.testing.assert_array_equal(scores, [[fold, 1] for fold in range(5)])
    assert program.most == 2
    assert program.threads == {(fold, f"lane {fold % 2}_0") for fold in range(5)}


def test_without_running_ahead_no_epoch_is_begun_before_it_is_asked_for():
    program = Counting(2)
    training = training_on(program)
    for n_epochs in (1, 2, 3):
        training.advance()
        assert len(program.begun) == 5 * n_epochs


def test_running_ahead_fills_the_lanes_and_stops_at_the_horizon():
    program = Counting(2)
    training = training_on(program)
    with training.running_ahead():
        advanced(training, 2)
        assert begins(program, 15)
        assert all(state == (2,) for state in training.states.values())
        advanced(training, 4)
    assert sorted(program.begun) == [(fold, n) for fold in range(5) for n in range(1, 7)]
    np.testing.assert_array_equal(training.history("val_loss"), [[1, 2, 3, 4, 5, 6]] * 5)


def test_how_long_an_epoch_takes_is_known_from_the_training_before():
    program = Counting(2)
    advanced(training_on(program), 1)
    program.begun.clear()
    training = training_on(program)
    with training.running_ahead():
        training.advance()
        assert begins(program, 10)


def test_a_schedule_that_reacts_to_the_curves_waits_for_them():
    program = Counting(2)
    training = training_on(program, ReduceOnPlateau(patience=1))
    with training.running_ahead():
        for n_epochs in (1, 2, 3):
            training.advance()
            assert len(program.begun) == 5 * n_epochs


def test_a_schedule_that_ends_fails_when_its_next_epoch_is_asked_for():
    def listed(epoch: int) -> float:
        return [0.1, 0.1, 0.1][epoch]

    training = training_on(Counting(2), listed)
    with training.running_ahead():
        advanced(training, 3)
        with pytest.raises(BadInput, match=r"listed\(3\) raised IndexError"):
            training.advance()
    assert training.n_epochs == 3


def test_what_was_begun_ahead_is_given_up_at_the_end():
    program = Counting(2)
    training = training_on(program)
    with training.running_ahead():
        advanced(training, 3)
    n_begun = len(program.begun)
    assert program.n_running == 0
    time.sleep(0.02)
    assert len(program.begun) == n_begun
    assert training.n_epochs == 3
    advanced(training, 1)
    np.testing.assert_array_equal(training.history("val_loss")[0], [1, 2, 3, 4])


@pytest.mark.parametrize("n_lanes", [1, 2])
def test_a_fold_that_fails_leaves_training_where_it_was(n_lanes):
    program = Counting(n_lanes, fails_at=(3, 4))
    training = training_on(program)
    with training.running_ahead():
        advanced(training, 3)
        with pytest.raises(FloatingPointError, match="fold 3"):
            training.advance()
        assert program.n_running == 0
    assert training.n_epochs == 3
    assert all(state == (3,) for state in training.states.values())
    program.fails_at = (-1, -1)
    advanced(training, 1)
    assert training.n_epochs == 4


def test_a_task_that_is_given_up_never_begins():
    lanes, go_on, begun = Lanes(2), threading.Event(), []
    running: list[Any] = [lanes.begin(go_on.wait) for _ in range(2)]
    waiting = lanes.begin(lambda: begun.append(1))
    threading.Timer(0.05, go_on.set).start()
    give_up([waiting, *running])
    assert all(results(running))
    assert not begun


@pytest.mark.parametrize(
    ("build", "data", "mode"),
    [
        (with_every_state, None, "plain"),
        pytest.param(with_every_state, None, "xla", marks=pytest.mark.long),
        (convolutional, images(), "plain"),
    ],
    ids=["every kind of state", "XLA", "convolutions"],
)
def test_folds_at_once_and_ahead_are_bit_for_bit_folds_in_turn(build, data, mode):
    many = tuple(Fold(i, np.setdiff1d(np.arange(44), f), f) for i, f in enumerate(thirds()))
    case_ = replace(case(build, data, max_epochs=9), folds=many)
    in_turn = case_.engine(mode)
    in_turn.lanes = Lanes(1)
    expected = advanced(case_.training(in_turn), 6)
    at_once = case_.engine(mode)
    at_once.lanes = Lanes(3)
    for _ in range(3):
        training = case_.training(at_once)
        with training.running_ahead():
            advanced(training, 6)
        np.testing.assert_array_equal(all_curves(training), all_curves(expected))
        for fold, state in training.states.items():
            for ours, theirs in zip(state, expected.states[fold], strict=True):
                np.testing.assert_array_equal(np.array(ours), np.array(theirs))


def thirds() -> list[np.ndarray]:
    return [np.arange(44)[i::3] for i in range(3)]
