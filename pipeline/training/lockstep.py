"""A trial's training: all its folds advance one epoch before any advances another.

After each epoch there is one true mean over the folds: that is what is reported, pruned on and
stopped on, and every curve is as long as every other. Folds that come later train by themselves
until they are where the others are; as long as they do, there is a mean for so many epochs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.curves import mean_over_folds
from pipeline.folds import Fold
from pipeline.schedules import (
    Constant,
    Schedule,
    counts_updates,
    given,
    rates_at,
    start_times,
    updates_per_epoch,
)
from pipeline.spec import StudySpec
from pipeline.training.callbacks import NO_CALLBACKS, FoldCallbacks, NoCallbacks
from pipeline.training.engine import FoldEpoch, Program, State
from pipeline.training.lanes import give_up, results
from pipeline.training.models import row_order
from pipeline.training.optimizer_schedule import OptimizerSchedule

Trained = Future[tuple[State, FoldEpoch]]
"""A fold's epoch that was begun."""

MAX_SECS_AHEAD = 1.0
"""Longest epoch of all folds that is begun before the one before it was looked at: so long may a
trial that ends there, or a process that is asked to stop, train for nothing."""


@dataclass(frozen=True)
class Snapshot:
    """A trial's whole training state after `n_epochs` epochs, as a value.

    states: by fold; each fold's state after its last epoch
    metrics: by fold, [n_epochs, n_metrics], and one more where callbacks may set the learning rate
    row_losses: by fold, each epoch's [n_validation_rows]; empty when they are not kept
    """

    states: Mapping[int, State]
    metrics: Mapping[int, np.ndarray]
    row_losses: Mapping[int, tuple[np.ndarray, ...]]

    @property
    def n_epochs(self) -> int:
        """Epochs trained by the fold that has trained most."""
        return max((len(metrics) for metrics in self.metrics.values()), default=0)


