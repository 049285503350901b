"""Ways of searching, replayed: the project's own ask, report, pause and tell, with no training."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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
from tests.benchmarks.replay_tables import CurveTable, SamplerFactory, of_table

NO_END = 10**9


@dataclass(frozen=True)
class Way:
    """How a search is done.

    pruner: of a horizon; strategy: in place of pruning
    """

    sampler: SamplerFactory = lambda seed: samplers.TPESampler(seed=seed)
    pruner: Callable[[int], pruners.BasePruner] = lambda horizon: pruners.NopPruner()
    strategy: Strategy | None = None

    def spec(self, table: CurveTable, seed: int) -> StudySpec:
        """Return a study of a table."""
        space: dict[str, Any] = {"learning_rate": 1.0, **table.space, "max_epochs": table.n_epochs}
        return StudySpec(
            name="replay",
            load_data=lambda: None,
            build_model=lambda params: params,
            space=space,
            seed=seed,
            sampler=of_table(table, self.sampler),
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
}


@dataclass
class Replayed:
    """One search.

    arrivals: (epochs trained by then, loss) of every trial that was trained to its end
    n_trials: begun; asking_secs: spent on deciding what to train
    """

    n_trials: int = 0
    n_epochs: int = 0
    asking_secs: float = 0.0
    arrivals: list[tuple[int, float]] = field(default_factory=list)


def replay(way: Way, table: CurveTable, seed: int, n_epochs: int) -> Replayed:
    """Search a table until so many epochs were trained."""
    spec = way.spec(table, seed)
    study = optuna.create_study(study_name=f"replay-{seed}")
    if way.strategy is None:
        return _each_in_turn(study, spec, table, n_epochs)
    return _climb(study, spec, way.strategy, table, n_epochs)


def _each_in_turn(
    study: optuna.Study, spec: StudySpec, table: CurveTable, n_epochs: int
) -> Replayed:
    done = Replayed()
    while done.n_epochs < n_epochs:
        start = time.perf_counter()
        proposal = next_proposal(study, spec)
        done.asking_secs += time.perf_counter() - start
        done.n_trials += 1
        losses = table.losses[table.row(proposal.params)]
        outcome, n_trained = Outcome.COMPLETED, 0
        for n_trained, loss in enumerate(losses[: n_epochs - done.n_epochs], start=1):
            if not np.isfinite(loss):
                outcome = Outcome.FAILED
                break
            start = time.perf_counter()
            prune = proposal.report(n_trained, loss, horizon_free=True)
            done.asking_secs += time.perf_counter() - start
            if prune:
                outcome = Outcome.PRUNED
                break
        done.n_epochs += n_trained
        if outcome is Outcome.COMPLETED and n_trained < len(losses):
            break  # the budget is spent
        _tell(proposal, outcome, losses[:n_trained], spec, done)
    return done


def _climb(
    study: optuna.Study, spec: StudySpec, strategy: Strategy, table: CurveTable, n_epochs: int
) -> Replayed:
    done, climbs = Replayed(), Climbs(study, spec, strategy, n_folds=1)
    strategy, horizon = climbs.strategy, table.n_epochs
    while True:
        start = time.perf_counter()
        step = climbs.next_step(left=n_epochs - done.n_epochs)
        if step is None:
            return done
        proposal = climbs.proposal(step)
        done.asking_secs += time.perf_counter() - start
        done.n_trials += step.number is None
        before, until = (strategy.n_epochs(rung, horizon) for rung in (step.rung - 1, step.rung))
        losses = table.losses[table.row(proposal.params)][:until]
        finite = np.isfinite(losses)
        if not finite.all():
            until = int(finite.argmin()) + 1
            _tell(proposal, Outcome.FAILED, losses[:until], spec, done)
        elif until == horizon:
            _tell(proposal, Outcome.COMPLETED, losses, spec, done, spent=until - before)
        else:
            proposal.pause(_result(proposal, Outcome.PAUSED, losses, spec))
        done.n_epochs += until - before


def _tell(
    proposal: Proposal,
    outcome: Outcome,
    losses: np.ndarray,
    spec: StudySpec,
    done: Replayed,
    *,
    spent: int = 0,
) -> None:
    proposal.tell(_result(proposal, outcome, losses, spec))
    if outcome is Outcome.COMPLETED:
        done.arrivals.append((done.n_epochs + spent, float(losses.min())))


def _result(
    proposal: Proposal, outcome: Outcome, losses: np.ndarray, spec: StudySpec
) -> TrialResult:
    losses = losses[np.isfinite(losses)]
    curves = FoldCurves(losses[None], spec.objective) if len(losses) else None
    diverged = outcome is Outcome.FAILED
    return TrialResult(
        proposal.number, proposal.params, outcome, curves, 0.0, len(losses), diverged=diverged
    )
