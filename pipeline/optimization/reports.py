"""What a trial's pruner sees, and when the storage hears of it.

A journal is told each epoch. A database would take a dozen statements for one, so there what is
reported within two seconds is written in one transaction, and what others have come to is read as
often. The pruner sees the trial's own reports at once, and trials that have ended as the storage
has them: what is pruned does not depend on when it was written.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Container
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.optimization.alike import study_of_alike
from pipeline.optimization.database import PatientStorage, errors_of_trial

INTERVAL_SECS = 2.0
"""Between two writes, and between two reads, where the storage is a database."""


class Reports:
    """Those of a trial in a journal."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def add(self, step: int, mean: float) -> None:
        """Report the mean at a step."""
        with errors_of_trial():
            self._trial.report(mean, step)

    def flush(self) -> None:
        """Let the storage know of everything."""

    def trials(self) -> list[FrozenTrial]:
        """Return the study's trials as far as they have come."""
        return self._trial.study.get_trials(deepcopy=False)

    def should_prune(self, *, horizon_free: bool) -> bool:
        """Ask the study's pruner, which sees trials whose steps mean the same."""
        study = study_of_alike(self._trial.study, horizon_free=horizon_free)
        return study.pruner.prune(study, self._trial._get_latest_trial())


class GatheredReports(Reports):
    """Those of a trial in a database.

    stored: the trial, as the storage has it
    clock: seconds
    """

    def __init__(
        self, trial: Trial, stored: FrozenTrial, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(trial)
        self._storage: PatientStorage = trial.storage._backend  # type: ignore[attr-defined]
        self._recent = _Recent(trial.storage, stored, clock)
        self._alike: dict[bool, optuna.Study] = {}
        self._unwritten: dict[int, float] = {}
        self._clock, self._last_write = clock, clock()

    def add(self, step: int, mean: float) -> None:
        """Report the mean at a step, to the storage when it is time."""
        self._unwritten[step] = self._recent.own.intermediate_values[step] = float(mean)
        if self._clock() - self._last_write >= INTERVAL_SECS:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        if self._unwritten:
            with errors_of_trial():
                self._storage.set_intermediate_values(self._trial._trial_id, self._unwritten)
        self._unwritten, self._last_write = {}, self._clock()

    def trials(self) -> list[FrozenTrial]:
        """Return the study's trials, not older than a pruner is shown them."""
        return self._recent.get_all_trials(self._trial.study._study_id, deepcopy=False)

    def should_prune(self, *, horizon_free: bool) -> bool:
        """Ask the study's pruner, which sees trials whose steps mean the same."""
        if horizon_free not in self._alike:
            seen = copy.copy(self._trial.study)
            seen._storage = self._recent  # type: ignore[assignment]
            self._alike[horizon_free] = study_of_alike(seen, horizon_free=horizon_free)
        study = self._alike[horizon_free]
        return study.pruner.prune(study, self._recent.as_now())


class _Recent:
    """A database as a pruner is shown it: not older than the interval, and this trial as it is."""

    def __init__(self, storage: Any, stored: FrozenTrial, clock: Callable[[], float]) -> None:
        self._storage, self.own = storage, copy.deepcopy(stored)
        self._clock = clock
        self._read: dict[tuple[TrialState, ...], tuple[float, list[FrozenTrial]]] = {}

    def as_now(self) -> FrozenTrial:
        """Return this trial; what a pruner notes of it later does not show in it."""
        trial = copy.copy(self.own)
        trial.system_attrs = dict(self.own.system_attrs)
        return trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the study's trials in these states, or all."""
        seen = tuple(state for state in TrialState if states is None or state in states)
        read_at, trials = self._read.get(seen, (-INTERVAL_SECS, []))
        if self._clock() - read_at >= INTERVAL_SECS:
            trials = self._storage.get_all_trials(study_id, deepcopy=False, states=states)
            self._read[seen] = self._clock(), trials
        trials = [self.as_now() if t.number == self.own.number else t for t in trials]
        return copy.deepcopy(trials) if deepcopy else trials

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep what a pruner notes of a trial, with the storage and here."""
        self._storage.set_trial_system_attr(trial_id, key, value)
        if trial_id == self.own._trial_id:
            self.own.system_attrs[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


def reports_of(trial: Trial, stored: FrozenTrial) -> Reports:
    """Return the reports of a trial, as its storage takes them; stored: the trial there."""
    is_database = isinstance(getattr(trial.storage, "_backend", None), PatientStorage)
    return GatheredReports(trial, stored) if is_database else Reports(trial)
