"""A trial's training: all its folds advance one epoch before any advances another.

After each epoch there is one true mean over the folds: that is what is reported, pruned on and
stopped on, and every curve is as long as every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.folds import Fold
from pipeline.schedules import Constant, Schedule, start_times, updates_per_epoch
from pipeline.training.engine import FoldEpoch, Program, State
from pipeline.training.models import row_order


@dataclass(frozen=True)
class Snapshot:
    """A trial's whole training state after `n_epochs` epochs, as a value.

    states: by fold; each fold's state after its last epoch
    metrics: by fold, [n_epochs, n_metrics]
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
    schedule: None is the optimizer's own, or constant
    seed: the study's; row orders are a function of (seed, fold's start, epoch) and of nothing
        else
    keeps_row_losses: whether every epoch's validation losses are kept row by row, where the model
        lets them be seen: four bytes a row and epoch
    """

    def __init__(
        self,
        program: Program,
        params: Mapping[str, Any],
        folds: Sequence[Fold],
        *,
        schedule: Schedule | None,
        seed: int,
        keeps_row_losses: bool = False,
    ) -> None:
        self.program = program
        self.horizon = int(params["max_epochs"])
        self.params = params
        self._folds = {fold.index: fold for fold in folds}
        self._schedule = schedule or program.schedule(params) or Constant()
        self._seed = seed
        self._states = {index: program.initial_state(index) for index in self._folds}
        self._metrics: dict[int, list[np.ndarray]] = {index: [] for index in self._folds}
        self._keeps_row_losses = keeps_row_losses
        self._row_losses: dict[int, list[np.ndarray]] = {index: [] for index in self._folds}
        self.last: dict[int, FoldEpoch] = {}

    @property
    def n_epochs(self) -> int:
        """Epochs that every fold has trained."""
        return min(len(metrics) for metrics in self._metrics.values())

    @property
    def n_updates(self) -> int:
        """Optimizer steps so far, summed over folds."""
        return sum(
            len(metrics) * self._updates_per_epoch(self._folds[index])
            for index, metrics in self._metrics.items()
        )

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
        fold = next(iter(self._folds.values()))
        return float(self._learning_rates(fold, n_epochs - 1)[-1])

    def metrics_after(self, n_epochs: int) -> np.ndarray:
        """Return all metrics after `n_epochs` epochs, [n_folds, n_metrics]."""
        return np.stack([metrics[n_epochs - 1] for metrics in self._metrics.values()])

    def advance(self) -> np.ndarray:
        """Train every fold for one more epoch and return the metrics [n_folds, n_metrics].

        The device is waited for once, after the last fold. Until then, and if anything is raised,
        the training is where it was after the epoch before.
        """
        epoch, states, last = self.n_epochs, {}, {}
        for index, fold in self._folds.items():
            order = row_order(self._seed, fold.start, epoch + 1, fold.train)
            rates = self._learning_rates(fold, epoch)
            states[index], last[index] = self.program.run_epoch(
                index, self._states[index], order, rates
            )
        metrics = {i: np.asarray(each.metrics, dtype=np.float64) for i, each in last.items()}
        reads = {i: each.row_losses for i, each in last.items() if self._keeps_row_losses}
        row_losses = {index: read() for index, read in reads.items() if read is not None}
        self._states, self.last = states, last
        for index in self._folds:
            self._metrics[index].append(metrics[index])
            if index in row_losses:
                self._row_losses[index].append(row_losses[index])
        return self.metrics_after(self.n_epochs)

    def history(self, name: str) -> np.ndarray:
        """Return a metric's curves, [n_folds, n_epochs]."""
        column = self.program.metric_names.index(name)
        return np.array([[m[column] for m in metrics] for metrics in self._metrics.values()])

    def row_losses(self) -> list[np.ndarray] | None:
        """Return each fold's validation losses row by row, [n_validation_rows, n_epochs].

        None when they were not kept from the first epoch on, or the model hides them.
        """
        if any(len(losses) < self.n_epochs for losses in self._row_losses.values()):
            return None
        return [np.stack(losses, axis=1) for losses in self._row_losses.values()]

    def snapshot(self) -> Snapshot:
        """Return the whole training state as a value. Copies nothing."""
        metrics = {index: np.array(metrics) for index, metrics in self._metrics.items()}
        row_losses = {index: tuple(losses) for index, losses in self._row_losses.items()}
        return Snapshot(dict(self._states), metrics, row_losses)

    def fits(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot, from a file, is of this architecture on these folds."""
        return snapshot.states.keys() == self._states.keys() and all(
            [value.shape for value in snapshot.states[fold]] == [value.shape for value in state]
            for fold, state in self._states.items()
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot, exactly as if training had never stopped."""
        self._states = {fold: self.program.placed(s) for fold, s in snapshot.states.items()}
        self._metrics = {index: list(metrics) for index, metrics in snapshot.metrics.items()}
        self._row_losses = {index: list(rows) for index, rows in snapshot.row_losses.items()}

    def _updates_per_epoch(self, fold: Fold) -> int:
        return updates_per_epoch(len(fold.train), int(self.params["batch_size"]))

    def _learning_rates(self, fold: Fold, n_epochs: int) -> np.ndarray:
        times = start_times(n_epochs, self._updates_per_epoch(fold))
        initial = self.params["learning_rate"]
        rates = np.asarray(self._schedule.learning_rates(initial, times, self.horizon))
        if rates.shape != times.shape or not np.isfinite(rates).all():
            raise BadInput(
                f"schedule {self._schedule!r} must give {len(times)} finite learning rates, one "
                f"per update, got {rates!r}"
            )
        return rates
