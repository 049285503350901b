"""The best trial's fold models at the chosen epoch, and the final fit on all rows."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import holdout, tracking, training
from pipeline.data import take_rows
from pipeline.errors import Interrupted, StoreUnavailable, StudyFailed, in_one_line
from pipeline.files import disk_errors
from pipeline.lazy_rows import dense
from pipeline.nest import map_parts
from pipeline.refit_length import RefitLength
from pipeline.results import RefitResult, StudyResult
from pipeline.schedules import replayed
from pipeline.session import Session

FOLDS = "folds"
"""Of the run's artifacts: each fold's weights and predictions."""


def make_models(result: StudyResult, session: Session, kept: training.Kept | None) -> StudyResult:
    """Keep the best trial's models at the chosen epoch, then refit; the answer stands already."""
    refit, rate = session.spec.refit, result.best.params["learning_rate"]
    stands = (
        f"the answer stands (learning rate {rate:.3g}, {result.choice.n_epochs} epochs, "
        f"{result.decision_path}), but its models could not be made"
    )
    try:
        with disk_errors(session.question.folder), tempfile.TemporaryDirectory() as scratch:
            ensemble = keep_fold_models(result, session, kept, Path(scratch))
            result = replace(result, fold_models=f"runs:/{session.run.run_id}/{FOLDS}")
            if not refit.enabled:
                return result
            served = {"model": fit(result, session)}
            if refit.keep_folds:
                served["fold_ensemble"] = ensemble
            made = log_and_score(served, result, session, Path(scratch))
            return replace(result, refit=made)
    except Interrupted:
        raise
    except StoreUnavailable as error:
        raise StoreUnavailable(f"{stands}: {error}") from error
    except Exception as error:  # out of memory, a model that cannot be saved
        raise StudyFailed(f"{stands}: {in_one_line(error)}") from error


def keep_fold_models(
    result: StudyResult, session: Session, kept: training.Kept | None, scratch: Path
) -> training.FittedModel:
    """Bring the best trial's fold models back at the chosen epoch and store them with the run."""
    best, n_epochs, question = result.best, result.choice.n_epochs, session.question
    session.display.say(f"the best trial's fold models after {n_epochs} epochs …")
    lockstep = session.lockstep(best.params)
    training.restore(lockstep, kept, n_epochs=n_epochs)
    training.advance_to(n_epochs, lockstep, go_on=session.stop.raise_if_asked)
    assert best.curves is not None
    again = session.curves_of(lockstep).values
    lockstep.end()
    training.say_if_not_repeated(best.curves, again, say=session.display.say)
    folder = training.write_fold_models(
        scratch / FOLDS, lockstep, question.folds, question.development
    )
    session.run.log_artifact(folder)
    return training.as_fitted(lockstep, session.engine, question.folds)


def fit(result: StudyResult, session: Session) -> training.FittedModel:
    """Train on all development rows, for the length that the refit's policy makes of the choice."""
    rows, length = session.question.development, length_of(result, session)
    refit, first = session.spec.refit, len(session.question.folds)
    best = result.best
    assert best.curves is not None
    name = f"refit_{best.number:03d}_{length.n_epochs}_epochs"

    def each_epoch(lockstep: training.LockstepTraining) -> None:
        if lockstep.n_epochs == 0:
            session.snapshots.restore(name, lockstep)
        session.snapshots.keep(name, lockstep, now=bool(session.stop))
        session.stop.raise_if_asked()

    models = f"{refit.n_seeds} models" if refit.n_seeds > 1 else "refit"
    session.display.say(f"{models} on {rows.n_rows} rows for {length.n_epochs} epochs …")
    fitted = training.fit_on_all_rows(
        session.spec,
        rows,
        {**best.params, "max_epochs": length.horizon},
        length.n_epochs,
        folds=range(first, first + refit.n_seeds),
        schedule=replayed(session.spec.schedule_of(best.params), best.curves.losses),
        setup=session.engine.setup,
        each_epoch=each_epoch,
    )
    session.snapshots.drop(name)
    return fitted


def length_of(result: StudyResult, session: Session) -> RefitLength:
    """Return the refit's length for the study's choice."""
    return RefitLength.of(
        session.spec.refit.policy,
        n_epochs=result.choice.n_epochs,
        horizon=result.choice.horizon,
        folds=session.question.folds,
        n_rows=session.question.development.n_rows,
        batch_size=int(result.best.params["batch_size"]),
    )


def log_and_score(
    served: Mapping[str, training.FittedModel],
    result: StudyResult,
    session: Session,
    scratch: Path,
) -> RefitResult:
    """Log models with their preprocessing, and score them on the test rows, once."""
    question, run, length = session.question, session.run, length_of(result, session)
    rows, test = question.development, question.test
    sample = map_parts(dense, take_rows(rows.x, np.arange(min(rows.n_rows, 5))))
    uris = {}
    for name, fitted in served.items():
        files = fitted.save(scratch / name)
        if reason := fitted.why_not_served(files, sample):
            session.display.say(
                f"the refit model cannot be served without this study's code: {reason}"
            )
        uris[name] = tracking.log_fitted_model(
            run,
            name=name,
            files=files,
            rows=sample,
            predictions=fitted.predict(sample),
            n_epochs=length.n_epochs,
            params=result.best.params,
        )
    scores = {name: fitted.score(test) if test else {} for name, fitted in served.items()}
    seeds = served["model"].each() if test and session.spec.refit.n_seeds > 1 else []
    if test:
        n_models = len(served) + len(seeds)
        holdout.note_use(question, f"refit of trial {result.best.number}", n_models=n_models)
    return RefitResult(
        policy=length.kept,
        n_seeds=session.spec.refit.n_seeds,
        n_epochs=length.n_epochs,
        horizon=length.horizon,
        n_updates=served["model"].n_updates,
        n_rows=rows.n_rows,
        batch_size=served["model"].batch_size,
        model_uri=uris["model"],
        test_metrics=scores["model"],
        seeds_test_metrics=[model.score(test) for model in seeds if test],
        folds_model_uri=uris.get("fold_ensemble", ""),
        folds_test_metrics=scores.get("fold_ensemble", {}),
    )
