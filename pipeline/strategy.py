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
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import BadInput, require, unknown_name
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

    def order(self, n_rungs: int) -> tuple[int, float, int]:
        """By this the trial comes first that is next to go on: on deep rungs the best one.

        n_rungs: so many of the first ones are looked at
        """
        losses = self.losses[:n_rungs]
        return -len(losses), losses[-1] if losses else math.inf, self.number


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
class Strategy:
    """Trials that pause on rungs: many begin, the better ones go on, few are finished.

    As many epochs are spent on each rung but the last one: whichever would have had the fewest is
    next, by a new trial on the first, and else by the best one that is paused below it. What a
    trial is worth is nearly known by then, and its end would cost as much as many that begin; so
    only the finalists are trained to their end, on what was kept back for them, when nothing else
    is left to do.

    rungs: shares of its horizon after which a trial pauses; 1 is last. One of them may be there
        twice: it is reached with one fold first, and then with all
    fold: which fold is trained alone, the same one for every trial, up to the rung that is reached
        with all; that is the last one, if none is there twice
    n_finalists: so many trials are trained to their end, those that were best when they paused;
        fewer where more than half of the budget would be kept back for them
    n_snapshots: of how many paused trials of each rung, the best ones, the training state is kept;
        any other would be trained anew if it went on
    """

    rungs: tuple[float, ...]
    fold: int = 0
    n_finalists: int = 3
    n_snapshots: int = 10

    def __post_init__(self) -> None:
        rungs = self.rungs
        are_shares = isinstance(rungs, tuple) and all(
            is_number(each) and each > 0 for each in rungs
        )
        rises = are_shares and len(rungs) > 1 and sorted(rungs) == list(rungs)
        if not rises or rungs[-1] != 1 or rungs[-2] == 1 or len(rungs) - len(set(rungs)) > 1:
            raise BadInput(
                "rungs must be two shares > 0 or more that rise to 1, one below it twice at most, "
                f"such as (0.25, 1), got {rungs!r}"
            )
        require(isinstance(self.fold, int) and self.fold >= 0, "fold", "a fold ≥ 0", self.fold)
        require_count("n_finalists", self.n_finalists)
        require_count("n_snapshots", self.n_snapshots)

    def n_epochs(self, rung: int, horizon: int) -> int:
        """Return the epochs after which a trial has reached so many rungs."""
        return math.ceil(self.rungs[rung - 1] * horizon) if rung else 0

    def is_of_all_folds(self, rung: int) -> bool:
        """Whether a trial that has reached so many rungs has trained all folds."""
        return rung == len(self.rungs) or len(set(self.rungs[:rung])) < rung

    def of_folds(self, n_folds: int) -> Strategy:
        """Return what this is with so many folds: with one, no rung is there twice."""
        return self if n_folds > 1 else replace(self, rungs=tuple(sorted(set(self.rungs))))

    def rung_of(self, n_epochs: int, horizon: int, *, has_all_folds: bool) -> int:
        """Return how many rungs a trial of these epochs has reached, the last one left out."""
        return sum(
            n_epochs >= self.n_epochs(rung, horizon)
            and (has_all_folds or not self.is_of_all_folds(rung))
            for rung in range(1, len(self.rungs))
        )

    def fold_epochs(self, rung: int, horizon: int, n_folds: int) -> int:
        """Return what a trial has trained when it has reached so many rungs."""
        return self.n_epochs(rung, horizon) * (n_folds if self.is_of_all_folds(rung) else 1)

    def n_folds_at_once(self, n_folds: int) -> float:
        """Return how many folds are trained at once, the mean over rungs but the last one.

        As many epochs are spent on each of them.
        """
        own = self.of_folds(n_folds)
        rungs = range(1, len(own.rungs))
        return statistics.mean(n_folds if own.is_of_all_folds(rung) else 1 for rung in rungs)

    def in_line(self, standings: Iterable[Standing]) -> set[int]:
        """Return the numbers of the paused trials that are next to go on, on any rung."""
        by_rung: dict[int, list[Standing]] = {}
        for each in self._in_order(standings):
            if each.is_paused:
                by_rung.setdefault(each.rung, []).append(each)
        first = (paused[: self.n_snapshots] for paused in by_rung.values())
        return {each.number for each in itertools.chain(*first)}

    def finalists(self, standings: Iterable[Standing]) -> list[Standing]:
        """Return the trials that are to be finished, or are, if no other one goes further."""
        last = len(self.rungs)
        hopeful = (
            each
            for each in standings
            if each.is_paused or each.is_climbing or (each.rung == last and not each.has_failed)
        )
        # What an end has shown of one trial is not known of the others.
        return sorted(hopeful, key=lambda each: each.order(last - 1))[: self.n_finalists]

    def next_step(
        self,
        standings: Sequence[Standing],
        *,
        n_folds: int,
        horizon: int,
        can_begin: bool = True,
        ends_early: bool = False,
        left: float = math.inf,
    ) -> Step | None:
        """Return what to train next; None when the search is over.

        n_folds: of a trial that reaches the last rung
        horizon: of a new trial
        can_begin: whether there may be a new one
        ends_early: whether only the finalists are to be finished
        left: fold-epochs left of the budget, those of what is being trained taken off
        """
        last = len(self.rungs)
        finalists = self.finalists(standings)[
            : self._n_to_finish(standings, n_folds, horizon, left)
        ]
        kept_back = {each.number: self._rest(each, n_folds) for each in finalists}
        needed = sum(kept_back.values())
        if finalists and not needed:  # one that is better than they are would have to be finished
            needed = self._increment(last, horizon, n_folds)
        step, cost = self._least_trained(standings, n_folds, horizon)
        more = 0 if step.number in kept_back else cost
        is_possible = (can_begin or step.number is not None) and not ends_early
        if is_possible and needed + more <= left:
            return step
        if any(each.is_climbing and each.rung + 1 < last for each in standings):
            return None  # it may yet be better than they are
        has_arrived = any(each.rung + each.is_climbing == last for each in standings)
        for each in finalists:
            # What is left may be an estimate, and without any there would be no answer.
            if each.is_paused and (kept_back[each.number] <= left or not has_arrived):
                return Step(each.number, each.rung + 1)
        return None

    def expected_fold_epochs(self, n_trials: int, n_folds: int, horizon: float) -> float:
        """Return what so many trials train, if none fails and no other budget ends the search."""
        strategy, horizon = self.of_folds(n_folds), math.ceil(horizon)
        *lower, last = (
            strategy._increment(rung, horizon, n_folds)
            for rung in range(1, len(strategy.rungs) + 1)
        )
        return n_trials * lower[0] * len(lower) + min(n_trials, self.n_finalists) * last

    def _n_to_finish(
        self, standings: Sequence[Standing], n_folds: int, horizon: int, left: float
    ) -> int:
        """Return how many finalists half of the budget, of which so much is left, has room for."""
        budget = left + sum(
            self.fold_epochs(each.rung + each.is_climbing, each.horizon, n_folds)
            for each in standings
        )
        room = budget / 2 / self._increment(len(self.rungs), horizon, n_folds)
        return max(1, int(min(room, self.n_finalists)))

    def _least_trained(
        self, standings: Sequence[Standing], n_folds: int, horizon: int
    ) -> tuple[Step, int]:
        """Return the step to the rung that has had the fewest epochs, and what it costs."""
        steps = {1: (Step(None, 1), self._increment(1, horizon, n_folds))}
        for each in self._in_order(standings):
            rung = each.rung + 1
            if each.is_paused and rung < len(self.rungs) and rung not in steps:
                step = Step(each.number, rung)
                steps[rung] = step, self._increment(rung, each.horizon, n_folds)
        spent: Counter[int] = Counter()
        for each in standings:
            for rung in range(1, each.rung + each.is_climbing + 1):
                spent[rung] += self._increment(rung, each.horizon, n_folds)
        return steps[min(steps, key=lambda rung: (spent[rung] + steps[rung][1], rung))]

    def _in_order(self, standings: Iterable[Standing]) -> list[Standing]:
        return sorted(standings, key=lambda each: each.order(len(self.rungs)))

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
    """The better third of the trials goes on from a ninth to a third, and the best of those on.

    Successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning")
    lets a trial on when it is among the best third of its rung, and finishes as many epochs on the
    last rung as on any other. Here the best one goes on whenever its rung has had the fewest
    epochs, so that a trial that paused too soon may still go on when no better one has come.

    The other folds come in at the first rung: all folds say more there than one does at a third.
    """

    rungs: tuple[float, ...] = (1 / 9, 1 / 9, 1 / 3, 1.0)
    n_finalists: int = 2