class LockstepTraining:
    """Several folds of one trial, trained in lockstep.

    program: the trial's compiled architecture
    params: learning_rate, max_epochs (the horizon) and batch_size are read here
    spec: the study's seed, objective, schedule and callbacks count. Row orders are a function of
        (seed, fold's start, epoch) and of nothing else; without a schedule the learning rates are
        those of the optimizer's own, or constant
    schedule: in place of the study's
    keeps_row_losses: whether every epoch's validation losses are kept row by row, where the model
        lets them be seen: four bytes a row and epoch
    """

    def __init__(
        self,
        program: Program,
        params: Mapping[str, Any],
        folds: Sequence[Fold],
        *,
        spec: StudySpec,
        schedule: Schedule | None = None,
        keeps_row_losses: bool = False,
    ) -> None:
        self.program = program
        self.horizon = int(params["max_epochs"])
        self.params = params
        self._folds = {fold.index: fold for fold in folds}
        schedule = schedule or spec.schedule_of(params)
        if counts_updates(schedule):
            schedule = OptimizerSchedule(schedule)
        self._schedule = schedule or program.schedule(params) or Constant()
        self._spec, self._objective, self._seed = spec, spec.objective, spec.seed
        self._weights = spec.objective.weights([len(fold.validation) for fold in folds])
        for index in self._folds:
            program.prepare(index)
        self._states = {index: program.initial_state(index) for index in self._folds}
        self._callbacks = self._new_callbacks()
        self._metrics: dict[int, list[np.ndarray]] = {index: [] for index in self._folds}
        self._keeps_row_losses = keeps_row_losses
        self._row_losses: dict[int, list[np.ndarray]] = {index: [] for index in self._folds}
        self.last: dict[int, FoldEpoch] = {}
        self._begun: dict[int, Trained] = {}
        self._runs_ahead = False

    @property
    def n_epochs(self) -> int:
        """Epochs that every fold has trained."""
        return min(len(metrics) for metrics in self._metrics.values())

    @property
    def n_fold_epochs(self) -> int:
        """Epochs so far, summed over folds."""
        return sum(len(metrics) for metrics in self._metrics.values())

    @property
    def is_level(self) -> bool:
        """Whether all folds have trained as many epochs; otherwise some are catching up."""
        return len({len(metrics) for metrics in self._metrics.values()}) == 1

    @property
    def folds(self) -> tuple[int, ...]:
        """Which of the study's folds are trained."""
        return tuple(self._folds)

    @property
    def n_updates(self) -> int:
        """Optimizer steps so far, summed over folds."""
        return sum(
            len(metrics) * self._updates_per_epoch(self._folds[index])
            for index, metrics in self._metrics.items()
        )

    @property
    def resumable(self) -> bool:
        """Whether training may go on from a snapshot: its callbacks, if any, hold nothing."""
        return all(each.resumable for each in self._callbacks.values())

    @property
    def horizon_free(self) -> bool:
        """Whether the schedule does not depend on the horizon."""
        return self._schedule.horizon_free

    @property
    def states(self) -> Mapping[int, State]:
        """Each fold's state now."""
        return dict(self._states)

    def learning_rate_in(self, n_epochs: int) -> float:
        """Return the learning rate of an epoch's last update, in the first fold."""
        index, fold = next(iter(self._folds.items()))
        for metrics in self._metrics[index][n_epochs - 1 : n_epochs]:
            if len(metrics) > len(self.program.metric_names):
                return float(metrics[-1])
        schedule = self._schedule_after(n_epochs - 1)
        return float(self._learning_rates(schedule, fold, n_epochs - 1)[-1])

    def metrics_after(self, n_epochs: int) -> np.ndarray:
        """Return all metrics after `n_epochs` epochs, [n_folds, n_metrics]."""
        n_metrics = len(self.program.metric_names)
        return np.stack([metrics[n_epochs - 1][:n_metrics] for metrics in self._metrics.values()])

    @contextmanager
    def running_ahead(self) -> Iterator[None]:
        """Let `advance` begin the epoch after the one it returns as soon as a lane is free.

        So no lane waits while the caller looks at an epoch, or for the last fold of it. What was
        begun counts when it is asked for; at the block's end it is given up.
        """
        self._runs_ahead = True
        try:
            yield
        finally:
            self._runs_ahead = False
            self._abandon()

    def advance(self) -> np.ndarray:
        """Train every fold for one more epoch and return the metrics [n_folds, n_metrics].

        Those that are ahead of the others wait for them. As many folds train at once as the engine
        has lanes. Until the last has ended, and if anything is raised, the training is where it
        was after the epoch before.
        """
        start = time.perf_counter()
        begun, self._begun = self._begun or self._begin(), {}
        if self._runs_ahead and self._running_ahead_pays():
            with suppress(Exception):  # raised when that epoch is asked for
                self._begun = self._begin(after=begun)
        try:
            trained = dict(zip(begun, results(list(begun.values())), strict=True))
        except BaseException:
            give_up(begun.values())
            self._abandon()
            raise
        last = {index: epoch for index, (_, epoch) in trained.items()}
        metrics = {index: epoch.metrics() for index, epoch in last.items()}
        reads = {i: each.row_losses for i, each in last.items() if self._keeps_row_losses}
        row_losses = {index: read() for index, read in reads.items() if read is not None}
        self._states |= {index: state for index, (state, _) in trained.items()}
        self.last = last
        for index in trained:
            self._metrics[index].append(metrics[index])
            if index in row_losses:
                self._row_losses[index].append(row_losses[index])
        self.program.epoch_secs = time.perf_counter() - start
        return self.metrics_after(self.n_epochs)

    def _begin(self, after: Mapping[int, Trained] | None = None) -> dict[int, Trained]:
        """Begin the folds' next epoch, or the one after an epoch that was begun already."""
        n_epochs, tasks = self.n_epochs + (after is not None), {}
        schedule = self._schedule_after(n_epochs)
        for index, fold in self._folds.items():
            if len(self._metrics[index]) > self.n_epochs:
                continue  # the others catch up first
            order = row_order(self._seed, fold.start, n_epochs + 1, fold.train)
            rates = self._learning_rates(schedule, fold, n_epochs)
            before = after[index] if after else self._states[index]
            tasks[index] = functools.partial(self._epoch, index, before, order, rates)
        begin, number_of = self.program.lanes.begin, self.program.device_number
        return {index: begin(task, number_of(index)) for index, task in tasks.items()}

    def _epoch(
        self, fold: int, before: State | Trained, order: np.ndarray, rates: np.ndarray
    ) -> tuple[State, FoldEpoch]:
        state = before.result()[0] if isinstance(before, Future) else before
        return self.program.run_epoch(fold, state, order, rates, self._callbacks[fold])

    def _running_ahead_pays(self) -> bool:
        if self._waits_for_curves or not self.is_level or self.n_epochs + 1 >= self.horizon:
            return False
        return self.program.lanes.n > 1 and self.program.epoch_secs < MAX_SECS_AHEAD

    def _abandon(self) -> None:
        give_up(self._begun.values())
        self._begun = {}

    def history(self, name: str) -> np.ndarray:
        """Return a metric's curves, [n_folds, n_epochs]."""
        column = self.program.metric_names.index(name)
        n_epochs = self.n_epochs
        return np.array(
            [[m[column] for m in metrics[:n_epochs]] for metrics in self._metrics.values()]
        )

    def training_mean(self) -> np.ndarray | None:
        """Return the monitored metric on training rows, mean over folds, [n_epochs].

        None of a scorer's: what is predicted in training changes from update to update.
        """
        name = self._objective.training_metric
        if name not in self.program.metric_names:
            return None
        return mean_over_folds(self.history(name), self._weights)

    def row_losses(self) -> list[np.ndarray] | None:
        """Return each fold's validation losses row by row, [n_validation_rows, n_epochs].

        None when they were not kept from the first epoch on, or the model hides them.
        """
        n_epochs = self.n_epochs
        if any(len(losses) < n_epochs for losses in self._row_losses.values()):
            return None
        return [np.stack(losses[:n_epochs], axis=1) for losses in self._row_losses.values()]

    def snapshot(self) -> Snapshot:
        """Return the whole training state as a value. Copies nothing."""
        metrics = {index: np.array(metrics) for index, metrics in self._metrics.items()}
        row_losses = {index: tuple(losses) for index, losses in self._row_losses.items()}
        return Snapshot(dict(self._states), metrics, row_losses)

    def fits(self, snapshot: Snapshot) -> bool:
        """Whether training may go on from a snapshot, from a file.

        It is of this architecture on these folds, or some.
        """
        return (
            self.resumable
            and snapshot.states.keys() <= self._states.keys()
            and all(
                [value.shape for value in state] == [value.shape for value in self._states[fold]]
                for fold, state in snapshot.states.items()
            )
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot, exactly as if training had never stopped.

        Folds that are not in it begin, and catch up.
        """
        self._abandon()
        self._callbacks = self._new_callbacks()
        for index in self._folds:
            state, program = snapshot.states.get(index), self.program
            self._states[index] = (
                program.initial_state(index) if state is None else program.placed(index, state)
            )
            self._metrics[index] = list(snapshot.metrics.get(index, ()))
            self._row_losses[index] = list(snapshot.row_losses.get(index, ()))

    def end(self) -> None:
        """End the training for good: the states are as callbacks leave them in `on_train_end`.

        Nothing where there are none.
        """
        for index, each in self._callbacks.items():
            if isinstance(each, FoldCallbacks) and each.has_begun:
                self._states[index] = self.program.end(index, self._states[index], each)

    def _new_callbacks(self) -> dict[int, NoCallbacks]:
        if self._spec.callbacks is None:
            return dict.fromkeys(self._folds, NO_CALLBACKS)
        return {
            index: FoldCallbacks(
                self._spec,
                fold=index,
                horizon=self.horizon,
                n_updates=self._updates_per_epoch(fold),
                may_set_rate=isinstance(self._schedule, Constant),
            )
            for index, fold in self._folds.items()
        }

    @property
    def _waits_for_curves(self) -> bool:
        """Whether the next learning rates depend on how the folds did."""
        return hasattr(self._schedule, "given")

    def _schedule_after(self, n_epochs: int) -> Schedule:
        """Return the schedule as it goes on after `n_epochs` epochs.

        From the curves each time: whoever goes on from a snapshot finds the same rates.
        """
        if not self._waits_for_curves:
            return self._schedule
        curves = self.history(self._objective.metric)[:, :n_epochs]
        mean = mean_over_folds(curves, self._weights)
        return given(self._schedule, self._objective.as_loss(mean))

    def _updates_per_epoch(self, fold: Fold) -> int:
        return updates_per_epoch(len(fold.train), int(self.params["batch_size"]))

    def _learning_rates(self, schedule: Schedule, fold: Fold, n_epochs: int) -> np.ndarray:
        """Return the learning rates of a fold's next epoch after `n_epochs`, [n_updates]."""
        times = start_times(n_epochs, self._updates_per_epoch(fold))
        return rates_at(schedule, self.params["learning_rate"], times, self.horizon)
