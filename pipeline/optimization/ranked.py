"""A study whose trials have places in place of values: what a sampler learns from paused trials."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState


def study_of_ranked(study: optuna.Study, places: Mapping[int, int]) -> optuna.Study:
    """Return the study as a sampler should see it: trials with a place are complete.

    places: of trials by number, 0 for the best
    Samplers learn nothing from a trial that is RUNNING, as a paused one is, and a value after few
    epochs says little beside one after many. What is asked of it is asked of the study itself.
    """
    ranked: Any = _Ranked(study, places)
    return optuna.Study(study.study_name, ranked, study.sampler, study.pruner)


class _Ranked:
    """A storage that shows places; whatever is written goes to the storage behind it."""

    def __init__(self, study: optuna.Study, places: Mapping[int, int]) -> None:
        self._storage = study._storage
        self._places = places
        self._sign = 1 if study.direction is optuna.study.StudyDirection.MINIMIZE else -1
        self._shown: dict[int, FrozenTrial] = {}

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Sequence[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return all trials, those with a place as complete."""
        trials = self._storage.get_all_trials(study_id, deepcopy=False)
        shown = [self._as_ranked(trial) for trial in trials]
        if states is not None:
            shown = [trial for trial in shown if trial.state in states]
        return copy.deepcopy(shown) if deepcopy else shown

    def _as_ranked(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.number not in self._places:
            return trial
        if trial.number not in self._shown:
            shown = copy.copy(trial)
            shown.state = TrialState.COMPLETE
            shown.values = [self._sign * float(self._places[trial.number])]
            self._shown[trial.number] = shown
        return self._shown[trial.number]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
