"""A study whose trials pause and go on, as its strategy decides.

climbs = Climbs(study, spec, Ladder(), n_folds=5)
step = climbs.next_step(is_taken=claims.is_taken)       # None: the search is over
proposal = climbs.proposal(step, take=claims.take)
...
proposal.pause(result)                                  # or proposal.tell(result)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.optimization.stored import result_of
from pipeline.optimization.trials import (
    RUNG,
    Proposal,
    continued_proposal,
    n_to_begin,
    new_proposal,
)
from pipeline.results import Outcome, TrialResult
from pipeline.spec import StudySpec
from pipeline.strategy import Standing, Step, Strategy, places

AVERAGED = 1 / 3
"""Share of its epochs so far that the loss of one fold is the mean of, where that is best.

A single epoch of one fold may be good by chance, and most likely where curves are rough. The mean
over folds is smoother, and an average would hold against a curve that it is still falling.
"""


class _Told(NamedTuple):
    """What a trial has come to, and its losses by rung."""

    result: TrialResult | None
    losses: tuple[float, ...]

    @property
    def rung(self) -> int:
        """How many rungs it has reached."""
        return len(self.losses)


class Climbs:
    """One study's trials, as its storage says they stand; nothing else is kept.

    n_folds: of a trial that reaches the last rung
    """

    def __init__(
        self, study: optuna.Study, spec: StudySpec, strategy: Strategy, n_folds: int
    ) -> None:
        self._study, self._spec, self._strategy = study, spec, strategy.of_folds(n_folds)
        self._n_folds, self._longest = n_folds, spec.longest_horizon
        self._read: dict[int, tuple[Any, TrialState, _Told]] = {}

    @property
    def strategy(self) -> Strategy:
        """The strategy, as it is with so many folds."""
        return self._strategy

    def paused(self) -> list[TrialResult]:
        """Return the trials that are paused, in order of number."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        results = (self._result(trial) for trial in running)
        return [each for each in results if each and each.outcome is Outcome.PAUSED]

    def paused_result(self, number: int) -> TrialResult | None:
        """Return what a trial had come to when it paused; None if it is not one that did."""
        trial = self._study.get_trials(deepcopy=False)[number]
        result = self._result(trial)
        return result if result and result.outcome is Outcome.PAUSED else None

    def at_rest(self) -> list[TrialResult]:
        """Return those of them that were not left on their way to the next rung."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        resting = {each.number for each in running if self._aim(each) <= self._told(each).rung}
        return [each for each in self.paused() if each.number in resting]

    def n_rungs_of_paused(self) -> int:
        """Return how many rungs those that are paused have reached, in all."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return sum(self._told(trial).rung for trial in running)

    def underway(self, is_taken: Callable[[int], bool]) -> int:
        """Return the fold-epochs of the steps that other workers are at."""
        return sum(
            self._strategy.fold_epochs(each.rung + 1, each.horizon, self._n_folds)
            - self._strategy.fold_epochs(each.rung, each.horizon, self._n_folds)
            for each in self._standings(is_taken)
            if each.is_climbing
        )

    def next_step(
        self,
        *,
        is_taken: Callable[[int], bool] = lambda number: False,
        ends_early: bool = False,
        left: float = math.inf,
    ) -> Step | None:
        """Return what to train next; None when the search is over, but for what others train.

        is_taken: whether another worker is at the trial of a number
        ends_early: whether only the finalists are to be finished
        left: fold-epochs left of the budget, those of others' steps taken off
        A trial that was left in the middle goes on first: its step was granted already.
        """
        trials = self._begun()
        standings = [self._standing(trial, is_taken) for trial in trials]
        for trial, each in zip(trials, standings, strict=True):
            if each.is_paused and (rung := self._aim(trial)) > each.rung:
                return Step(each.number, rung)
        return self._strategy.next_step(
            standings,
            n_folds=self._n_folds,
            horizon=self._longest,
            can_begin=n_to_begin(self._study, self._spec) > 0,
            ends_early=ends_early,
            left=left,
        )

    def proposal(
        self, step: Step, *, take: Callable[[int], bool] = lambda number: True
    ) -> Proposal:
        """Return the trial of a step: a paused one, or a new one.

        take: claims the trial of a number
        """
        if step.number is not None:
            take(step.number)
            proposal = continued_proposal(self._study, self._spec, step.number)
        else:
            proposal = new_proposal(self._study, self._spec, take=take, places=self.places())
        proposal.aim_at(step.rung)
        return proposal

    def end(self, result: TrialResult) -> None:
        """Tell that a paused trial has ended."""
        continued_proposal(self._study, self._spec, result.number).tell(result)

    def finalists(self) -> list[int]:
        """Return the numbers of the trials that are to be finished, or are."""
        return [each.number for each in self._strategy.finalists(self._standings())]

    def places(self) -> dict[int, int]:
        """Return the place of each trial that has reached a rung or failed, 0 for the best."""
        return places(self._standings())

    def in_line(self, is_taken: Callable[[int], bool] = lambda number: False) -> set[int]:
        """Return the numbers of the paused trials that are next to go on, on any rung."""
        return self._strategy.in_line(self._standings(is_taken))

    def _begun(self) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state is not TrialState.WAITING]

    def _standings(self, is_taken: Callable[[int], bool] = lambda number: False) -> list[Standing]:
        return [self._standing(trial, is_taken) for trial in self._begun()]

    def _standing(
        self, trial: FrozenTrial, is_taken: Callable[[int], bool] = lambda number: False
    ) -> Standing:
        is_running = trial.state is TrialState.RUNNING
        is_climbing = is_running and is_taken(trial.number)
        return Standing(
            number=trial.number,
            # One that is being asked for has none yet.
            horizon=int(trial.params.get("max_epochs", self._longest)),
            losses=self._told(trial).losses,
            has_failed=trial.state is TrialState.FAIL,
            is_paused=is_running and not is_climbing,
            is_climbing=is_climbing,
        )

    def _aim(self, trial: FrozenTrial) -> int:
        """Return the rung up to which a trial was to be trained when it was last taken up."""
        return min(int(trial.user_attrs.get(RUNG, 1)), len(self._strategy.rungs))

    def _result(self, trial: FrozenTrial) -> TrialResult | None:
        return self._told(trial).result

    def _told(self, trial: FrozenTrial) -> _Told:
        """Return what was last told of a trial; each note is read once, and at its end again."""
        note = trial.user_attrs.get("result")
        if note is None:
            return _Told(None, ())
        known = self._read.get(trial.number)
        if known is None or known[0] is not note or known[1] is not trial.state:
            result = result_of(trial, self._spec)
            told = _Told(result, self._losses(result, self._n_below(trial, result), trial.state))
            known = self._read[trial.number] = note, trial.state, told
        return known[2]

    def _n_below(self, trial: FrozenTrial, result: TrialResult) -> int:
        """Return how many rungs below the last one a trial has reached."""
        n_lower = len(self._strategy.rungs) - 1
        if trial.state is TrialState.RUNNING:
            # The strategy may have had more rungs then.
            return min(int(trial.user_attrs["result"].get(RUNG, 0)), n_lower)
        if result.value is not None:
            return n_lower
        # It may be of a session without a strategy.
        if (curves := result.curves) is None:
            return 0
        has_all = len(curves.folds) == self._n_folds
        return self._strategy.rung_of(curves.n_epochs, result.horizon, has_all_folds=has_all)

    def _losses(self, result: TrialResult, rung: int, state: TrialState) -> tuple[float, ...]:
        """Return a trial's loss at each rung, of one fold or the mean over all; then its value.

        A process may have died between a trial's value and its end in the study: it has none yet.
        """
        curves, strategy = result.curves, self._strategy
        if curves is None or strategy.fold not in curves.folds:
            return ()
        fold = curves.objective.as_loss(curves.values[curves.folds.index(strategy.fold)])
        reached = [
            (strategy.n_epochs(each, result.horizon), strategy.is_of_all_folds(each))
            for each in range(1, rung + 1)
        ]
        losses = tuple(
            float(curves.losses[:n_epochs].min()) if has_all else best_average(fold[:n_epochs])
            for n_epochs, has_all in reached
        )
        if result.value is None or state is TrialState.RUNNING:
            return losses
        return *losses, float(curves.objective.as_loss(np.array(result.value)))


def best_average(losses: np.ndarray) -> float:
    """Return the lowest mean of so many epochs that follow on each other; losses: [n_epochs]."""
    n_epochs = max(1, int(AVERAGED * len(losses)))
    return float(np.convolve(losses, np.full(n_epochs, 1 / n_epochs), "valid").min())
