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

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipeline import decision, optimization, tracking, training
from pipeline.batch import StopRequest, only_run_of
from pipeline.cli import with_options
from pipeline.curves import FoldCurves
from pipeline.data import Dataset, load, take_rows
from pipeline.dry_run import cost_of
from pipeline.errors import BadInput, Interrupted, NoResult, PipelineError, StudyFailed
from pipeline.folds import Folds, set_test_rows_aside, split
from pipeline.progress import Display, Silent, display_for
from pipeline.results import Outcome, RefitResult, StudyResult, TrialResult
from pipeline.spec import StudySpec
from pipeline.study_file import load_study, source_of


@dataclass(frozen=True, eq=False)
class Question:
    """A study with its data split: everything that is decided before the first trial."""

    spec: StudySpec
    development: Dataset
    test: Dataset | None
    folds: Folds
    signature: str
    home: Path

    @property
    def name(self) -> str:
        """The study's name and signature: another signature is another study."""
        return f"{self.spec.name}-{self.signature}"

    @property
    def folder(self) -> Path:
        """Where the study keeps its journal, its lock and its decision."""
        return self.home / "mlruns" / "studies" / self.name


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
    display = display or Silent()
    stop = StopRequest()
    with stop.listening(), closing(display):
        question = pose(spec, display)
        with only_run_of(question.folder):
            store = tracking.open_store(tracking_uri, question.home)
            study = optimization.open_study(
                storage or question.folder / "journal.log", question.name, spec
            )
            engine, engine_record = engine_of(study, question, display)
            with tracked(store, question, study, engine_record) as run:
                trials, kept = run_trials(study, question, engine, run, display, stop)
                return answer(question, engine, run, trials, kept, engine_record, display)


def pose(spec: StudySpec, display: Display) -> Question:
    """Load and check everything that a user can get wrong, and split the rows once."""
    devices = training.set_up(spec.threads)
    data = load(spec.load_data)
    development, test = set_test_rows_aside(data, spec.test_size, spec.seed)
    folds = split(development, spec.splitter, spec.seed)
    training.check_model(spec, development, folds[0])
    signature = spec.signature(data_fingerprint=data.fingerprint, splits_hash=folds.hash)
    question = Question(
        spec, development, test, folds, signature, source_of(spec.build_model, spec.load_data).home
    )
    display.say(
        f"study {question.name}: {development.n_rows} rows in {len(folds)} fold(s)"
        + (f", {test.n_rows} test rows set aside" if test else "")
        + f", on {', '.join(devices)}"
    )
    return question


def engine_of(
    study: Any, question: Question, display: Display
) -> tuple[training.Engine, dict[str, Any]]:
    """Return the engine that was recorded when the study was created, measuring it if it is new."""
    spec, rows, folds = question.spec, question.development, question.folds
    record = study.user_attrs.get("engine")
    if record is not None:
        jit = record["mode"] == "xla"
        return training.ResidentEngine(spec, rows, folds, jit=jit, say=display.say), record
    measured = training.measured_engine(spec, rows, folds, say=display.say)
    record = {"mode": measured.timing.mode, "reason": measured.reason}
    study.set_user_attr("engine", record)
    display.say(f"engine {record['mode']}: {record['reason']}")
    return measured.engine, record


def run_trials(
    study: Any,
    question: Question,
    engine: training.Engine,
    run: tracking.StudyRun,
    display: Display,
    stop: StopRequest,
) -> tuple[tuple[TrialResult, ...], training.Kept | None]:
    """Evaluate proposals until the budget is spent; return all trials and the best one's states."""
    spec = question.spec
    trials = list(optimization.finished(study, spec))
    display.search_started(spec, len(question.folds), tuple(trials))
    deadline = time.monotonic() + (spec.budget.timeout_secs or np.inf)
    kept, n_failures = None, 0

    def must_stop() -> bool:
        return bool(stop) or time.monotonic() > deadline

    while len(trials) < spec.budget.n_trials and not must_stop():
        proposal = optimization.next_proposal(study, spec)
        trial_run = run.start_trial(
            proposal.number, proposal.params, run_id=proposal.note.get("mlflow_run")
        )
        proposal.write_note("mlflow_run", trial_run.run_id)
        display.trial_started(proposal.number, proposal.params)
        result, states = train(proposal, question, engine, trial_run, display, must_stop)
        proposal.tell(result)
        trial_run.end(result, spec.objective)
        display.trial_ended(result)
        if result.outcome is Outcome.INTERRUPTED:
            break
        trials.append(result)
        if optimization.best(trials, spec) is result:
            kept = states
        n_failures = n_failures + 1 if result.outcome is Outcome.FAILED else 0
        if n_failures >= spec.budget.max_failures_in_a_row:
            raise StudyFailed(
                f"{n_failures} trials in a row failed "
                f"(budget.max_failures_in_a_row={spec.budget.max_failures_in_a_row}); "
                f"the last one: {result.reason}"
            )
    if stop.signal is not None:
        raise Interrupted(
            f"{stop.signal.name}: stopped after {len(trials)} finished trials; "
            "the same command continues"
        )
    return tuple(trials), kept


