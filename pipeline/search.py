"""The story of a search: python -m pipeline.search [STUDY].

Load the data. Set test rows aside, split the others into folds, once. Ask Optuna for parameters;
train all folds one epoch, report the mean, prune, stop early; again, until the trial ends. Choose
the number of epochs from the best trial's curves. Refit on all rows. Write the decision down.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the heavy imports below: --help and mistyped options answer at once.
    from pipeline.cli import search_options

    OPTIONS = search_options()

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from types import ModuleType
from typing import Any

from pipeline import decision, optimization, plots, tracking, training
from pipeline.batch import StopRequest, only_run_of
from pipeline.cli import with_options
from pipeline.dry_run import cost_of
from pipeline.errors import (
    ExitCode,
    Interrupted,
    NoResult,
    PipelineError,
    StudyFailed,
)
from pipeline.evaluation import evaluate
from pipeline.evidence import gathered
from pipeline.progress import Display, display_for
from pipeline.question import Question, pose
from pipeline.refit import make_models
from pipeline.results import Outcome, StudyResult, TrialResult
from pipeline.session import Session
from pipeline.spec import StudySpec
from pipeline.study_file import load_study
from pipeline.winner import chosen, settled


def search(
    spec: StudySpec,
    *,
    tracking_uri: str | None = None,
    storage: str | None = None,
    display: Display | None = None,
) -> StudyResult:
    """Run or continue a study to the end of its budget and return its answer.

    tracking_uri: MLflow's store; None is `mlruns/mlflow.db` in the study's project
    storage: Optuna's, a journal file or a URL; None is a journal in the study's folder
    Raises BadInput, StoreUnavailable and AnotherRunActive before anything is trained; NoResult
    when no trial has a value at the end; StudyFailed after too many failures in a row;
    Interrupted after SIGINT or SIGTERM. Whatever was computed by then is kept: the same call
    continues.
    """
    display, stop = display or Display(), StopRequest()
    with stop.listening(), closing(display):
        question = pose(spec, say=display.say)
        with only_run_of(question.folder):
            store = tracking.open_store(tracking_uri, question.home)
            journal = storage or question.folder / "journal.log"
            study = optimization.open_study(journal, question.name, spec)
            engine, why = engine_of(study, question, display)
            with tracked(store, question, engine, optimization.run_ids_of_running(study)) as run:
                if run.mended:
                    display.say(f"{run.mended} run(s) of a killed process marked KILLED in MLflow")
                deadline = time.monotonic() + (spec.budget.timeout_secs or math.inf)
                session = Session(question, study, engine, why, run, display, stop, deadline)
                trials, kept = run_trials(session)
                return answer(session, trials, kept)


def engine_of(study: Any, question: Question, display: Display) -> tuple[training.Engine, str]:
    """Return the engine that was recorded when the study was created, measured if it is new."""
    spec, rows, folds = question.spec, question.development, question.folds
    record = study.user_attrs.get("engine")
    if record is not None:
        jit = record["mode"] == "xla"
        engine = training.ResidentEngine(spec, rows, folds, jit=jit, say=display.say)
        return engine, record["reason"]
    measured = training.measured_engine(spec, rows, folds, say=display.say)
    record = {"mode": measured.timing.mode, "reason": measured.reason}
    study.set_user_attr("engine", record)
    display.say(f"engine {record['mode']}: {record['reason']}")
    return measured.engine, measured.reason


def run_trials(session: Session) -> tuple[list[TrialResult], training.Kept | None]:
    """Evaluate proposals until the budget is spent; return all trials and the best one's states."""
    spec, budget = session.spec, session.spec.budget
    trials = list(optimization.finished(session.study, spec))
    session.display.search_started(spec, len(session.question.folds), tuple(trials))
    kept, n_failures = None, 0
    while len(trials) < budget.n_trials and not session.must_stop():
        if optimization.exhausted(session.study, spec):
            session.display.say(f"the sampler has no more to propose after {len(trials)} trial(s)")
            break
        proposal = optimization.next_proposal(session.study, spec)
        result, states = evaluate(proposal, session)
        if result.outcome is Outcome.INTERRUPTED:
            break
        trials.append(result)
        if optimization.best(trials, spec) is result:
            kept = states
        n_failures = n_failures + 1 if result.outcome is Outcome.FAILED else 0
        if n_failures >= budget.max_failures_in_a_row:
            raise StudyFailed(
                f"{n_failures} trials in a row failed "
                f"(budget.max_failures_in_a_row={budget.max_failures_in_a_row}); "
                f"the last one: {result.reason}"
            )
    if session.stop.signal is not None:
        raise Interrupted(
            f"{session.stop.signal.name}: stopped after {len(trials)} finished trial(s); "
            "the same command continues"
        )
    return trials, kept


