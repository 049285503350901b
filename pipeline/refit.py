"""The best trial's fold models at the chosen epoch, and the final fit on all rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from pipeline import tracking, training
from pipeline.data import take_rows
from pipeline.errors import Interrupted, StoreUnavailable, StudyFailed, in_one_line
from pipeline.results import RefitResult, StudyResult, TrialResult
from pipeline.session import Session


def make_models(
    result: StudyResult, session: Session, kept: training.Kept | None
) -> RefitResult | None:
    """Keep the best trial's models at the chosen epoch, then refit; the answer stands already."""
    best, n_epochs = result.best, result.choice.n_epochs
    try:
        with tempfile.TemporaryDirectory() as scratch:
            keep_fold_models(session, best, n_epochs, kept, Path(scratch))
            if session.spec.refit.enabled:
                return fit_and_log(session, best, n_epochs, Path(scratch))
        return None
    except (Interrupted, StoreUnavailable):
        raise
    except Exception as error:  # out of memory, a model that cannot be saved
        raise StudyFailed(
            f"the answer stands (learning rate {best.params['learning_rate']:.3g}, {n_epochs} "
            f"epochs, {result.decision_path}), but its models could not be made: "
            f"{in_one_line(error)}"
        ) from error


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
        spec,
        rows,
        best.params,
        n_epochs,
        fold=len(question.folds),
        jit=session.engine.jit,
        go_on=session.stop.raise_if_asked,
    )
    sample = take_rows(rows.x, np.arange(min(rows.n_rows, 5)))
    files = fitted.save(scratch)
    if reason := fitted.why_not_served(files["model"], sample):
        session.display.say(f"the refit model cannot be served without this study's code: {reason}")
    model_uri = tracking.log_fitted_model(
        run.store,
        experiment_id=run.experiment_id,
        run_id=run.run_id,
        files=files,
        rows=sample,
        predictions=fitted.predict(sample),
        n_epochs=n_epochs,
        params=best.params,
    )
    test_metrics = fitted.score(question.test) if question.test else {}
    return RefitResult(
        n_epochs, fitted.n_updates, rows.n_rows, fitted.batch_size, model_uri, test_metrics
    )
