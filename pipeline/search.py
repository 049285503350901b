"""The story of a search: python -m pipeline.search [STUDY].

Load the data. Set test rows aside, split the others into folds, once. Ask Optuna for parameters;
train all folds one epoch, report the mean, prune, stop early; again, until the trial ends. Let the
best trials meet again, if that is asked for. Choose the number of epochs from the best one's
curves. Refit on all rows. Write the decision down.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the heavy imports below: --help and mistyped options answer at once, and libraries that
    # do not load are an end like any other.
    from pipeline.cli import search_options
    from pipeline.ending import end_process

    end_process("pipeline.search", search_options())

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from pipeline import (
    asking,
    champion,
    checkpoints,
    decision,
    handover,
    optimization,
    range_test,
    review,
    tracking,
    training,
    warm_start,
    wording,
)
from pipeline.batch import StopRequest, Waiting
from pipeline.changes import with_options
from pipeline.cli import check_together
from pipeline.conclusion import concluded
from pipeline.confirm import Plan, confirmed, count_confirmed
from pipeline.crew import Crew
from pipeline.data_file import with_study_file
from pipeline.dry_run import cost_of, page
from pipeline.early_end import EarlyEnd
from pipeline.ending import Ending
from pipeline.errors import ExitCode, NoResult, StoreUnavailable, require
from pipeline.files import disk_errors
from pipeline.machine import EVERYTHING, Ceiling
from pipeline.meeting import Meeting
from pipeline.nested import NestedResult, in_words, referee
from pipeline.observers import Facts, Logged, Several
from pipeline.paused import end_paused
from pipeline.progress import Display, display_for
from pipeline.question import Question, pose
from pipeline.recording import Stores, recording
from pipeline.recovery import complete_runs
from pipeline.refit import make_models
from pipeline.results import Outcome, StudyResult, TrialResult, trial_name
from pipeline.retry import DEFAULT_PATIENCE_SECS
from pipeline.room import check_need
from pipeline.session import Session, engine_of
from pipeline.spec import StudySpec
from pipeline.study_file import load_study
from pipeline.winner import count_settled, settled
from pipeline.work import Joining, run_trials
from pipeline.workers import ceiling_alone_mb, supervise

IfRunning = Literal["skip", "wait", "join"]


def search(
    spec: StudySpec,
    *,
    tracking_uri: str | None = None,
    storage: str | None = None,
    store_patience_secs: float = DEFAULT_PATIENCE_SECS,
    n_warm_trials: int = 0,
    display: Display | None = None,
    confirm: int | None = None,
    if_running: IfRunning = "skip",
    crew: Crew | None = None,
) -> StudyResult:
    """Run or continue a study to the end of its budget and return its answer.

    tracking_uri: MLflow's store; None is that of MLFLOW_TRACKING_URI, or else `mlruns/mlflow.db` in
        the study's project
    storage: Optuna's, a journal file or a URL; None is that of OPTUNA_STORAGE, or else a journal
    store_patience_secs: how long a store that is locked or away is tried again. When MLflow's does
        not come back the answer is given all the same, and says what is `unsent`
    n_warm_trials: how many of the best trials of the latest earlier study of this name a new study
        tries first
    confirm: train so many of the best trials again, on other seeds and splits, before one of them
        is the winner
    if_running: what to do while another process is running the same study: raise, wait for it to
        end, or join it: train trials beside it, then wait
    crew: workers to train the trials, processes on this machine or actors in a Ray cluster. A
        process alone takes over when this one has grown too large; None trains all in this one
    Raises BadInput, StoreUnavailable and AnotherRunActive before anything is trained; NoResult
    when no trial has a value at the end; StudyFailed after too many failures in a row;
    Interrupted after SIGINT or SIGTERM. Whatever was computed by then is kept: the same call
    continues.
    """
    require(n_warm_trials >= 0, "n_warm_trials", "≥ 0", n_warm_trials)
    display, stop = display or Display(), StopRequest()
    with stop.listening():
        stores = Stores(tracking_uri, storage, store_patience_secs)
        question = stores.posed(spec, share=crew.share if crew else EVERYTHING, say=display.say)
        check_need(spec, crew.n_here if crew else 1)
        plan = None if confirm is None else Plan.of(confirm, question)
        meeting = stores.meeting_for(question, stop, alone=if_running == "join", say=display.say)
        # A process that joins and then answers has its time once.
        timeout = spec.budget.timeout_secs
        deadline = None if timeout is None else time.monotonic() + timeout
        waiting = {
            "skip": None,
            "wait": Waiting(display.say, stop),
            "join": Joining(question, display, stop, stores, meeting, deadline),
        }[if_running]
        return search_on(
            question, display, stop, stores, meeting, plan, n_warm_trials, crew, waiting, deadline
        )


def nested_search(
    spec: StudySpec,
    n_folds: int,
    *,
    tracking_uri: str | None = None,
    storage: str | None = None,
    store_patience_secs: float = DEFAULT_PATIENCE_SECS,
    display: Display | None = None,
) -> NestedResult:
    """Measure what searching like this is worth: a whole search inside each of `n_folds` folds.

    The budget's time is that of one inner search. Raises as `search` does; the same call continues.
    """
    display, stop = display or Display(), StopRequest()

    def search_inside(question: Question) -> StudyResult:
        stores = Stores(tracking_uri, storage, store_patience_secs)
        return search_on(question, display, stop, stores, stores.meeting_for(question, stop))

    with stop.listening():
        return referee(spec, n_folds, search_inside, say=display.say)


def range_tested(spec: StudySpec, display: Display) -> range_test.RangeTest:
    """Sweep the learning rate once over the folds and return what it proposes; see `range_test`."""
    stop = StopRequest()
    with stop.listening(), closing(display):
        question = pose(spec, say=display.say)
        with disk_errors(question.folder):
            return range_test.measured(question, go_on=stop.raise_if_asked, say=display.say)


def search_on(
    question: Question,
    display: Display,
    stop: StopRequest,
    stores: Stores,
    meeting: Meeting,
    plan: Plan | None = None,
    n_warm_trials: int = 0,
    crew: Crew | None = None,
    waiting: Waiting | None = None,
    deadline: float | None = None,
) -> StudyResult:
    """Open or create everything that a search works with, and run it."""
    with closing(display), meeting.only_holder(waiting), disk_errors(question.folder):
        question.record_threads(threads=crew.share.threads if crew else None)
        question.record_file()
        store, study = stores.opened_for(question, say=display.say)
        question = range_test.begin(study, question, go_on=stop.raise_if_asked, say=display.say)
        first = champion.begin(study, question, store, say=display.say)
        warm_start.begin(
            study, question, n_warm_trials, storage=stores.storage, before=first, say=display.say
        )
        engine = engine_of(study, question, display)
        known = optimization.run_ids(study)
        with recording(store, question, engine[0], known, display, stores.patience_secs) as run:
            session = Session.of(question, study, engine, run, display, stop, meeting, deadline)
            session.room.tell_of_crew(*((crew.n_here, crew.n_on_ray) if crew else (1,)))
            stop.last_words = session.leave
            handover.begin(session)
            count_settled(session)
            count_confirmed(session)
            complete_runs(session)
            session.begin()
            kept, ceiling = None, Ceiling(ceiling_alone_mb(crew))
            if crew is not None and crew.is_apart:
                supervise(crew, session)
            else:
                kept = run_trials(session, ceiling)
                if crew is not None and ceiling.is_reached:
                    supervise(crew, session, because="this process has grown too large: ")
            end_paused(session)
            with suppress(StoreUnavailable):  # away by now: the answer does not need it
                complete_runs(session)  # other workers may have died
            if (early_end := asking.early_end(session)) is not None:
                display.say(f"ended early: {early_end.in_words()}")
            result = answer(session, session.finished.all(), kept, plan, early_end)
            handover.flush(session)
        session.unwritten.forget(trial_name(trial.number) for trial in result.trials)
        return dataclasses.replace(result, unsent=run.writer.left_behind)


def answer(
    session: Session,
    trials: Sequence[TrialResult],
    kept: training.Kept | None,
    plan: Plan | None,
    early_end: EarlyEnd | None,
) -> StudyResult:
    """Choose the epoch from the best trial's whole curve, refit, and write it all down."""
    spec, question, run = session.spec, session.question, session.run
    handover.fetch_trials(session, trials)
    best = optimization.best(trials, spec)
    if best is None:
        raise NoResult(no_result(trials))
    confirmation = None
    if plan is not None and (found := confirmed(trials, plan, session)):
        best, confirmation = found
    winner = settled(best, kept, session)
    handover.give_winner(session)
    result = concluded(
        question,
        session.study,
        trials,
        winner,
        confirmation,
        run_id=run.run_id,
        run_url=run.url,
        trials_url=run.trials_url,
        ui_command=run.store.ui_command,
        budget_over=session.spending.ended_by,
        early_end=early_end,
    )
    record = write_down(result, session)
    if result.lacks_models:
        result = make_models(result, session, kept)
        record = write_down(result, session)
    handover.drop_snapshots(session)
    if spec.keep_checkpoints:
        checkpoints.keep(result, session, kept)
    if spec.registry is not None:
        result = champion.registered(result, session)
        record = write_down(result, session)
    written = review.illustrated(result, session.study, record, say=session.display.say)
    for file in (result.decision_path, question.winner_file, *written.files):
        run.log_artifact(file)
    metrics, tags = tracking.study_summary(result, written.summary, run.run_id)
    run.log_metrics(metrics)
    run.set_tags(tags)
    return dataclasses.replace(result, report_path=written.page)


