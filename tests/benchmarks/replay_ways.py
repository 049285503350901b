"""Ways of searching, replayed: the project's own ask, report, pause and tell, with no training."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna import pruners, samplers

from pipeline.budget import Budget
from pipeline.curves import FoldCurves
from pipeline.optimization import Climbs, Proposal, next_proposal
from pipeline.results import Outcome, TrialResult
from pipeline.spec import StudySpec
from pipeline.strategy import FinishBest, Ladder, Strategy
from tests.benchmarks.replay_surrogate import Surrogate
from tests.benchmarks.replay_tables import CurveTable, SamplerFactory

NO_END = 10**9

Curves = CurveTable | Surrogate
"""What training would give."""


@dataclass(frozen=True)
class Way:
    """How a search is done.

    pruner: of a horizon; strategy: in place of pruning
    """

    sampler: SamplerFactory = lambda seed: samplers.TPESampler(seed=seed)
    pruner: Callable[[int], pruners.BasePruner] = lambda horizon: pruners.NopPruner()
    strategy: Strategy | None = None

    def spec(self, table: Curves, seed: int) -> StudySpec:
        """Return a study of a table."""
        space: dict[str, Any] = {"learning_rate": 1.0, **table.space, "max_epochs": table.n_epochs}
        return StudySpec(
            name="replay",
            load_data=lambda: None,
            build_model=lambda params: params,
            space=space,
            seed=seed,
            sampler=table.sampler(self.sampler),
            pruner=self.pruner(table.n_epochs),
            budget=Budget(n_trials=NO_END),
        )


WAYS: Mapping[str, Way] = {
    "random": Way(sampler=lambda seed: samplers.RandomSampler(seed)),
    "TPE": Way(),
    "TPE, median": Way(pruner=lambda horizon: pruners.MedianPruner()),
    "TPE, median after 1/9": Way(
        pruner=lambda horizon: pruners.MedianPruner(n_warmup_steps=-(-horizon // 9))
    ),
    "TPE, successive halving": Way(pruner=lambda horizon: pruners.SuccessiveHalvingPruner()),
    "TPE, Hyperband": Way(pruner=lambda horizon: pruners.HyperbandPruner(max_resource=horizon)),
    "finish the best": Way(strategy=FinishBest()),
    "ladder": Way(strategy=Ladder()),
    "ladder, a third goes on": Way(strategy=Ladder(reduction_factor=3)),
}


@dataclass
class Replayed:
    """One search.

    arrivals: (epochs begun by then, loss) of every trial that was trained to its end
    n_trials: begun; asking_secs: spent on deciding what to train
    secs: until the last worker had nothing left to do, in typical epochs
    """

    n_trials: int = 0
    n_epochs: int = 0
    asking_secs: float = 0.0
    secs: float = 0.0
    arrivals: list[tuple[int, float]] = field(default_factory=list)


def replay(way: Way, table: Curves, seed: int, n_epochs: int, *, n_workers: int = 1) -> Replayed:
    """Search a table until so many epochs were trained, by workers at once if need be."""
    spec = way.spec(table, seed)
    study = optuna.create_study(study_name=f"replay-{seed}")
    done, crew = Replayed(), _Crew()
    for _ in range(n_workers):
        if way.strategy is None:
            crew.add(_trials(study, spec, table, n_epochs, done, crew))
        else:
            climbs = Climbs(study, spec, way.strategy, n_folds=1)
            crew.add(_steps(climbs, spec, table, n_epochs, done, crew))
    done.secs = crew.run()
    return done


Work = Iterator[float | None]
"""What a worker does: yields what it trains takes; None where it waits for others."""


class _Crew:
    """Workers, each of which goes on when its epoch is over by a clock that nobody waits for.

    taken: numbers of the trials that they are at
    """

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self._next: list[tuple[float, int, Work]] = []
        self._waiting: deque[tuple[int, Work]] = deque()
        self._has_changed = False

    def add(self, worker: Work) -> None:
        """Let a worker begin with the others."""
        self._next.append((0.0, len(self._next), worker))

    def take(self, number: int) -> bool:
        """Claim a trial for the worker that asks."""
        is_free = number not in self.taken
        self.taken.add(number)
        return is_free

    def release(self, number: int) -> None:
        """Let a trial go: those who wait may find something to do."""
        self.taken.discard(number)
        self._has_changed = True

    def run(self) -> float:
        """Let all work until nobody has anything to do; return when that is, in typical epochs."""
        now = 0.0
        while self._next:
            now, place, worker = heapq.heappop(self._next)
            secs = next(worker, -1.0)
            if secs is None:
                self._waiting.append((place, worker))
            elif secs >= 0:
                heapq.heappush(self._next, (now + secs, place, worker))
                self._has_changed = True  # where there is work for one there may be more
            if self._has_changed and self._waiting:
                heapq.heappush(self._next, (now, *self._waiting.popleft()))
            self._has_changed = False
        return now


def _trials(
    study: optuna.Study,
    spec: StudySpec,
    table: Curves,
    n_epochs: int,
    done: Replayed,
    crew: _Crew,
) -> Work:
    """Train trial after trial."""
    while done.n_epochs < n_epochs:
        start = time.perf_counter()
        proposal = next_proposal(study, spec, take=crew.take)
        done.asking_secs += time.perf_counter() - start
        done.n_trials += 1
        losses, outcome, n_trained = table.curve(proposal.params), Outcome.COMPLETED, 0
        epoch_secs = table.duration(proposal.params)
        for n_trained, loss in enumerate(losses, start=1):
            if done.n_epochs >= n_epochs:
                return  # the budget is spent
            done.n_epochs += 1
            yield epoch_secs
            if not np.isfinite(loss):
                outcome = Outcome.FAILED
                break
            start = time.perf_counter()
            prune = proposal.report(n_trained, loss, horizon_free=True)
            done.asking_secs += time.perf_counter() - start
            if prune:
                outcome = Outcome.PRUNED
                break
        _tell(proposal, outcome, losses[:n_trained], spec, done)
        crew.release(proposal.number)


def _steps(
    climbs: Climbs,
    spec: StudySpec,
    table: Curves,
    n_epochs: int,
    done: Replayed,
    crew: _Crew,
) -> Work:
    """Train step after step of trials that pause."""
    strategy, horizon = climbs.strategy, table.n_epochs
    while True:
        start = time.perf_counter()
        is_taken = crew.taken.__contains__
        step = climbs.next_step(is_taken=is_taken, left=n_epochs - done.n_epochs)
        if step is None:
            if not crew.taken:
                return
            yield None
            continue
        proposal = climbs.proposal(step, take=crew.take)
        done.asking_secs += time.perf_counter() - start
        done.n_trials += step.number is None
        before, until = (strategy.n_epochs(rung, horizon) for rung in (step.rung - 1, step.rung))
        losses = table.curve(proposal.params)[:until]
        finite = np.isfinite(losses)
        if has_failed := not finite.all():
            until = int(finite.argmin()) + 1
        done.n_epochs += until - before
        yield (until - before) * table.duration(proposal.params)
        if has_failed:
            _tell(proposal, Outcome.FAILED, losses[:until], spec, done)
        elif until == horizon:
            _tell(proposal, Outcome.COMPLETED, losses, spec, done)
        else:
            proposal.pause(_result(proposal, Outcome.PAUSED, losses, spec))
        crew.release(proposal.number)


def _tell(
    proposal: Proposal,
    outcome: Outcome,
    losses: np.ndarray,
    spec: StudySpec,
    done: Replayed,
) -> None:
    proposal.tell(_result(proposal, outcome, losses, spec))
    if outcome is Outcome.COMPLETED:
        done.arrivals.append((done.n_epochs, float(losses.min())))


def _result(
    proposal: Proposal, outcome: Outcome, losses: np.ndarray, spec: StudySpec
) -> TrialResult:
    losses = losses[np.isfinite(losses)]
    curves = FoldCurves(losses[None], spec.objective) if len(losses) else None
    diverged = outcome is Outcome.FAILED
    return TrialResult(
        proposal.number, proposal.params, outcome, curves, 0.0, len(losses), diverged=diverged
    )
