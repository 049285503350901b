"""What a search works with, from its first trial to its decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline import optimization, out_of_fold, tracking, training
from pipeline.batch import StopRequest
from pipeline.curves import FoldCurves
from pipeline.errors import StoreUnavailable
from pipeline.meeting import Claims, Meeting
from pipeline.metric_history import MetricHistory
from pipeline.progress import Display
from pipeline.question import Question
from pipeline.results import TrialResult, trial_name
from pipeline.room import Room
from pipeline.schedules import Constant, given, start_times, updates_per_epoch
from pipeline.snapshots import Snapshots
from pipeline.spec import StudySpec
from pipeline.spending import Spending
from pipeline.unwritten import Unwritten

SHARED = "shared"
"""Note on a study: other workers have joined the one that holds it."""


@dataclass(frozen=True, eq=False)
class Session:
    """A question, and everything that is open to answer it.

    study: Optuna's
    engine, why_engine: the engine that the study was created with, and the reason for its mode
    snapshots: of what is being trained, for whoever continues after this process
    unwritten: epochs that MLflow may not have yet
    spending: of the budget
    claims: the trials that this process is at
    handover: of files to nodes that do not share the study's folder
    beside: a thread for what training need not wait for
    finished: the results of all trials that have ended
    climbs: where trials stand that pause, if the study has a strategy
    room: on this worker's device
    """

    question: Question
    study: Any
    engine: training.Engine
    why_engine: str
    run: tracking.StudyRun
    display: Display
    stop: StopRequest
    snapshots: Snapshots
    unwritten: Unwritten
    spending: Spending
    claims: Claims
    handover: tracking.Handover
    finished: optimization.Finished
    beside: Executor
    climbs: optimization.Climbs | None
    room: Room

    @classmethod
    def of(
        cls,
        question: Question,
        study: Any,
        engine: tuple[training.Engine, str],
        run: tracking.StudyRun,
        display: Display,
        stop: StopRequest,
        meeting: Meeting,
        deadline: float | None = None,
    ) -> Session:
        """Return the session of this process, with what it keeps in the study's folder.

        deadline: by the monotonic clock; None is the budget's time from now on
        """
        claims = meeting.claims(study)
        spec, folder, n_folds = question.spec, question.folder, len(question.folds)
        climbs = None
        if (strategy := spec.pausing) is not None:
            climbs = optimization.Climbs(study, spec, strategy, n_folds)
        handover = tracking.Handover(
            None if meeting.shares_folder else run, folder, say=display.say
        )
        return cls(
            question, study, *engine, run, display, stop,
            Snapshots(folder / "snapshots", handover=handover, say=display.say),
            Unwritten(folder / "unwritten"),
            Spending(spec, n_folds, deadline),
            claims,
            handover,
            optimization.Finished(study, spec),
            ThreadPoolExecutor(1, thread_name_prefix="beside"),
            climbs,
            Room(study, spec, claims),
        )  # fmt: skip

    @property
    def spec(self) -> StudySpec:
        """The study."""
        return self.question.spec

    def begin(self) -> None:
        """Tell the display how much there is, and what was done before."""
        trials = (*self.finished.all(), *self.paused())
        self.display.search_started(self.spec, len(self.question.folds), trials)

    def must_stop(
        self, n_fold_epochs: int = 0, n_updates: int = 0, *, answering: bool = False
    ) -> bool:
        """Say whether a signal or the budget ends training after this epoch.

        n_fold_epochs, n_updates: of what is being trained; answering: it is for the answer
        """
        if self.stop:
            return True
        over = self.spending.over(n_fold_epochs, n_updates, answering=answering)
        if over and not answering:
            self.spending.ended_by = over
        return bool(over)

    def must_stop_trial(
        self, proposal: optimization.Proposal, lockstep: training.LockstepTraining
    ) -> bool:
        """Say whether a signal or the budget ends a trial after this epoch.

        What other workers' trials have had by now counts too. Raises TakenOver.
        """
        self.claims.check(proposal.number)
        n_fold_epochs, n_updates = lockstep.n_fold_epochs, lockstep.n_updates
        if before := self.paused_result(proposal.number):  # counted up to where it paused
            more = n_fold_epochs - before.n_fold_epochs, n_updates - before.n_updates
            return self.must_stop(*(max(0, each) for each in more))
        budget, n_others = self.spec.budget, 0
        is_limited = budget.max_fold_epochs is not None or budget.max_updates is not None
        if is_limited and self.climbs is None:  # their steps were counted when this one began
            trials = proposal.trials()
            ended = self.finished.among(trials)
            if len(ended) > self.spending.n_counted:
                self.spending.recount(ended)
            n_others = len(lockstep.states) * optimization.epochs_begun(
                trials, self.spec, but=proposal.number
            )
        n_others_updates = round(n_others * n_updates / n_fold_epochs)
        return self.must_stop(n_fold_epochs + n_others, n_updates + n_others_updates)

    def count(self, *, n_here: int = 0) -> None:
        """Count what was trained by now, by all workers.

        n_here: fold-epochs of that which this process has trained since it last counted
        """
        self.spending.count([*self.finished.all(), *self.paused()], n_here=n_here)

    def paused(self) -> list[TrialResult]:
        """Return the trials that are paused, in order of number."""
        return self.climbs.paused() if self.climbs else []

    def at_rest(self) -> list[TrialResult]:
        """Return those of them that nobody was at when it was left."""
        return self.climbs.at_rest() if self.climbs else []

    def paused_result(self, number: int) -> TrialResult | None:
        """Return what a trial had come to when it paused; None if it is not one that did."""
        return self.climbs.paused_result(number) if self.climbs else None

    @property
    def is_shared(self) -> bool:
        """Whether other workers train the study's trials beside this one, or did once."""
        return self.run.is_joined or SHARED in self.study.user_attrs

    def open_run(
        self, number: int, params: Mapping[str, Any], run_id: str | None
    ) -> tracking.TrialRun:
        """Open a trial's run in MLflow, or its new one.

        run_id: of its run by now. Another worker may have logged in it since this one did.
        """
        if run_id is not None and self.is_shared:
            self.let_go_of_run(run_id)
        return self.run.start_trial(number, params, run_id=run_id)

    def let_go_of_run(self, run_id: str) -> None:
        """Let MLflow have what was logged of a trial: whoever goes on with it asks what it has."""
        with suppress(StoreUnavailable):  # said at the end
            self.run.let_go(run_id)

    def end_run(self, trial: TrialResult) -> None:
        """Let a trial's run have all its epochs, also those of a process that died, and its end."""
        run_id = optimization.run_id_of(self.study, trial.number)
        run = self.run.start_trial(trial.number, trial.params, run_id=run_id)
        for n_epochs, (timestamp_ms, metrics) in self.unwritten.read(
            trial_name(trial.number)
        ).items():
            run.log_epoch(n_epochs, metrics, timestamp_ms=timestamp_ms)
        run.end(trial, self.spec.objective)

    def leave(self) -> None:
        """Leave everything so that the same command continues: for a process that must end now."""
        self.snapshots.keep_current()
        self.run.end("KILLED")

    @contextmanager
    def at(self, proposal: optimization.Proposal) -> Iterator[None]:
        """Train a trial in the block; a process that must end in it has left it on purpose."""
        leave = self.stop.last_words

        def leave_trial() -> None:
            try:
                leave()
            finally:
                proposal.end_attempt()

        self.stop.last_words = leave_trial
        try:
            yield
        finally:
            self.stop.last_words = leave

    def log_epochs(
        self,
        run: tracking.TrialRun,
        lockstep: training.LockstepTraining,
        counts: Iterable[int],
    ) -> None:
        """Log what a training gave after each of these numbers of epochs, unless it was before."""
        names, folds = lockstep.program.metric_names, lockstep.folds
        for n_epochs in counts:
            scores, rate = lockstep.metrics_after(n_epochs), lockstep.learning_rate_in(n_epochs)
            if self._has_all_folds(lockstep):
                weights = self.question.weights
                metrics = tracking.epoch_metrics(names, scores, rate, folds=folds, weights=weights)
            else:
                metrics = tracking.epoch_metrics(names, scores, rate, folds=folds)
                metrics = tracking.alone(metrics, *folds)
            run.log_epoch(n_epochs, metrics)

    def lockstep(
        self, params: Mapping[str, Any], only: Sequence[int] | None = None
    ) -> training.LockstepTraining:
        """Return a trial's training on all folds, before its first epoch.

        only: the folds that are trained, if not all of them are
        Raises BadInput when the model cannot be built or does not fit the data.
        """
        spec, folds = self.spec, self.question.folds
        return training.LockstepTraining(
            self.engine.program(params),
            params,
            folds if only is None else [folds[index] for index in only],
            spec=spec,
            keeps_row_losses=out_of_fold.can_be_kept(spec, folds, int(params["max_epochs"])),
        )

    def learning_rate_in(
        self, n_epochs: int, params: Mapping[str, Any], curves: FoldCurves
    ) -> float:
        """Return the learning rate of an epoch's last update, in the first fold, of a curve.

        Of a schedule that does not depend on its horizon.
        """
        schedule = given(self.spec.schedule_of(params) or Constant(), curves.losses[: n_epochs - 1])
        n_rows = len(self.question.folds[0].train)
        times = start_times(n_epochs - 1, updates_per_epoch(n_rows, int(params["batch_size"])))
        rates = schedule.learning_rates(params["learning_rate"], times, int(params["max_epochs"]))
        return float(rates[-1])

    def curves_of(self, lockstep: training.LockstepTraining) -> FoldCurves:
        """Return the monitored metric's curves so far, as long as all folds' are finite."""
        objective = self.spec.objective
        values = lockstep.history(objective.metric)
        finite = np.logical_and.accumulate(np.isfinite(values).all(axis=0))
        n_repeats, weights = self.question.folds.n_repeats, self.question.weights
        if not self._has_all_folds(lockstep):
            n_repeats, weights = 1, None
        return FoldCurves(values[:, finite], objective, lockstep.folds, n_repeats, weights)

    def metrics_of(self, lockstep: training.LockstepTraining) -> MetricHistory:
        """Return all metrics of a training so far, one epoch or more."""
        counts = range(1, lockstep.n_epochs + 1)
        values = np.stack([lockstep.metrics_after(n) for n in counts], axis=1)
        return MetricHistory(lockstep.program.metric_names, values)

    def _has_all_folds(self, lockstep: training.LockstepTraining) -> bool:
        return len(lockstep.folds) == len(self.question.folds)


def engine_of(study: Any, question: Question, display: Display) -> tuple[training.Engine, str]:
    """Return the engine that was recorded when the study was created, chosen if it is new."""
    spec, rows, folds = question.spec, question.development, question.folds
    record = study.user_attrs.get("engine")
    if record is not None:
        setup = training.Setup.of(record)
        return training.engine_for(setup, spec, rows, folds, say=display.say), record["reason"]
    engine, reason = (
        training.chosen_engine(spec, rows, folds, say=display.say)
        if (found := question.found) is None
        else (training.engine_for(found.setup, spec, rows, folds, say=display.say), found.reason)
    )
    study.set_user_attr("engine", {**asdict(engine.setup), "reason": reason})
    display.say(f"engine {engine.setup}: {reason}")
    return engine, reason
