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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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
    def aim(self) -> int:
        """How many rungs it has reached, or will have when it pauses."""
        return self.rung + self.is_climbing

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

    A share of the trials on a rung goes on to the next one: whichever rung lacks trials most is
    next, by a new trial on the first, and else by the best one that is paused below it. What a
    trial is worth is nearly known on the last rung but one, and its end would cost as much as many
    that begin; so only the finalists are trained to their end, on what was kept back for them, when
    nothing else is left to do.

    rungs: shares of its horizon after which a trial pauses; 1 is last. One of them may be there
        twice: it is reached with one fold first, and then with all
    fold: which fold is trained alone, the same one for every trial, up to the rung that is reached
        with all; that is the last one, if none is there twice
    n_finalists: so many trials are trained to their end, those that were best when they paused;
        fewer where more than half of the budget would be kept back for them
    n_snapshots: of how many paused trials of each rung, the best ones, the training state is kept;
        any other would be trained anew if it went on
    reduction_factor: one of so many trials on a rung goes on to the next
    """

    rungs: tuple[float, ...]
    fold: int = 0
    n_finalists: int = 3
    n_snapshots: int = 10
    reduction_factor: float = 2.0

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
        factor = self.reduction_factor
        require(is_number(factor) and factor >= 1, "reduction_factor", "a number ≥ 1", factor)

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

    def n_folds_at_once(self, n_folds: int, horizon: int) -> float:
        """Return how many folds are trained at once, the mean over rungs but the last one.

        What counts is how many fold-epochs are spent on each of them.
        """
        own = self.of_folds(n_folds)
        at_once = [n_folds if own.is_of_all_folds(rung) else 1 for rung in own._lower_rungs]
        spent = [own._spent_per_trial(rung, horizon, n_folds) for rung in own._lower_rungs]
        return statistics.fmean(at_once, spent)

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
        step, cost = self._on_the_emptiest(standings, n_folds, horizon)
        more = 0 if step.number in kept_back else cost
        is_possible = (can_begin or step.number is not None) and not ends_early
        if is_possible and needed + more <= left:
            return step
        if any(each.is_climbing and each.rung + 1 < last for each in standings):
            return None  # it may yet be better than they are
        has_arrived = any(each.aim == last for each in standings)
        for each in finalists:
            # What is left may be an estimate, and without any there would be no answer.
            if each.is_paused and (kept_back[each.number] <= left or not has_arrived):
                return Step(each.number, each.rung + 1)
        return None

    def expected_fold_epochs(self, n_trials: int, n_folds: int, horizon: float) -> float:
        """Return what so many trials train, if none fails and no other budget ends the search."""
        own, horizon = self.of_folds(n_folds), math.ceil(horizon)
        each = sum(own._spent_per_trial(rung, horizon, n_folds) for rung in own._lower_rungs)
        to_the_end = own._increment(len(own.rungs), horizon, n_folds)
        return n_trials * each + min(n_trials, self.n_finalists) * to_the_end

    @property
    def _lower_rungs(self) -> range:
        return range(1, len(self.rungs))

    def _spent_per_trial(self, rung: int, horizon: int, n_folds: int) -> float:
        """Return the fold-epochs that are spent on a rung for each trial that begins."""
        return self._increment(rung, horizon, n_folds) / self.reduction_factor ** (rung - 1)

    def _n_to_finish(
        self, standings: Sequence[Standing], n_folds: int, horizon: int, left: float
    ) -> int:
        """Return how many finalists half of the budget, of which so much is left, has room for."""
        budget = left + sum(self.fold_epochs(each.aim, each.horizon, n_folds) for each in standings)
        room = budget / 2 / self._increment(len(self.rungs), horizon, n_folds)
        return max(1, int(min(room, self.n_finalists)))

    def _on_the_emptiest(
        self, standings: Sequence[Standing], n_folds: int, horizon: int
    ) -> tuple[Step, int]:
        """Return the step to the rung that lacks trials most, and what it costs."""
        steps = {1: (Step(None, 1), self._increment(1, horizon, n_folds))}
        for each in self._in_order(standings):
            rung = each.rung + 1
            if each.is_paused and rung < len(self.rungs) and rung not in steps:
                step = Step(each.number, rung)
                steps[rung] = step, self._increment(rung, each.horizon, n_folds)
        n_there = Counter(rung for each in standings for rung in range(1, each.aim + 1))

        def begun_for_it(rung: int) -> float:
            """Return how many trials must have begun for one more there."""
            return (n_there[rung] + 1) * self.reduction_factor ** (rung - 1)

        return steps[min(sorted(steps), key=begun_for_it)]

    def _in_order(self, standings: Iterable[Standing]) -> list[Standing]:
        return sorted(standings, key=lambda each: each.order(len(self.rungs)))

    def _increment(self, rung: int, horizon: int, n_folds: int) -> int:
        below = self.fold_epochs(rung - 1, horizon, n_folds)
        return self.fold_epochs(rung, horizon, n_folds) - below

    def _rest(self, standing: Standing, n_folds: int) -> int:
        """Return the fold-epochs that take a trial from where it is, or will be, to the end."""
        last = self.fold_epochs(len(self.rungs), standing.horizon, n_folds)
        return last - self.fold_epochs(standing.aim, standing.horizon, n_folds)


@dataclass(frozen=True)
class Ladder(Strategy):
    """The better half goes on: to all folds, and of these the better half from a ninth to a third.

    Successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning")
    lets a trial on when it is in the better part of its rung, and finishes as many epochs on the
    last rung as on any other. Here the best one goes on whenever the next rung lacks trials, so
    that a trial that paused too soon may still go on when no better one has come.

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
