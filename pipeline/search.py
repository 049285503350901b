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
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from pipeline import decision, optimization, tracking, training
from pipeline.batch import StopRequest, only_run_of
from pipeline.cli import with_options
from pipeline.curves import FoldCurves
from pipeline.dry_run import cost_of
from pipeline.errors import (
    ExitCode,
    Interrupted,
    NoResult,
    PipelineError,
    StudyFailed,
    in_one_line,
)
from pipeline.plots import plot_curves
from pipeline.progress import Display, display_for
from pipeline.question import Question, pose
from pipeline.refit import make_models
from pipeline.results import Outcome, StudyResult, TrialResult
from pipeline.session import Session
from pipeline.spec import StudySpec
from pipeline.study_file import load_study


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
                session = Session(question, study, engine, why, run, display, stop)
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
    deadline = time.monotonic() + (budget.timeout_secs or np.inf)
    kept, n_failures = None, 0

    def must_stop() -> bool:
        return bool(session.stop) or time.monotonic() > deadline

    while len(trials) < budget.n_trials and not must_stop():
        if optimization.exhausted(session.study, spec):
            session.display.say(f"the sampler has no more to propose after {len(trials)} trial(s)")
            break
        proposal = optimization.next_proposal(session.study, spec)
        result, states = evaluate(proposal, session, must_stop)
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


def evaluate(
    proposal: optimization.Proposal, session: Session, must_stop: Callable[[], bool]
) -> tuple[TrialResult, training.Kept | None]:
    """Train a proposal in its MLflow run and tell Optuna what became of it."""
    run = session.run.start_trial(
        proposal.number, proposal.params, run_id=proposal.note.get("mlflow_run")
    )
    proposal.write_note("mlflow_run", run.run_id)
    session.display.trial_started(proposal.number, proposal.params)
    start = time.perf_counter()
    trial = train(proposal, session, run, must_stop)
    result = TrialResult(
        number=proposal.number,
        params=proposal.params,
        outcome=trial.outcome,
        curves=trial.curves,
        seconds=time.perf_counter() - start,
        n_updates=trial.n_updates,
        reason=trial.reason,
        horizon_free=trial.horizon_free,
    )
    proposal.tell(result)
    run.end(result, session.spec.objective)
    session.display.trial_ended(result)
    return result, trial.kept


@dataclass
class Training:
    """What a trial's training has come to."""

    outcome: Outcome = Outcome.COMPLETED
    reason: str = ""
    curves: FoldCurves | None = None
    n_updates: int = 0
    horizon_free: bool = True
    kept: training.Kept | None = None

    def ended(self, outcome: Outcome, reason: str) -> Training:
        """Return this with how it ended."""
        self.outcome, self.reason = outcome, reason
        return self


def train(
    proposal: optimization.Proposal,
    session: Session,
    run: tracking.TrialRun,
    must_stop: Callable[[], bool],
) -> Training:
    """Train one proposal on all folds in lockstep until it ends, one way or another."""
    spec, folds, objective = session.spec, session.question.folds, session.spec.objective
    trial = Training()
    try:
        program = session.engine.program(proposal.params)
        lockstep = training.LockstepTraining(
            program, proposal.params, folds, schedule=spec.schedule, seed=spec.seed
        )
        trial.horizon_free = lockstep.horizon_free
        watched = [program.metric_names.index(name) for name in ("loss", objective.metric)]
    except Exception as error:  # a proposal may ask for a model that cannot be: others can
        return trial.ended(Outcome.FAILED, in_one_line(error))
    while True:
        try:
            scores = lockstep.advance()
        except Exception as error:  # out of memory, most often
            return trial.ended(Outcome.FAILED, in_one_line(error))
        n_epochs, trial.n_updates = lockstep.n_epochs, lockstep.n_updates
        rate = lockstep.learning_rate()
        run.log_epoch(n_epochs, tracking.epoch_metrics(program.metric_names, scores, rate))
        if not np.isfinite(scores[:, watched]).all():
            return trial.ended(
                Outcome.FAILED, f"diverged: the loss is not finite after epoch {n_epochs}"
            )
        curves = trial.curves = FoldCurves(
            lockstep.history(objective.metric), objective, n_repeats=folds.n_repeats
        )
        mean = curves.mean_after(n_epochs)
        session.display.epoch_ended(n_epochs, mean)
        if curves.best_n_epochs == n_epochs:
            trial.kept = training.Kept(proposal.number, lockstep.snapshot())
        if proposal.report(n_epochs, mean, horizon_free=trial.horizon_free):
            return trial.ended(Outcome.PRUNED, f"worse than the others after epoch {n_epochs}")
        if n_epochs == lockstep.horizon:
            return trial.ended(Outcome.COMPLETED, f"trained {n_epochs} epochs")
        if spec.early_stopping and spec.early_stopping.should_stop(curves):
            patience = spec.early_stopping.patience
            return trial.ended(
                Outcome.STOPPED_EARLY, f"no better for {patience} epochs after {n_epochs}"
            )
        if must_stop():
            return trial.ended(Outcome.INTERRUPTED, f"interrupted after epoch {n_epochs}")


def answer(
    session: Session, trials: Sequence[TrialResult], kept: training.Kept | None
) -> StudyResult:
    """Choose the epoch, keep the best trial's models at it, refit, and write it all down."""
    spec, question, run = session.spec, session.question, session.run
    best = optimization.best(trials, spec)
    if best is None or best.curves is None:
        raise NoResult(no_result(trials))
    choice = spec.rule.choose(best.curves, best.horizon)
    path = question.folder / "decision.json"
    result = StudyResult(
        spec=spec,
        signature=question.signature,
        trials=tuple(trials),
        best=best,
        choice=choice,
        refit=decision.refit_in(path, best, choice, run.run_id),
        decision_path=path,
        run_url=run.url,
        ui_command=run.store.ui_command,
    )
    write_down(result, session)
    if result.refit is None:
        result = dataclasses.replace(result, refit=make_models(result, session, kept))
        write_down(result, session)
    run.log_artifact(path)
    run.log_artifact(plot_curves(result, path.with_name("curves.png")))
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
            print(decision.answer(search(spec, **stores, display=display_for())))
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
