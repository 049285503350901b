"""Which trial is trained next, and how far: trials may pause, and the better ones go on.

A strategy is a function of where the trials stand. It holds nothing itself, so it goes on after a
restart as if there had been none, and a simulator may ask it just as the search does:

    step = strategy.next_step(standings, n_folds=5, horizon=100)
    step.number     # None is a new trial; otherwise this paused one goes on
    step.rung       # up to here, where it pauses again, or at the last one ends
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import BadInput, require
from pipeline.fields import require_count
from pipeline.space import is_number


@dataclass(frozen=True)
class Standing:
    """How far a trial has come, and how well it does.

    horizon: epochs of its whole training
    losses: the best of its curve so far at each rung that it has reached, smaller is better
    has_failed: whether it is over without a value
    is_paused: whether it may go on
    is_climbing: whether it is being trained up to the next rung
    """

    number: int
    horizon: int
    losses: tuple[float, ...] = ()
    has_failed: bool = False
    is_paused: bool = True
    is_climbing: bool = False

    @property
    def rung(self) -> int:
        """How many rungs it has reached."""
        return len(self.losses)

    @property
    def order(self) -> tuple[int, float, int]:
        """By this the trial comes first that is next to go on: on deep rungs the best one."""
        return -self.rung, self.losses[-1] if self.losses else math.inf, self.number


def places(standings: Iterable[Standing]) -> dict[int, int]:
    """Return each trial's place by its number, 0 for the best; those without a rung have none.

    All are ranked by their first rung; those that went further change places among themselves, by
    the second rung; those of them that went still further by the third. So deeper rungs decide
    wherever they are known: what looks good early and is bad late does not hold its place, nor does
    a trial that went on when there were few others get ahead of all that came later. Those that
    failed are last.
    """
    standings = [each for each in standings if each.rung or each.has_failed]
    ranked = sorted((s for s in standings if not s.has_failed), key=lambda s: s.number)
    for rung in range(max((each.rung for each in ranked), default=0)):
        held = [place for place, each in enumerate(ranked) if each.rung > rung]
        deeper = sorted((ranked[place] for place in held), key=lambda each: each.losses[rung])
        for place, each in zip(held, deeper, strict=True):
            ranked[place] = each
    failed = (each for each in standings if each.has_failed)
    return {each.number: place for place, each in enumerate(itertools.chain(ranked, failed))}


@dataclass(frozen=True)
class Step:
    """A trial, trained up to a rung.

    number: of the paused trial that goes on; None is a new one
    rung: how many rungs it will have reached
    """

    number: int | None
    rung: int


@dataclass(frozen=True)
class Strategy(ABC):
    """Trials that pause on rungs. What a subclass decides is which rung is trained up to next.

    rungs: shares of its horizon after which a trial pauses; 1 is last
    fold: which fold is trained below the last rung, the same one for every trial; there all are
    n_finalists: so much of the budget is kept back that in the end this many trials, the best of
        those that are paused then, are trained to their end
    n_snapshots: of how many paused trials of each rung, the best ones, the training state is kept;
        any other would be trained anew if it went on
    """

    rungs: tuple[float, ...] = (1 / 16, 1 / 4, 1.0)
    fold: int = 0
    n_finalists: int = 3
    n_snapshots: int = 10

    def __post_init__(self) -> None:
        rungs = self.rungs
        are_shares = isinstance(rungs, tuple) and all(
            is_number(each) and each > 0 for each in rungs
        )
        if not are_shares or sorted(set(rungs)) != list(rungs) or rungs[-1:] != (1,):
            raise BadInput(
                f"rungs must be shares > 0 that rise to 1, such as (0.25, 1), got {rungs!r}"
            )
        require(isinstance(self.fold, int) and self.fold >= 0, "fold", "a fold ≥ 0", self.fold)
        require_count("n_finalists", self.n_finalists)
        require_count("n_snapshots", self.n_snapshots)

    def n_epochs(self, rung: int, horizon: int) -> int:
        """Return the epochs after which a trial has reached so many rungs."""
        return math.ceil(self.rungs[rung - 1] * horizon) if rung else 0

    def rung_of(self, n_epochs: int, horizon: int) -> int:
        """Return how many rungs a trial of these epochs has reached, the last one left out.

        That takes all folds.
        """
        lower = range(1, len(self.rungs))
        return sum(n_epochs >= self.n_epochs(rung, horizon) for rung in lower)

    def fold_epochs(self, rung: int, horizon: int, n_folds: int) -> int:
        """Return what a trial has trained when it has reached so many rungs."""
        is_last = rung == len(self.rungs)
        return self.n_epochs(rung, horizon) * (n_folds if is_last else 1)

    def in_line(self, standings: Iterable[Standing]) -> set[int]:
        """Return the numbers of the paused trials that are next to go on, on any rung."""
        by_rung: dict[int, list[Standing]] = {}
        for each in sorted(standings, key=lambda each: each.order):
            if each.is_paused:
                by_rung.setdefault(each.rung, []).append(each)
        first = (paused[: self.n_snapshots] for paused in by_rung.values())
        return {each.number for each in itertools.chain(*first)}

    def next_step(
        self,
        standings: Sequence[Standing],
        *,
        n_folds: int,
        horizon: int,
        can_begin: bool = True,
        left: float = math.inf,
    ) -> Step | None:
        """Return what to train next; None when the search is over.

        n_folds: of a trial that reaches the last rung
        horizon: of a new trial
        can_begin: whether there may be a new one
        left: fold-epochs left of the budget
        """
        ordered = sorted(standings, key=lambda each: each.order)
        steps = {1: (Step(None, 1), self._increment(1, horizon, n_folds))}
        for each in ordered:
            if each.is_paused and each.rung + 1 not in steps:
                step = Step(each.number, each.rung + 1)
                steps[step.rung] = step, self._increment(step.rung, each.horizon, n_folds)
        step, cost = steps[self._favourite(self._spent(standings, n_folds), steps)]
        on_their_way = [each for each in ordered if each.is_paused or each.is_climbing]
        n_arrived = sum(each.rung == len(self.rungs) for each in ordered)
        finalists = on_their_way[: self.n_finalists]
        kept_back = {each.number: self._rest(each, n_folds) for each in finalists}
        if can_begin or step.number is not None:
            more = 0 if step.number in kept_back else cost
            if sum(kept_back.values()) + more <= left:
                return step
        elif n_arrived >= self.n_finalists:
            return None
        for each in finalists:
            # What is left may be an estimate, and without any there would be no answer.
            if each.is_paused and (kept_back[each.number] <= left or not n_arrived):
                return Step(each.number, each.rung + 1)
        return None

    @abstractmethod
    def _favourite(self, spent: Mapping[int, int], steps: Mapping[int, tuple[Step, int]]) -> int:
        """Return the rung that is trained up to next, as long as the budget allows.

        spent: fold-epochs by rung; steps: what could be done and what it costs, by rung
        """

    def _spent(self, standings: Sequence[Standing], n_folds: int) -> Mapping[int, int]:
        """Return the fold-epochs that were trained on the way to each rung."""
        spent: Counter[int] = Counter()
        for each in standings:
            for rung in range(1, each.rung + each.is_climbing + 1):
                spent[rung] += self._increment(rung, each.horizon, n_folds)
        return spent

    def _increment(self, rung: int, horizon: int, n_folds: int) -> int:
        below = self.fold_epochs(rung - 1, horizon, n_folds)
        return self.fold_epochs(rung, horizon, n_folds) - below

    def _rest(self, standing: Standing, n_folds: int) -> int:
        """Return the fold-epochs that take a trial from where it is, or will be, to the end."""
        at = standing.rung + standing.is_climbing
        last = self.fold_epochs(len(self.rungs), standing.horizon, n_folds)
        return last - self.fold_epochs(at, standing.horizon, n_folds)


@dataclass(frozen=True)
class Ladder(Strategy):
    """As many epochs on each rung: many trials begin, the better ones go on, few are finished.

    Asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel
    Hyperparameter Tuning") lets a trial on when it is among the best third; here the best one goes
    on whenever its rung has had the fewest epochs, so that a trial that paused too soon may still
    go on when no better one has come.
    """

    def _favourite(self, spent: Mapping[int, int], steps: Mapping[int, tuple[Step, int]]) -> int:
        return min(steps, key=lambda rung: (spent[rung] + steps[rung][1], rung))


@dataclass(frozen=True)
class FinishBest(Strategy):
    """The simple one: train every trial for a share of its horizon, then finish the best few.

    rungs: that share, and 1
    """

    rungs: tuple[float, ...] = (1 / 4, 1.0)

    def _favourite(self, spent: Mapping[int, int], steps: Mapping[int, tuple[Step, int]]) -> int:
        return 1


def check_strategy(strategy: Any, pruner: Any, schedule: Any) -> None:
    """Raise BadInput unless a study may have this strategy, beside its pruner and its schedule."""
    if strategy is None:
        return
    require(
        isinstance(strategy, Strategy), "strategy", "a strategy such as Ladder(), or None", strategy
    )
    if pruner is not None:
        raise BadInput(
            "pruner must be None with a strategy, whose trials pause and are not pruned, got "
            f"{pruner!r}"
        )
    schedules = list(schedule.values()) if isinstance(schedule, Mapping) else [schedule]
    if any(hasattr(each, "given") for each in schedules):
        raise BadInput(
            "strategy must be None with a schedule that reacts to the mean curve: below the last "
            f"rung there is one fold only, got {strategy!r} with {schedule!r}"
        )
    if len({getattr(each, "horizon_free", True) for each in schedules}) > 1:
        raise BadInput(
            "strategy must be None where some schedules depend on their horizon and others do not: "
            f"on a lower rung their losses cannot be compared, got {strategy!r} with {schedule!r}"
        )
