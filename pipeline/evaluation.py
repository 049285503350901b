"""One proposal, evaluated: its folds trained in lockstep until it ends, or pauses on a rung."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from pipeline import handover, metric_history, optimization, out_of_fold, tracking, training
from pipeline.curves import FoldCurves
from pipeline.errors import StoreUnavailable, TakenOver, in_one_line
from pipeline.paused import drop_states_of_the_last
from pipeline.results import Outcome, TrialResult, trial_name
from pipeline.session import Session
from pipeline.trial_log import TrialLog

MAX_DEATHS = 2
"""Processes that may die at one trial without getting it any further: more would, for ever."""


def evaluate(
    proposal: optimization.Proposal, session: Session
) -> tuple[TrialResult, training.Kept | None]:
    """Train a proposal in its MLflow run and tell Optuna what became of it.

    Returns the result, and the states of its folds where its mean is best. Raises TakenOver when
    another worker has the trial by now.
    """
    try:
        return _evaluated(proposal, session)
    finally:
        session.snapshots.let_go()
        session.claims.release(proposal.number)


def _evaluated(
    proposal: optimization.Proposal, session: Session
) -> tuple[TrialResult, training.Kept | None]:
    log = TrialLog(proposal, session)
    session.display.trial_started(proposal.number, proposal.params)
    start = time.perf_counter()
    name, before = trial_name(proposal.number), session.paused_result(proposal.number)
    if proposal.begin_attempt(*session.snapshots.trained(name)) >= MAX_DEATHS:
        trial = Training().ended(
            Outcome.FAILED,
            f"{MAX_DEATHS} processes in a row died while they trained this trial, without getting "
            "it any further: is its memory enough?",
        )
    elif too_large := session.room.lacks(proposal.params):
        trial = Training().ended(Outcome.FAILED, too_large)
    else:
        # Callbacks know their horizon, and may make something of it.
        may_repeat = session.climbs is None and session.spec.callbacks is None
        known = longer_trial(proposal, session) if may_repeat else None
        with session.at(proposal):
            trial = (
                train(proposal, session, log, name)
                if known is None
                else repeat(*known, proposal, session, log.opened())
            )
    run = log.opened()
    result = TrialResult(
        number=proposal.number,
        params=proposal.params,
        outcome=trial.outcome,
        curves=trial.curves,
        seconds=time.perf_counter() - start + (before.seconds if before else 0.0),
        n_updates=trial.n_updates,
        reason=trial.reason,
        horizon_free=trial.horizon_free,
        any_epoch=trial.any_epoch,
        training=trial.training_mean,
        diverged=trial.diverged,
        prefix_of=trial.prefix_of,
    )
    session.claims.check(proposal.number, now=True)
    if result.outcome is not Outcome.INTERRUPTED:
        session.unwritten.keep(name, run.epochs)
    if result.value is not None:
        out_of_fold.keep(session.question, result, trial.row_losses)
        metric_history.keep(session.question, result.number, trial.metrics)
    if result.outcome is not Outcome.INTERRUPTED:
        handover.give_trial(session, result)
    if result.outcome is Outcome.PAUSED:
        proposal.end_attempt()
        proposal.pause(result)
        drop_states_of_the_last(session)
    else:
        proposal.tell(result)
    if result.outcome not in (Outcome.INTERRUPTED, Outcome.PAUSED):
        session.snapshots.drop(name)
    run.end(result, session.spec.objective)
    if result.outcome is Outcome.INTERRUPTED or (
        result.outcome is Outcome.PAUSED and session.is_shared
    ):
        session.let_go_of_run(run.run_id)
    session.display.trial_ended(result)
    return result, trial.kept


@dataclass(frozen=True)
class Leg:
    """How far a proposal is trained now.

    folds: their numbers; None is all of them
    until: the number of epochs at which it pauses; None is its end
    """

    folds: tuple[int, ...] | None = None
    until: int | None = None

    @classmethod
    def of(cls, proposal: optimization.Proposal, session: Session) -> Leg:
        """Return the leg up to the proposal's rung: on the lower ones it is of one fold."""
        if session.climbs is None or (rung := proposal.rung) is None:
            return cls()
        strategy = session.climbs.strategy
        folds = None if strategy.is_of_all_folds(rung) else (strategy.fold,)
        is_last = rung == len(strategy.rungs)
        horizon = int(proposal.params["max_epochs"])
        return cls(folds, None if is_last else strategy.n_epochs(rung, horizon))

    def is_over(self, n_epochs: int) -> bool:
        """Whether it pauses after so many epochs."""
        return self.until is not None and n_epochs >= self.until


