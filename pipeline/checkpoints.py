"""The best trials' fold models in MLflow, each at its own best epoch: --keep-checkpoints N."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from pipeline import optimization, tracking, training
from pipeline.data import take_rows
from pipeline.errors import unexpected_errors
from pipeline.files import disk_errors
from pipeline.results import StudyResult, TrialResult, ranked, trial_name
from pipeline.session import Session


def keep(result: StudyResult, session: Session, kept: training.Kept | None) -> None:
    """Log the checkpoints that the study wants and MLflow lacks; those that fell behind go.

    kept: states of the best trial, if this process has them
    Raises StudyFailed when one cannot be made, StoreUnavailable, and Interrupted after a signal.
    """
    if session.run.writer.is_away:
        session.display.say("MLflow is away: no checkpoints are kept; the same command does it")
        return
    stands = f"the answer stands ({result.decision_path}), but not all checkpoints could be kept"
    with (
        unexpected_errors(stands),
        disk_errors(session.question.folder),
        tempfile.TemporaryDirectory() as scratch,
    ):
        _keep(wanted(result), session, kept, Path(scratch))


def wanted(result: StudyResult) -> list[tuple[TrialResult, int]]:
    """Return the best trials, the winner first, each with the number of epochs to keep it at."""
    best = result.best
    others = [t for t in ranked(result.trials, result.spec.objective) if t.number != best.number]
    found = [(best, result.choice.n_epochs)]
    found += [(trial, trial.best_n_epochs) for trial in others if trial.best_n_epochs]
    count = result.spec.keep_checkpoints
    return found if count == "all" else found[:count]


def _keep(
    of: list[tuple[TrialResult, int]],
    session: Session,
    kept: training.Kept | None,
    scratch: Path,
) -> None:
    run, there = session.run, tracking.checkpoints(session.run)
    whole = {(each.trial, each.n_epochs) for each in there if each.is_whole}
    for trial, n_epochs in of:
        if (trial.number, n_epochs) not in whole:
            _log(trial, n_epochs, session, kept, scratch / trial_name(trial.number))
    current = {(trial.number, n_epochs) for trial, n_epochs in of} & whole
    behind = [each.model_id for each in there if (each.trial, each.n_epochs) not in current]
    if n_removed := tracking.remove_models(run.store, behind):
        session.display.say(f"{n_removed} superseded checkpoint(s) removed from MLflow")


def _log(
    trial: TrialResult,
    n_epochs: int,
    session: Session,
    kept: training.Kept | None,
    scratch: Path,
) -> None:
    """Train a trial's folds to the epoch, and log them with the scores that they have there."""
    session.display.say(f"the checkpoint of trial {trial.number} after {n_epochs} epochs …")
    question = session.question
    lockstep = session.lockstep(trial.params)
    training.restore(lockstep, kept, n_epochs=n_epochs)
    training.advance_to(n_epochs, lockstep, go_on=session.stop.raise_if_asked)
    lockstep.end()
    curves = session.curves_of(lockstep)
    assert trial.curves is not None
    training.say_if_not_repeated(trial.curves, curves.values, say=session.display.say)
    fitted = training.as_fitted(lockstep, session.engine, question.folds)
    rows = take_rows(question.development.x, np.arange(min(question.development.n_rows, 5)))
    tracking.log_checkpoint(
        session.run,
        trial.number,
        optimization.run_id_of(session.study, trial.number),
        files=fitted.save(scratch),
        rows=rows,
        predictions=fitted.predict(rows),
        n_epochs=n_epochs,
        params=trial.params,
        metric=session.spec.objective.metric,
        score=curves.mean_after(n_epochs),
        scores=curves.after(n_epochs),
    )