def train(
    proposal: optimization.Proposal,
    question: Question,
    engine: training.Engine,
    run: tracking.TrialRun,
    display: Display,
    must_stop: Callable[[], bool],
) -> tuple[TrialResult, training.Kept | None]:
    """Train one proposal on all folds in lockstep until it ends, one way or another."""
    spec, start = question.spec, time.perf_counter()
    objective = spec.objective
    kept: training.Kept | None = None
    lockstep: training.LockstepTraining | None = None
    curves: FoldCurves | None = None

    def ended(outcome: Outcome, reason: str) -> tuple[TrialResult, training.Kept | None]:
        seconds = time.perf_counter() - start
        n_updates = lockstep.n_updates if lockstep else 0
        result = TrialResult(
            proposal.number, proposal.params, outcome, curves, seconds, n_updates, reason
        )
        return result, kept

    while True:
        try:
            lockstep = lockstep or training.LockstepTraining(
                engine.program(proposal.params),
                proposal.params,
                question.folds,
                schedule=spec.schedule,
                seed=spec.seed,
            )
            scores = lockstep.advance()
        except Exception as error:  # a proposal may ask for a model that cannot be: others can
            return ended(Outcome.FAILED, f"{type(error).__name__}: {first_line(error)}")
        names, n_epochs = lockstep.program.metric_names, lockstep.n_epochs
        run.log_epoch(n_epochs, tracking.epoch_metrics(names, scores, lockstep.learning_rate()))
        if not np.isfinite(scores[:, [names.index("loss"), names.index(objective.metric)]]).all():
            return ended(Outcome.FAILED, f"diverged: the loss is not finite in epoch {n_epochs}")
        curves = FoldCurves(lockstep.history(objective.metric), objective)
        if curves.best_n_epochs == n_epochs:
            kept = training.Kept(proposal.number, lockstep.snapshot())
        mean = curves.mean_after(n_epochs)
        display.epoch_ended(n_epochs, mean)
        if proposal.report(n_epochs, mean, horizon_free=lockstep.horizon_free):
            return ended(Outcome.PRUNED, f"pruned after epoch {n_epochs}: worse than the others")
        if n_epochs == lockstep.horizon:
            return ended(Outcome.COMPLETED, f"trained {n_epochs} epochs")
        if spec.early_stopping and spec.early_stopping.should_stop(curves):
            return ended(
                Outcome.STOPPED_EARLY,
                f"no better for {spec.early_stopping.patience} epochs, "
                f"stopped after epoch {n_epochs}",
            )
        if must_stop():
            return ended(Outcome.INTERRUPTED, f"interrupted after epoch {n_epochs}")


def answer(
    question: Question,
    engine: training.Engine,
    run: tracking.StudyRun,
    trials: Sequence[TrialResult],
    kept: training.Kept | None,
    engine_record: dict[str, Any],
    display: Display,
) -> StudyResult:
    """Choose the epoch, bring the best trial's models back at it, refit, and write it all down."""
    spec = question.spec
    best = optimization.best(trials, spec)
    if best is None or best.curves is None:
        raise NoResult(no_result(trials))
    choice = spec.rule.choose(best.curves, best.horizon)
    path = question.folder / "decision.json"
    refit = decision.refit_in(path, best, choice)
    if refit is None:
        with tempfile.TemporaryDirectory() as scratch:
            keep_fold_models(
                question, engine, run, best, choice.n_epochs, kept, Path(scratch), display
            )
            if spec.refit.enabled:
                refit = fit_and_log(
                    question, engine, run, best, choice.n_epochs, Path(scratch), display
                )
    result = StudyResult(
        spec, question.signature, tuple(trials), best, choice, refit, path, run.url
    )
    record = {
        "engine": engine_record,
        "seed": spec.seed,
        "splits_hash": question.folds.hash,
        "data_fingerprint": question.development.fingerprint,
        "run_id": run.run_id,
        "n_compiled_programs": engine.n_compiled,
        **tracking.provenance(question.home),
    }
    decision.write(path, decision.decision(result, record))
    run.log_artifact(path)
    metrics, tags = tracking.study_summary(result)
    run.log_metrics(metrics)
    run.set_tags(tags)
    return result


