"""The best trial's fold models at the chosen epoch, and the final fit on all rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline import tracking, training
from pipeline.data import take_rows
from pipeline.results import RefitResult, TrialResult
from pipeline.session import Session


def keep_fold_models(
    session: Session,
    best: TrialResult,
    n_epochs: int,
    kept: training.Kept | None,
    scratch: Path,
) -> None:
    """Bring the best trial's fold models back at the chosen epoch and store them with the run."""
    spec, question, engine = session.spec, session.question, session.engine
    session.display.say(f"the best trial's fold models after {n_epochs} epochs …")
    lockstep = training.states_at(
        n_epochs, best, kept, engine, question.folds, spec, say=session.display.say
    )
    folder = training.write_fold_models(
        scratch / "folds", lockstep, best, engine, question.folds, question.development
    )
    session.run.log_artifact(folder)


def fit_and_log(session: Session, best: TrialResult, n_epochs: int, scratch: Path) -> RefitResult:
    """Train on all development rows, score test rows once, log the model with its preprocessing."""
    spec, question, run = session.spec, session.question, session.run
    rows = question.development
    session.display.say(f"refit on {rows.n_rows} rows for {n_epochs} epochs …")
    fitted = training.fit_on_all_rows(
        spec, rows, best.params, n_epochs, fold=len(question.folds), jit=session.engine.jit
    )
    sample = take_rows(rows.x, np.arange(min(rows.n_rows, 5)))
    model_uri = tracking.log_fitted_model(
        run.store,
        experiment_id=run.experiment_id,
        run_id=run.run_id,
        files=fitted.save(scratch),
        rows=sample,
        predictions=fitted.predict(sample),
        n_epochs=n_epochs,
        params=best.params,
    )
    test_metrics = fitted.score(question.test) if question.test else {}
    return RefitResult(
        n_epochs, fitted.n_updates, rows.n_rows, fitted.batch_size, model_uri, test_metrics
    )