def write_down(result: StudyResult, session: Session) -> dict[str, Any]:
    """Write the decision and what is needed to repeat it; return what is needed."""
    question = session.question
    record = {
        "engine": {
            **dataclasses.asdict(session.engine.setup),
            "operation_threads": training.operation_threads(),
            "reason": session.why_engine,
        },
        **question.record,
        "wall_seconds": review.wall_seconds(optimization.spans(session.study)),
        "run_id": session.run.run_id,
        "command": review.typed(sys.argv),
        **tracking.provenance(question.home),
    }
    decision.write(result.decision_path, decision.decision(result, record))
    session.handover.give(result.decision_path)
    return record


def no_result(trials: Sequence[TrialResult]) -> str:
    """Return why there is no answer, in words."""
    if not trials:
        return "the budget ended before the first trial was finished; the same command continues"
    outcomes = ", ".join(f"{n} {label}" for label, n in decision.outcomes(trials).items())
    text = f"no trial has a value: {len(trials)} trial(s), {outcomes}"
    failed = [trial.reason for trial in trials if trial.outcome is Outcome.FAILED]
    return f"{text}; the last failure: {failed[-1]}" if failed else text


def answered(options: argparse.Namespace, facts: dict[str, Any]) -> Ending:
    """Do what the command's options say and return what there is to tell.

    facts: what is known so far goes here, to be told also when this raises
    """
    stores = {"tracking_uri": options.tracking_uri, "storage": options.storage}
    started_in = Path.cwd()  # a study file may go elsewhere
    check_together(options)
    display = Several(display_for(quiet=options.quiet), Logged(), Facts(facts))
    options = with_study_file(options, say=display.say)
    spec = with_options(load_study(options.study), options)
    crew = Crew.of(options, spec, started_in)
    facts["study"] = spec.name
    if options.dry_run:
        rows = cost_of(spec, **stores, crew=crew)
        return Ending(ExitCode.SUCCESS, page(rows), facts={"dry_run": rows})
    if options.range_test:
        swept = range_tested(spec, display)
        return Ending(ExitCode.SUCCESS, range_test.page(swept), facts=range_test.facts(swept))
    stores["store_patience_secs"] = options.store_patience
    if options.nested is not None:
        refereed = nested_search(spec, options.nested, **stores, display=display)
        code = ExitCode.SUCCESS if refereed.determined else ExitCode.UNDETERMINED
        return Ending(code, in_words(refereed))
    result = search(
        spec,
        **stores,
        n_warm_trials=options.warm_start,
        display=display,
        confirm=options.confirm,
        if_running=options.if_running,
        crew=crew,
    )
    return ending_with(result)


def ending_with(result: StudyResult) -> Ending:
    """Return what there is to tell of an answer."""
    code = ExitCode.UNDETERMINED if result.open_end else ExitCode.SUCCESS
    if result.unsent:
        code = ExitCode.STORE_UNAVAILABLE
    decided = json.loads(result.decision_path.read_text(encoding="utf-8"))
    page = result.report_path and str(result.report_path)
    costs = decision.costs_of(result)
    facts = {"decision": decided, "report": page, "run_url": result.run_url, "costs": costs}
    return Ending(code, wording.answer(result), error=result.unsent, facts=facts)


class _CallableModule(ModuleType):
    """`from pipeline import search` may find this module under that name: calling it searches."""

    def __call__(self, spec: StudySpec, **options: Any) -> StudyResult:
        return search(spec, **options)


sys.modules[__name__].__class__ = _CallableModule