@dataclass(frozen=True)
class FinishBest(Strategy):
    """The simple one: train every trial for a share of its horizon, then finish the best few.

    rungs: that share, and 1
    """

    rungs: tuple[float, ...] = (1 / 4, 1.0)


NAMED: Mapping[str, Callable[[], Strategy]] = {"ladder": Ladder, "finish-best": FinishBest}
"""Strategies that a command line can name."""


def strategy_named(name: Any) -> Any:
    """Return the strategy of a name; None and "auto" are none. Raises BadInput for any other."""
    if name is None or name == "auto":
        return name
    if name not in NAMED:
        raise unknown_name("strategy", str(name), (*NAMED, "auto", "None"))
    return NAMED[name]()


def check_strategy(strategy: Any, pruner: Any, schedule: Any) -> None:
    """Raise BadInput unless a study may have this strategy, beside its pruner and its schedule."""
    if strategy is None or strategy == "auto":
        return
    require(
        isinstance(strategy, Strategy),
        "strategy",
        "a strategy such as Ladder(), None or 'auto'",
        strategy,
    )
    if pruner is not None:
        raise BadInput(
            "pruner must be None with a strategy, whose trials pause and are not pruned, got "
            f"{pruner!r}"
        )
    if reason := _reason_against_pausing(schedule):
        raise BadInput(f"strategy must be None with {reason}, got {strategy!r} with {schedule!r}")


def may_pause(schedule: Any) -> bool:
    """Whether trials with this schedule, or these, can be compared on lower rungs."""
    return not _reason_against_pausing(schedule)


def _reason_against_pausing(schedule: Any) -> str:
    schedules = list(schedule.values()) if isinstance(schedule, Mapping) else [schedule]
    if any(hasattr(each, "given") for each in schedules):
        return "a schedule that reacts to the mean curve: on the lower rungs there is one fold only"
    if len({getattr(each, "horizon_free", True) for each in schedules}) > 1:
        return (
            "schedules of which only some depend on their horizon: on a lower rung their losses "
            "cannot be compared"
        )
    return ""
