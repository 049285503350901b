"""Which trials a trial is compared with: those whose reports count the same."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.trial import FrozenTrial

HORIZON_FREE = "horizon_free"
"""Note on a trial: whether its reports are by epoch; else they are by share of its horizon."""


def study_of_alike(study: optuna.Study, *, horizon_free: bool) -> optuna.Study:
    """Return the study as a pruner of such a trial should see it.

    A study may hold schedules of both kinds. Their steps mean different things, and so do their
    curves: an annealed one falls at its end, and would lose to a constant one at any step before.
    """
    return optuna.Study(
        study.study_name,
        _Alike(study._storage, horizon_free),  # type: ignore[arg-type]
        study.sampler,
        study.pruner,
    )


class _Alike:
    """A storage that shows the trials of one kind; pruners write to it as to any other."""

    def __init__(self, storage: Any, horizon_free: bool) -> None:
        self._storage, self._horizon_free = storage, horizon_free

    def get_all_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        """Return the trials of this kind."""
        trials = self._storage.get_all_trials(*args, **options)
        # One that has reported nothing yet has no kind, and nothing to compare either.
        return [
            trial
            for trial in trials
            if trial.user_attrs.get(HORIZON_FREE, self._horizon_free) == self._horizon_free
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
