"""What a search has spent of its budget, and what it keeps back for its answer."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.results import TrialResult, ranked
from pipeline.spec import StudySpec

REFIT_FACTOR = 1.25
"""An epoch of the refit has about this many times a fold's rows: K/(K − 1) for five folds."""


MIN_LEGS = 3
"""Trainings that were counted, from which on their median says how fast others will be."""


@dataclass
class Spending:
    """Epochs and updates of all sessions, time of this one.

    deadline: when this session's time is over, by the clock; None is its budget from now on
    ended_by: which budget ended the search, as workers say who did not get further; "" if none did
    n_counted: trials that were counted last
    """

    spec: StudySpec
    n_folds: int
    deadline: float | None = None
    ended_by: str = ""
    clock: Callable[[], float] = field(default=lambda: time.monotonic())
    n_counted: int = field(default=0, init=False)
    _start: float = field(init=False)
    _counted_at: float = field(init=False)
    _legs: list[float] = field(default_factory=list, init=False)
    _n_here: int = field(default=0, init=False)
    _searched: tuple[int, int] = field(default=(0, 0), init=False)
    _kept_back: float = field(default=0.0, init=False)
    _besides: dict[str, tuple[int, int]] = field(default_factory=dict, init=False)
    _underway: tuple[int, int] = field(default=(0, 0), init=False)

    def __post_init__(self) -> None:
        self._start = self._counted_at = self.clock()
        if self.deadline is None and self.spec.budget.timeout_secs is not None:
            self.deadline = self._start + self.spec.budget.timeout_secs

    @property
    def n_fold_epochs(self) -> int:
        """Of trials that ended or paused, of steps underway, and of training for the answer."""
        n_besides = sum(n for n, _ in self._besides.values())
        return self._searched[0] + self._underway[0] + n_besides

    @property
    def n_updates(self) -> int:
        """Of the same."""
        n_besides = sum(n for _, n in self._besides.values())
        return self._searched[1] + self._underway[1] + n_besides

    def count(self, trials: Sequence[TrialResult], *, n_here: int = 0) -> None:
        """Count what was trained of the trials, of all sessions and workers.

        n_here: fold-epochs of that which this process has trained since it last counted
        """
        self.recount(trials)
        self._n_here += n_here
        now = self.clock()
        if n_here:
            self._legs.append((now - self._counted_at) / n_here)
        self._counted_at = now

    def recount(self, trials: Sequence[TrialResult]) -> None:
        """Count as well what others have trained since, while this process is at a trial.

        What the best one's answer takes is kept back.
        """
        self.n_counted = len(trials)
        self._searched = (
            sum(trial.n_fold_epochs for trial in trials),
            sum(trial.n_updates for trial in trials),
        )
        self._underway = (0, 0)
        self._keep_back_for(next(iter(ranked(trials, self.spec.objective)), None))

    def count_underway(self, n_fold_epochs: int) -> None:
        """Count the steps of paused trials that other workers are at as if they were over.

        Those that are begun after this find their own place in the budget beside this worker's.
        """
        self._underway = (0, 0)
        per_epoch = self.n_updates / self.n_fold_epochs if self.n_fold_epochs else 0.0
        self._underway = (n_fold_epochs, round(n_fold_epochs * per_epoch))

    def count_besides(self, what: str, n_fold_epochs: int, n_updates: int) -> None:
        """Count what was trained for the answer, in whichever session, instead of what `what` was.

        what: "winner" or "confirmation"
        """
        self._besides[what] = (n_fold_epochs, n_updates)

    def _keep_back_for(self, best: TrialResult | None) -> None:
        """Keep back what this best trial's answer takes: its curve's rest, and the refit."""
        if best is None or best.best_n_epochs is None or best.curves is None:
            return
        rest = self.n_folds * (best.horizon - best.best_n_epochs)
        seeds = self.spec.refit.n_seeds if self.spec.refit.enabled else 0
        self._kept_back = rest + REFIT_FACTOR * seeds * best.best_n_epochs

    def unspent(self, n_fold_epochs: int, n_updates: int) -> float:
        """Return the fold-epochs that the budget has after these, where it limits training."""
        budget, unspent = self.spec.budget, math.inf
        if budget.max_fold_epochs is not None:
            unspent = budget.max_fold_epochs - n_fold_epochs
        if budget.max_updates is not None and n_updates:
            per_epoch = n_updates / n_fold_epochs
            unspent = min(unspent, (budget.max_updates - n_updates) / per_epoch)
        return unspent

    def left(self, finished: Sequence[TrialResult]) -> float:
        """Return the fold-epochs that are left for trials, as far as the budget limits them.

        Where no trial has ended, what a longest one's answer may take is kept back. One epoch of
        all folds is looked ahead, as in `over`.
        """
        kept_back = self._kept_back
        if not any(trial.value is not None for trial in finished):
            seeds = self.spec.refit.n_seeds if self.spec.refit.enabled else 0
            kept_back = (self.n_folds + REFIT_FACTOR * seeds) * self.spec.longest_horizon
        left = [self.unspent(self.n_fold_epochs, self.n_updates)]
        # The first legs compile, and say little of the others.
        if self.deadline is not None and len(self._legs) >= MIN_LEGS:
            left.append((self.deadline - self.clock()) / max(statistics.median(self._legs), 1e-9))
        return min(left) - kept_back - self.n_folds

    def over(self, n_fold_epochs: int = 0, n_updates: int = 0, *, answering: bool = False) -> str:
        """Return which budget is over, in words; "" while none is.

        n_fold_epochs, n_updates: of what is being trained
        answering: spend what was kept back
        """
        budget, now = self.spec.budget, self.clock()
        kept_back = 0.0 if answering else self._kept_back
        n_epochs = self.n_fold_epochs + n_fold_epochs
        if budget.timeout_secs is not None and self.deadline is not None:
            n_here = self._n_here + n_fold_epochs
            secs_kept_back = kept_back * (now - self._start) / n_here if n_here else 0.0
            if now + min(secs_kept_back, budget.timeout_secs / 2) > self.deadline:
                return f"timeout_secs={budget.timeout_secs:g}"
        # One epoch of all folds more would be too much.
        n_more = kept_back + self.n_folds
        most = budget.max_fold_epochs
        if most is not None and n_epochs + n_more > most:
            return f"max_fold_epochs={most}"
        n_all, most = self.n_updates + n_updates, budget.max_updates
        per_epoch = n_all / n_epochs if n_epochs else 0.0
        if most is not None and n_all + n_more * per_epoch > most:
            return f"max_updates={most}"
        return ""
