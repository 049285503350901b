"""Optuna's cache before a database, asked for no more than is looked at.

Whenever trials are asked for, Optuna reads anew those that have not ended, with all their epochs.
Each of many workers would read those of all others, several times under the lock that they share.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.storages import _CachedStorage
from optuna.storages._cached_storage import _StudyInfo
from optuna.trial import FrozenTrial, TrialState

from pipeline.optimization.database import PatientStorage
from pipeline.optimization.rows import NOT_ENDED


class CachedDatabase(_CachedStorage):
    """Trials in a database: what has ended is read once, and the others no more than need be."""

    _backend: PatientStorage

    def __init__(self, backend: PatientStorage) -> None:
        super().__init__(backend)
        self._read: set[int] | None = None

    @contextmanager
    def reading_once(self) -> Iterator[None]:
        """Let the block see a study's trials as they are when it first asks for all of them.

        And those that it begins, without what it writes on any; one that it ends is read again.
        Those that have not ended are without what they reported, which is most of what there is to
        read: who asks what to begin makes nothing of it.
        """
        self._read = set()
        try:
            yield
        finally:
            self._read = None

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Store a trial's end."""
        if self._read is not None:
            self._read.clear()
        return super().set_trial_state_values(trial_id, state, values)

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials in these states, or all; where they have ended, only such are read."""
        if states is None or any(state in states for state in NOT_ENDED):
            return super().get_all_trials(study_id, deepcopy, states)
        with self._lock:
            self._read_ended(study_id)
            known = self._studies[study_id].trials
            trials = [known[number] for number in sorted(known) if known[number].state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _read_trials_from_remote_storage(self, study_id: int) -> None:
        if self._read is None:
            super()._read_trials_from_remote_storage(study_id)
        elif study_id not in self._read:
            self._read.add(study_id)
            with self._lock:
                self._read_all_but_means_of_begun(study_id)

    def _read_all_but_means_of_begun(self, study_id: int) -> None:
        """Read what Optuna's cache reads when all trials are asked for, and note as much."""
        study = self._studies.setdefault(study_id, _StudyInfo())
        last, unfinished = study.last_finished_trial_id, study.unfinished_trial_ids
        trials = self._backend._get_trials(study_id, None, unfinished, last, begun_with_means=False)
        self._add_trials_to_cache(study_id, trials)
        ended = {trial._trial_id for trial in trials if trial.state.is_finished()}
        study.unfinished_trial_ids = {trial._trial_id for trial in trials} - ended
        study.last_finished_trial_id = max({last, *ended})

    def _read_ended(self, study_id: int) -> None:
        """Read the trials that have ended since they were last read."""
        if self._read is not None and study_id in self._read:
            return
        study = self._studies.setdefault(study_id, _StudyInfo())
        last, unfinished = study.last_finished_trial_id, study.unfinished_trial_ids
        found = self._backend.ended_trial_ids(study_id, unfinished, greater_than=last)
        # Those that are behind the last one are found again until all trials are read.
        new = {trial_id for trial_id in found if self._get_cached_trial(trial_id) is None}
        if new:
            ended: Any = tuple(state for state in TrialState if state not in NOT_ENDED)
            trials = self._backend._get_trials(study_id, ended, new, max(new))
            self._add_trials_to_cache(study_id, trials)
            unfinished -= {trial._trial_id for trial in trials}