def keep_fold_models(
    question: Question,
    engine: training.Engine,
    run: tracking.StudyRun,
    best: TrialResult,
    n_epochs: int,
    kept: training.Kept | None,
    scratch: Path,
    display: Display,
) -> None:
    """Bring the best trial's fold models back at the chosen epoch and store them with the run."""
    spec, folds = question.spec, question.folds
    display.say(f"the best trial's fold models after {n_epochs} epochs …")
    lockstep = training.states_at(n_epochs, best, kept, engine, folds, spec, say=display.say)
    run.log_artifact(
        training.write_fold_models(
            scratch / "folds", lockstep, best, engine, folds, question.development
        )
    )


def fit_and_log(
    question: Question,
    engine: training.Engine,
    run: tracking.StudyRun,
    best: TrialResult,
    n_epochs: int,
    scratch: Path,
    display: Display,
) -> RefitResult:
    """Train on all development rows, score test rows once, log the model with its preprocessing."""
    spec, rows = question.spec, question.development
    display.say(f"refit on {rows.n_rows} rows for {n_epochs} epochs …")
    fitted = training.fit_on_all_rows(
        spec, rows, best.params, n_epochs, fold=len(question.folds), jit=engine.jit
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


@contextmanager
def tracked(
    store: tracking.Store, question: Question, study: Any, engine_record: dict[str, Any]
) -> Iterator[tracking.StudyRun]:
    """Open the study's MLflow run and end it truthfully: FINISHED, KILLED or FAILED."""
    spec = question.spec
    with tracking.MetricWriter(store.client) as writer:
        run = tracking.StudyRun.open(
            store,
            writer,
            experiment=spec.name,
            signature=question.signature,
            params={
                **spec.described(),
                "engine.mode": engine_record["mode"],
                "splits_hash": question.folds.hash,
                "data_fingerprint": question.development.fingerprint,
            },
            tags=tracking.provenance(question.home),
            keep_running=optimization.run_ids_of_running(study),
        )
        rows = question.development
        run.log_dataset(rows.x, rows.y, name=spec.name, fingerprint=rows.fingerprint)
        status = "FAILED"
        try:
            yield run
            status = "FINISHED"
        except Interrupted:
            status = "KILLED"
            raise
        finally:
            run.end(status)


@contextmanager
def closing(display: Display) -> Iterator[None]:
    """Leave the terminal as it was, however the search ends."""
    try:
        yield
    finally:
        display.close()


def no_result(trials: Sequence[TrialResult]) -> str:
    """Return why there is no answer, in words."""
    if not trials:
        return "the budget ended before the first trial was finished; the same command continues"
    outcomes = ", ".join(f"{n} {label}" for label, n in decision.outcomes(trials).items())
    text = f"no trial has a value: {len(trials)} trials, {outcomes}"
    failed = [trial.reason for trial in trials if trial.outcome is Outcome.FAILED]
    return f"{text}; the last failure: {failed[-1]}" if failed else text


def first_line(error: Exception) -> str:
    """Return an error's first line that says something."""
    return next((line for line in str(error).splitlines() if line.strip()), "no message")


def main(options: Any) -> int:
    """Run the command and return its exit code."""
    display = display_for()
    try:
        spec = with_options(load_study(options.study), options)
        if options.dry_run:
            print(cost_of(spec, tracking_uri=options.tracking_uri, storage=options.storage))
            return 0
        result = search(
            spec, tracking_uri=options.tracking_uri, storage=options.storage, display=display
        )
    except PipelineError as error:
        kind = "error" if isinstance(error, BadInput) else type(error).__name__
        print(f"{kind}: {error}", file=sys.stderr)
        return error.exit_code
    print(decision.answer(result))
    return 0


class _CallableModule(ModuleType):
    """`from pipeline import search` may find this module under that name: calling it searches."""

    def __call__(self, spec: StudySpec, **options: Any) -> StudyResult:
        return search(spec, **options)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    raise SystemExit(main(OPTIONS))
