"""What others spend of a budget while a worker is at a trial."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from pipeline.budget import Budget
from pipeline.curves import FoldCurves
from pipeline.optimization import Finished, next_proposal, open_study
from pipeline.optimization import reports as module
from pipeline.results import Outcome, TrialResult
from pipeline.session import Session
from pipeline.spec import Refit, StudySpec
from pipeline.spending import Spending

N_FOLDS = 3


@pytest.fixture
def spec():
    return StudySpec(
        name="by_hand",
        load_data=lambda: None,
        build_model=lambda params: params,
        space={"learning_rate": FloatDistribution(1e-4, 1e-1, log=True), "max_epochs": 100},
        budget=Budget(max_fold_epochs=120),
        refit=Refit(enabled=False),
    )


@pytest.fixture(params=["journal", "database"])
def study(request, spec, tmp_path):
    places = {"journal": tmp_path / "log", "database": f"sqlite:///{tmp_path / 'study.db'}"}
    return open_study(places[request.param], "study", spec)


def session_of(study, spec) -> Any:
    """Return as much of a worker's session as looks at its budget."""
    made = SimpleNamespace(
        spec=spec,
        stop=False,
        climbs=None,
        claims=SimpleNamespace(check=lambda number: None),
        finished=Finished(study, spec),
        spending=Spending(spec, N_FOLDS),
        paused_result=lambda number: None,
    )
    made.must_stop = lambda *done: Session.must_stop(cast(Any, made), *done)
    return made


def at(n_epochs: int) -> Any:
    """Return a training that has come so far."""
    n_fold_epochs = N_FOLDS * n_epochs
    return SimpleNamespace(
        n_fold_epochs=n_fold_epochs, n_updates=2 * n_fold_epochs, states=[None] * N_FOLDS
    )


def tell(proposal, spec, n_epochs, outcome=Outcome.PRUNED):
    values = np.linspace(1.0, 0.5, n_epochs)
    curves = FoldCurves(np.stack([values] * N_FOLDS), spec.objective)
    n_updates = 2 * N_FOLDS * n_epochs
    proposal.tell(TrialResult(proposal.number, proposal.params, outcome, curves, 1.0, n_updates))


def test_what_others_have_trained_meanwhile_counts_and_is_not_read_each_epoch(
    study, spec, monkeypatch
):
    monkeypatch.setattr(module, "INTERVAL_SECS", 0.0)
    mine, session = next_proposal(study, spec), session_of(study, spec)

    def must_stop(n_epochs):
        return Session.must_stop_trial(session, mine, at(n_epochs))

    assert not must_stop(19)
    other = next_proposal(study, spec, take=lambda number: number != mine.number)
    for n_epochs in range(1, 21):
        other.report(n_epochs, 0.5, horizon_free=True)
    assert must_stop(20)  # 60 and 60
    assert not must_stop(19)
    session.finished.all()
    tell(other, spec, 20)
    session.finished.all()  # as whoever looks for an equal trial
    assert must_stop(20)
    assert not must_stop(19)
    assert session.spending.n_fold_epochs == 60


def test_a_database_is_not_asked_again_each_epoch(spec, tmp_path, monkeypatch):
    study = open_study(f"sqlite:///{tmp_path / 'study.db'}", "study", spec)
    mine, session = next_proposal(study, spec), session_of(study, spec)
    reads, original = [], study._storage.get_all_trials

    def read(*arguments, **more):
        reads.append(arguments)
        return original(*arguments, **more)

    monkeypatch.setattr(study._storage, "get_all_trials", read)
    for n_epochs in range(1, 30):
        Session.must_stop_trial(session, mine, at(n_epochs))
    assert len(reads) == 1
