"""What `rules_on_data.py` trains: a search on some rows, then the refit, scored on the others.

All outer splits of a data set are folds of one engine, so its programs are compiled once.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline import optimization, training
from pipeline.curves import FoldCurves
from pipeline.data import Dataset, load
from pipeline.errors import NoResult
from pipeline.folds import Fold, split
from pipeline.results import Outcome, TrialResult
from pipeline.schedules import Constant
from pipeline.set_aside import set_test_rows_aside
from pipeline.spec import StudySpec
from tests.benchmarks.rules_differences import Record

N_SEEDS = 5
"""Refits of each outer split, from other initial weights and in other row orders."""

REFIT_SHARE = 1.3
"""Of the horizon: K/(K − 1) of it, and a little of what comes after."""


@dataclass(frozen=True)
class OuterSplit:
    """One draw of test rows.

    folds: of the other rows
    refits: all other rows against the test rows, once for each seed
    """

    number: int
    folds: tuple[Fold, ...]
    refits: tuple[Fold, ...]


def records(spec: StudySpec, n_splits: int) -> Iterator[Record]:
    """Search and refit on every outer split of a study's data.

    Raises BadInput when the data cannot be had, and NoResult when all trials of a search fail.
    """
    data = load(spec.load_data)
    splits = [outer_split(data, spec, number) for number in range(n_splits)]
    folds = [fold for each in splits for fold in (*each.folds, *each.refits)]
    setup = training.Setup("xla" if spec.engine == "xla" else "plain")
    engine = training.engine_for(setup, spec, data, folds)
    for each in splits:
        # Row orders follow from the fold, the sampler's proposals from the seed.
        best = search(engine, replace(spec, seed=spec.seed + each.number), each.folds)
        yield Record(
            data=spec.name,
            number=each.number,
            learning_rate=best.params["learning_rate"],
            batch_size=best.params["batch_size"],
            curves=best.curves.values.tolist(),
            test_losses=test_losses(engine, spec, best, each.refits).tolist(),
            n_fold_rows=len(each.folds[0].train),
            n_development_rows=len(each.refits[0].train),
            n_test_rows=len(each.refits[0].validation),
        )


def outer_split(data: Dataset, spec: StudySpec, number: int) -> OuterSplit:
    """Set test rows aside and split the others as the program does; folds keep row numbers."""
    # Rows that are their own numbers come back as numbers.
    numbered = replace(data, x=np.arange(data.n_rows))
    development, test = set_test_rows_aside(numbered, spec.test_size, spec.seed + number)
    folds = split(development, spec.splitter, spec.seed + number)
    first = number * (len(folds) + N_SEEDS)
    return OuterSplit(
        number,
        tuple(
            Fold(first + fold.index, development.x[fold.train], development.x[fold.validation])
            for fold in folds
        ),
        tuple(Fold(first + len(folds) + seed, development.x, test.x) for seed in range(N_SEEDS)),
    )


def search(engine: training.Engine, spec: StudySpec, folds: tuple[Fold, ...]) -> TrialResult:
    """Return the best trial of a search with the program's sampler and pruner."""
    with tempfile.TemporaryDirectory() as folder:
        study = optimization.open_study(Path(folder, "journal.log"), spec.name, spec)
        trials = [
            evaluate(optimization.next_proposal(study, spec), engine, spec, folds)
            for _ in range(spec.budget.n_trials)
        ]
    best = optimization.best(trials, spec)
    if best is None:
        raise NoResult(f"{spec.name}: no trial of a search has a value")
    return best


def evaluate(
    proposal: optimization.Proposal,
    engine: training.Engine,
    spec: StudySpec,
    folds: tuple[Fold, ...],
) -> TrialResult:
    """Train a proposal on all folds until it is pruned, diverges or reaches its horizon."""
    lockstep = training.LockstepTraining(
        engine.program(proposal.params),
        proposal.params,
        folds,
        spec=spec,
        schedule=Constant(),
    )
    outcome, curves = Outcome.COMPLETED, None
    while lockstep.n_epochs < lockstep.horizon:
        lockstep.advance()
        values = lockstep.history(spec.objective.metric)
        if not np.isfinite(values).all():
            outcome = Outcome.FAILED
            break
        curves = FoldCurves(values, spec.objective)
        mean = curves.mean_after(lockstep.n_epochs)
        if proposal.report(lockstep.n_epochs, mean, horizon_free=lockstep.horizon_free):
            outcome = Outcome.PRUNED
            break
    result = TrialResult(
        number=proposal.number,
        params=proposal.params,
        outcome=outcome,
        curves=curves,
        seconds=0.0,
        n_updates=lockstep.n_updates,
    )
    proposal.tell(result)
    return result


def test_losses(
    engine: training.Engine, spec: StudySpec, best: TrialResult, refits: tuple[Fold, ...]
) -> np.ndarray:
    """Train on all development rows past the horizon; return the test losses [n_seeds, n_epochs].

    With a constant learning rate a longer refit passes through every shorter one.
    """
    params = {**best.params, "max_epochs": math.ceil(REFIT_SHARE * best.horizon)}
    lockstep = training.LockstepTraining(
        engine.program(params), params, refits, spec=spec, schedule=Constant()
    )
    while lockstep.n_epochs < lockstep.horizon:
        lockstep.advance()
    return lockstep.history("val_loss")
