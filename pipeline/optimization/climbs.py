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
from typing import Any

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
"""Share of its epochs so far that a trial's loss on a rung is the mean of, where that is best.

A single epoch of one fold may be good by chance, and most likely where curves are rough.
"""


class Climbs:
    """One study's trials, as its storage says they stand; nothing else is kept.

    n_folds: of a trial that reaches the last rung
    """

    def __init__(
        self, study: optuna.Study, spec: StudySpec, strategy: Strategy, n_folds: int
    ) -> None:
        self._study, self._spec, self._strategy = study, spec, strategy.of_folds(n_folds)
        self._n_folds, self._longest = n_folds, spec.longest_horizon
        self._read: dict[int, tuple[Any, tuple[TrialResult, tuple[float, ...]]]] = {}

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
        left: fold-epochs left of the budget
        A trial that was left in the middle goes on first.
        """
        standings = self._standings(is_taken)
        paused = {each.number for each in self.paused()}
        for each in standings:
            if each.is_paused and each.number not in paused:
                return Step(each.number, each.rung + 1)
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
            ranked = places(self._standings())
            proposal = new_proposal(self._study, self._spec, take=take, places=ranked)
        proposal.rung = step.rung
        return proposal

    def end(self, result: TrialResult) -> None:
        """Tell that a paused trial has ended."""
        continued_proposal(self._study, self._spec, result.number).tell(result)

    def finalists(self) -> list[int]:
        """Return the numbers of the trials that are to be finished, or are."""
        return [each.number for each in self._strategy.finalists(self._standings())]

    def in_line(self) -> set[int]:
        """Return the numbers of the paused trials that are next to go on, on any rung."""
        return self._strategy.in_line(self._standings())

    def _standings(self, is_taken: Callable[[int], bool] = lambda number: False) -> list[Standing]:
        trials = self._study.get_trials(deepcopy=False)
        begun = (trial for trial in trials if trial.state is not TrialState.WAITING)
        return [self._standing(trial, is_taken) for trial in begun]

    def _standing(
        self, trial: FrozenTrial, is_taken: Callable[[int], bool] = lambda number: False
    ) -> Standing:
        is_running = trial.state is TrialState.RUNNING
        is_climbing = is_running and is_taken(trial.number)
        return Standing(
            number=trial.number,
            # One that is being asked for has none yet.
            horizon=int(trial.params.get("max_epochs", self._longest)),
            losses=self._told(trial)[1],
            has_failed=trial.state is TrialState.FAIL,
            is_paused=is_running and not is_climbing,
            is_climbing=is_climbing,
        )

    def _result(self, trial: FrozenTrial) -> TrialResult | None:
        return self._told(trial)[0]

    def _told(self, trial: FrozenTrial) -> tuple[TrialResult | None, tuple[float, ...]]:
        """Return what was last told of a trial, and its losses by rung; each note is read once."""
        note = trial.user_attrs.get("result")
        if note is None:
            return None, ()
        known = self._read.get(trial.number)
        if known is None or known[0] is not note:
            result = result_of(trial, self._spec)
            losses = self._losses(result, self._rung(trial, result))
            known = self._read[trial.number] = note, (result, losses)
        return known[1]

    def _rung(self, trial: FrozenTrial, result: TrialResult) -> int:
        """Return how many rungs below the last one a trial has reached."""
        if trial.state is TrialState.RUNNING:
            return int(trial.user_attrs.get(RUNG, 0))
        if result.value is not None:
            return len(self._strategy.rungs) - 1
        # It may be of a session without a strategy.
        if (curves := result.curves) is None:
            return 0
        has_all = len(curves.folds) == self._n_folds
        return self._strategy.rung_of(curves.n_epochs, result.horizon, has_all_folds=has_all)

    def _losses(self, result: TrialResult, rung: int) -> tuple[float, ...]:
        """Return a trial's loss at each rung: of its one fold, or the mean over all; its value."""
        curves, strategy = result.curves, self._strategy
        if curves is None or strategy.fold not in curves.folds:
            return ()
        fold = curves.objective.as_loss(curves.values[curves.folds.index(strategy.fold)])
        losses = tuple(
            best_average(
                (curves.losses if strategy.is_of_all_folds(each) else fold)[
                    : strategy.n_epochs(each, result.horizon)
                ]
            )
            for each in range(1, rung + 1)
        )
        if result.value is None:
            return losses
        return *losses, float(curves.objective.as_loss(np.array(result.value)))


def best_average(losses: np.ndarray) -> float:
    """Return the lowest mean of so many epochs that follow on each other; losses: [n_epochs]."""
    n_epochs = max(1, int(AVERAGED * len(losses)))
    return float(np.convolve(losses, np.full(n_epochs, 1 / n_epochs), "valid").min())