def answer(
    session: Session, trials: Sequence[TrialResult], kept: training.Kept | None
) -> StudyResult:
    """Choose the epoch from the best trial's whole curve, refit, and write it all down."""
    spec, question, run = session.spec, session.question, session.run
    best = optimization.best(trials, spec)
    if best is None:
        raise NoResult(no_result(trials))
    winner = settled(best, kept, session)
    choice = chosen(spec, winner.trial)
    path = question.folder / "decision.json"
    result = StudyResult(
        spec=spec,
        signature=question.signature,
        trials=tuple(trials),
        best=winner.trial,
        choice=choice,
        evidence=gathered(choice, winner.trial, trials, question, row_losses=winner.row_losses),
        open_end=winner.open_end,
        n_extra_fold_epochs=winner.n_fold_epochs,
        refit=decision.refit_in(path, winner.trial, choice, spec.refit, run.run_id),
        decision_path=path,
        run_url=run.url,
        ui_command=run.store.ui_command,
    )
    write_down(result, session)
    if result.refit is None:
        result = dataclasses.replace(result, refit=make_models(result, session, kept))
        write_down(result, session)
    run.log_artifact(path)
    for picture in plots.draw(result, path.parent):
        run.log_artifact(picture)
    metrics, tags = tracking.study_summary(result)
    run.log_metrics(metrics)
    run.set_tags(tags)
    return result


def write_down(result: StudyResult, session: Session) -> None:
    """Write the decision and what is needed to repeat it."""
    question = session.question
    record = {
        "engine": {"mode": "xla" if session.engine.jit else "plain", "reason": session.why_engine},
        "seed": result.spec.seed,
        "splits_hash": question.folds.hash,
        "data_fingerprint": question.data_fingerprint,
        "run_id": session.run.run_id,
        **tracking.provenance(question.home),
    }
    decision.write(result.decision_path, decision.decision(result, record))


@contextmanager
def tracked(
    store: tracking.Store, question: Question, engine: training.Engine, to_continue: Sequence[str]
) -> Iterator[tracking.StudyRun]:
    """Open the study's MLflow run and end it truthfully: FINISHED, KILLED or FAILED."""
    spec, rows = question.spec, question.development
    with tracking.MetricWriter(store.client) as writer:
        run = tracking.StudyRun.open(
            store,
            writer,
            experiment=spec.name,
            signature=question.signature,
            params={
                **spec.described(),
                "engine.mode": "xla" if engine.jit else "plain",
                "splits_hash": question.folds.hash,
                "data_fingerprint": question.data_fingerprint,
            },
            tags=tracking.provenance(question.home),
            keep_running=to_continue,
        )
        status = "FAILED"
        try:
            run.log_dataset(rows.x, rows.y, name=spec.name, fingerprint=question.data_fingerprint)
            yield run
            status = "FINISHED"
        except Interrupted:
            status = "KILLED"
            raise
        finally:
            run.end(status)


def no_result(trials: Sequence[TrialResult]) -> str:
    """Return why there is no answer, in words."""
    if not trials:
        return "the budget ended before the first trial was finished; the same command continues"
    outcomes = ", ".join(f"{n} {label}" for label, n in decision.outcomes(trials).items())
    text = f"no trial has a value: {len(trials)} trial(s), {outcomes}"
    failed = [trial.reason for trial in trials if trial.outcome is Outcome.FAILED]
    return f"{text}; the last failure: {failed[-1]}" if failed else text


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    stores = {"tracking_uri": options.tracking_uri, "storage": options.storage}
    try:
        spec = with_options(load_study(options.study), options)
        if options.dry_run:
            print(cost_of(spec, **stores))
        else:
            result = search(spec, **stores, display=display_for())
            print(decision.answer(result))
            return ExitCode.UNDETERMINED if result.open_end else ExitCode.SUCCESS
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted before the search began", file=sys.stderr)
        return ExitCode.INTERRUPTED
    return ExitCode.SUCCESS


class _CallableModule(ModuleType):
    """`from pipeline import search` may find this module under that name: calling it searches."""

    def __call__(self, spec: StudySpec, **options: Any) -> StudyResult:
        return search(spec, **options)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    raise SystemExit(main(OPTIONS))