@dataclass
class Training:
    """What a trial's training has come to."""

    outcome: Outcome = Outcome.COMPLETED
    reason: str = ""
    curves: FoldCurves | None = None
    training_mean: np.ndarray | None = None
    row_losses: list[np.ndarray] | None = None
    metrics: metric_history.MetricHistory | None = None
    n_updates: int = 0
    horizon_free: bool = True
    any_epoch: bool = True
    diverged: bool = False
    prefix_of: int | None = None
    kept: training.Kept | None = None

    def take(self, lockstep: training.LockstepTraining, session: Session) -> FoldCurves:
        """Take what the folds have come to together; return the curves."""
        curves = self.curves = session.curves_of(lockstep)
        self.n_updates = lockstep.n_updates
        self.training_mean = lockstep.training_mean()
        return curves

    def ended(self, outcome: Outcome, reason: str) -> Training:
        """Return this with how it ended."""
        self.outcome, self.reason = outcome, reason
        return self


def train(proposal: optimization.Proposal, session: Session, log: TrialLog, name: str) -> Training:
    """Train one proposal in lockstep until it ends or pauses, from its last snapshot on.

    name: of its snapshots
    """
    trial, leg = Training(), Leg.of(proposal, session)
    try:
        lockstep = session.lockstep(proposal.params, leg.folds)
        trial.horizon_free = lockstep.horizon_free
        trial.any_epoch = lockstep.horizon_free or session.spec.choose_within_schedule
        if session.snapshots.restore(name, lockstep):
            how = "from its snapshot; folds that are behind catch up"
            if lockstep.is_level:
                how = f"after epoch {lockstep.n_epochs}, from its snapshot"
            session.display.say(f"trial {proposal.number} goes on {how}")
            log.log(lockstep)
        if lockstep.n_epochs:
            trial.take(lockstep, session)
            assert trial.curves is not None
            proposal.report_again(trial.curves.mean, horizon_free=trial.horizon_free)
    except (StoreUnavailable, TakenOver):
        raise
    except Exception as error:  # a proposal may ask for a model that cannot be: others can
        return trial.ended(Outcome.FAILED, in_one_line(error))
    n_before = lockstep.n_epochs
    if n_before and session.must_stop_trial(proposal, lockstep):
        proposal.end_attempt()
        return trial.ended(Outcome.INTERRUPTED, f"interrupted after epoch {n_before}")
    if leg.is_over(n_before):  # of a short horizon two rungs may be one
        return trial.ended(Outcome.PAUSED, f"paused after epoch {n_before}")
    with lockstep.running_ahead():
        trial = train_on(proposal, session, log, name, lockstep, trial, leg)
    try:
        lockstep.end()
    except Exception as error:  # of a callback
        if trial.outcome is not Outcome.FAILED:
            trial.ended(Outcome.FAILED, in_one_line(error))
    return trial


def train_on(
    proposal: optimization.Proposal,
    session: Session,
    log: TrialLog,
    name: str,
    lockstep: training.LockstepTraining,
    trial: Training,
    leg: Leg,
) -> Training:
    """Train epoch after epoch until the trial ends, or its leg."""
    objective = session.spec.objective
    names = lockstep.program.metric_names
    watched = [names.index(metric) for metric in ("loss", objective.metric)]
    while True:
        try:
            scores = lockstep.advance()
        except Exception as error:  # out of memory, most often
            return trial.ended(Outcome.FAILED, in_one_line(error))
        n_epochs, trial.n_updates = lockstep.n_epochs, lockstep.n_updates
        log.log(lockstep)
        if not np.isfinite(scores[:, watched]).all():
            trial.diverged = True
            is_loss = not np.isfinite(scores[:, watched[0]]).all()
            what = "the loss" if is_loss else objective.metric
            reason = f"diverged: {what} is not finite after epoch {n_epochs}"
            return trial.ended(Outcome.FAILED, reason)
        curves = trial.take(lockstep, session)
        mean = curves.mean_after(n_epochs)
        session.display.epoch_ended(proposal.number, n_epochs, mean)
        is_last = n_epochs == lockstep.horizon
        is_best = curves.best_n_epochs == n_epochs if trial.any_epoch else is_last
        if is_best and leg.until is None and lockstep.is_level:
            trial.kept = training.Kept(proposal.params, lockstep.snapshot())
        if is_over(trial, proposal, session, leg, is_last=is_last):
            if trial.outcome is Outcome.PAUSED:
                session.snapshots.keep(name, lockstep, now=True)
            if trial.outcome.has_value:
                trial.row_losses = lockstep.row_losses()
                trial.metrics = session.metrics_of(lockstep)
            return trial
        must_stop = session.must_stop_trial(proposal, lockstep)
        session.snapshots.keep(name, lockstep, now=must_stop)
        if must_stop:
            proposal.end_attempt()
            return trial.ended(Outcome.INTERRUPTED, f"interrupted after epoch {n_epochs}")


