"""Reports of a trial in a database: few statements, and the same trials pruned."""

from collections import Counter
from typing import Any

import numpy as np
import optuna
import pytest
from sqlalchemy import event

from pipeline.budget import Budget
from pipeline.optimization import next_proposal, open_study
from pipeline.optimization import reports as module
from pipeline.optimization.reports import GatheredReports
from pipeline.results import Outcome

N_EPOCHS = 20

PRUNERS = {
    "default": lambda: None,
    "percentile": lambda: optuna.pruners.PercentilePruner(40, n_startup_trials=3),
    "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(reduction_factor=2),
    "hyperband": lambda: optuna.pruners.HyperbandPruner(1, N_EPOCHS, 2),
}


@pytest.fixture
def storages(tmp_path):
    return [tmp_path / "journal.log", f"sqlite:///{tmp_path / 'study.db'}"]


def searched(study, spec, result_of):
    """Return the last epoch of each trial, of which some are pruned."""
    random, lengths = np.random.default_rng(5), []
    for _ in range(spec.budget.n_trials):
        proposal, means = next_proposal(study, spec), []
        level, slope = random.uniform(0.2, 1.0), random.uniform(0.0, 1.0)
        for n_epochs in range(1, N_EPOCHS + 1):
            means.append(level + slope / n_epochs + 0.05 * random.random())
            if proposal.report(n_epochs, means[-1], horizon_free=True):
                break
        outcome = Outcome.COMPLETED if n_epochs == N_EPOCHS else Outcome.PRUNED
        proposal.tell(result_of(proposal, spec, means, outcome))
        lengths.append(n_epochs)
    return lengths


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_database_prunes_the_trials_that_a_journal_does(pruner, make_spec, storages, result_of):
    lengths = []
    for storage in storages:
        budget = Budget(n_trials=14)
        spec = make_spec(N_EPOCHS, pruner=PRUNERS[pruner](), budget=budget)
        study = open_study(storage, "study", spec)
        lengths.append(searched(study, spec, result_of))
        stored = [len(trial.intermediate_values) for trial in study.trials]
        assert stored == lengths[-1]
    assert lengths[0] == lengths[1]
    assert min(lengths[0]) < N_EPOCHS == max(lengths[0])


def test_a_database_hears_of_epochs_together(make_spec, storages, result_of, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(
        module, "GatheredReports", lambda *both: GatheredReports(both[0], both[1], lambda: now[0])
    )
    spec = make_spec(100)
    study = open_study(storages[1], "study", spec)
    storage: Any = study._storage
    statements: Counter[str] = Counter()

    def count(connection, cursor, statement, *more):
        statements[statement.split()[0]] += 1

    def stored():
        return len(open_study(storages[1], "study", spec).trials[0].intermediate_values)

    proposal = next_proposal(study, spec)
    proposal.report(1, 0.9, horizon_free=True)
    event.listen(storage._backend.engine, "before_cursor_execute", count)
    for n_epochs in range(2, 50):
        proposal.report(n_epochs, 1 / n_epochs, horizon_free=True)
    # What the pruner looks at was read once.
    assert statements["INSERT"] + statements["UPDATE"] == 0
    assert statements["SELECT"] <= 10
    assert stored() == 0
    now[0] = 2.0
    proposal.report(50, 1 / 50, horizon_free=True)
    assert stored() == 50
    proposal.report(51, 1 / 51, horizon_free=True)
    assert stored() == 50
    proposal.tell(result_of(proposal, spec, [0.5] * 51, Outcome.COMPLETED))
    kept = open_study(storages[1], "study", spec).trials[0].intermediate_values
    assert kept == {1: 0.9} | {n: 1 / n for n in range(2, 52)}


def test_a_database_keeps_what_is_not_finite_and_what_was_there(make_spec, storages):
    spec = make_spec(100)
    study = open_study(storages[1], "study", spec)
    proposal = next_proposal(study, spec)
    storage: Any = study._storage
    storage._backend.set_intermediate_values(proposal._trial._trial_id, {1: 0.5, 2: float("nan")})
    storage._backend.set_intermediate_values(proposal._trial._trial_id, {2: 0.1, 3: float("inf")})
    kept = study.trials[0].intermediate_values
    assert (kept[1], kept[3]) == (0.5, float("inf"))
    assert np.isnan(kept[2])
