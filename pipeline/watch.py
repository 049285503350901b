"""What a supervisor shows of trials that others train: what the study's storage says of them."""

from __future__ import annotations

from pipeline import optimization
from pipeline.results import Outcome
from pipeline.session import Session


class Watch:
    """Tells a display what the study's storage says of trials that others train."""

    def __init__(self, session: Session) -> None:
        self._session = session
        trials = session.finished.all()
        self.before = frozenset(trial.number for trial in trials)
        self._finished = set(self.before)
        self._begun: dict[int, int] = {}
        self._paused = {trial.number: trial.n_fold_epochs for trial in session.paused()}

    def look(self) -> int:
        """Tell what is new; return how many steps of trials have come to their end."""
        session = self._session
        paused = {trial.number: trial for trial in session.at_rest()}
        for trial in optimization.begun(session.study):
            params = session.spec.params_of(trial.params)
            if not session.spec.sampled_with(params).keys() <= params.keys():
                continue  # it is being asked for
            result = paused.get(trial.number)
            if result and self._paused.get(trial.number) == result.n_fold_epochs:
                continue
            if trial.number not in self._begun:
                session.display.trial_started(trial.number, params)
            n_epochs, mean = optimization.last_report(trial, int(params["max_epochs"]))
            if n_epochs > self._begun.get(trial.number, 0):
                session.display.epoch_ended(trial.number, n_epochs, mean)
            self._begun[trial.number] = n_epochs
            if result:
                self._paused[trial.number] = result.n_fold_epochs
                del self._begun[trial.number]
                session.display.trial_ended(result)
        for result in session.finished.all():
            if result.number not in self._finished:
                self._finished.add(result.number)
                session.display.trial_ended(result)
        return self._n_steps()

    def _n_steps(self) -> int:
        """Return how many trials have ended without failing; rungs that were reached count too."""
        trials, climbs = self._session.finished.all(), self._session.climbs
        n_ended = sum(trial.outcome is not Outcome.FAILED for trial in trials)
        if climbs is None:
            return n_ended
        return n_ended * len(climbs.strategy.rungs) + climbs.n_rungs_of_paused()