def is_over(
    trial: Training, proposal: optimization.Proposal, session: Session, leg: Leg, *, is_last: bool
) -> bool:
    """Report the mean after the last epoch; say whether the trial ends with it, and note how.

    One fold does not end a trial: it may only pause.
    """
    spec, curves = session.spec, trial.curves
    assert curves is not None
    n_epochs = curves.n_epochs
    mean = curves.mean_after(n_epochs)
    if proposal.report(n_epochs, mean, horizon_free=trial.horizon_free):
        trial.ended(Outcome.PRUNED, f"worse than the others after epoch {n_epochs}")
    elif leg.is_over(n_epochs):
        trial.ended(Outcome.PAUSED, f"paused after epoch {n_epochs}")
    elif leg.until is not None:
        return False
    elif is_last:
        trial.ended(Outcome.COMPLETED, f"trained {n_epochs} epochs")
    elif trial.any_epoch and spec.early_stopping and spec.early_stopping.should_stop(curves):
        patience = spec.early_stopping.patience
        reason = f"no better for {patience} epochs after {n_epochs}"
        trial.ended(Outcome.STOPPED_EARLY, reason)
    else:
        return False
    return True


def longer_trial(
    proposal: optimization.Proposal, session: Session
) -> tuple[TrialResult, metric_history.MetricHistory] | None:
    """Return an earlier trial whose epochs begin with all epochs of this one, and their metrics.

    It has the same parameters but for max_epochs, a schedule that does not depend on it, and a
    builder that makes nothing of it either. None if there is no such trial.
    """
    horizon = int(proposal.params["max_epochs"])
    for trial in session.finished.all():
        if trial.number >= proposal.number or trial.value is None or not trial.horizon_free:
            continue
        if {**trial.params, "max_epochs": horizon} != proposal.params or trial.curves is None:
            continue
        # One that was stopped early would be so again, at the same epoch.
        reaches = trial.curves.n_epochs >= horizon or trial.outcome is Outcome.STOPPED_EARLY
        if reaches and session.engine.is_same_program(trial.params, proposal.params):
            handover.fetch_trials(session, [trial])
            metrics = metric_history.of_trial(session.question, trial.number)
            if metrics is not None:
                return trial, metrics
    return None


def repeat(
    longer: TrialResult,
    history: metric_history.MetricHistory,
    proposal: optimization.Proposal,
    session: Session,
    run: tracking.TrialRun,
) -> Training:
    """Let a trial run along the beginning of a longer one's epochs: training is repeatable.

    history: of the longer one
    """
    horizon = int(proposal.params["max_epochs"])
    trial, curves = Training(prefix_of=longer.number), longer.curves
    assert curves is not None
    for n_epochs in range(1, min(horizon, curves.n_epochs) + 1):
        trial.curves = curves.until(n_epochs)
        rate = session.learning_rate_in(n_epochs, proposal.params, trial.curves)
        metrics = tracking.epoch_metrics(
            history.names, history.after(n_epochs), rate, weights=trial.curves.weights
        )
        run.log_epoch(n_epochs, metrics)
        session.display.epoch_ended(proposal.number, n_epochs, trial.curves.mean_after(n_epochs))
        if is_over(trial, proposal, session, Leg(), is_last=n_epochs == horizon):
            break
    trial.reason += f"; they are the first of trial {longer.number}, and were not trained again"
    n_epochs = trial.curves.n_epochs if trial.curves else 0
    trial.metrics = history.until(n_epochs)
    if longer.training is not None:
        trial.training_mean = longer.training[:n_epochs]
    losses = out_of_fold.of_trial(session.question, longer)
    trial.row_losses = None if losses is None else [each[:, :n_epochs] for each in losses]
    return trial
