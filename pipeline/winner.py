"""The best trial, trained on until its curve can carry the answer.

A search stops trials early, and a rule that reads a curve cut short reads the cut. So the best
trial is first trained on, unstopped. Then the right edge is looked at, by the kind of its schedule:

- Horizon-free: when the chosen epoch, or any that cannot be told from the best, lies at the end of
  the curve, training goes on, up to three times the horizon, or to the end of a function that has
  rates for so many epochs: what comes after it was not asked.
- Laid out for its horizon: an earlier epoch of it is another schedule, so the question is whether
  the *range* of horizons ended too soon. When the best horizon lies at its upper end, longer ones
  are trained afresh until one is no better. One that may be cut at any epoch ends at its horizon
  all the same: past it there is no such schedule.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline import evidence, metric_history, optimization, out_of_fold, tracking, training
from pipeline.choice import EpochChoice
from pipeline.errors import BadInput, StoreUnavailable, unexpected_errors
from pipeline.files import write_whole
from pipeline.metric_history import MetricHistory
from pipeline.question import Question
from pipeline.results import Outcome, TrialResult
from pipeline.session import Session
from pipeline.space import values
from pipeline.spec import MAX_EXTENSION, StudySpec

STEP = 0.5
"""Share of the horizon that is added at a time."""

FORMAT = 2
"""Of `winner.json`; one of another format is not read, and the winner is settled anew."""

UPPER_END = 0.9
"""Share of the range of horizons from which on the best one lies at its upper end."""


@dataclass(frozen=True, eq=False)
class Winner:
    """The best trial with its whole curve.

    row_losses: each fold's validation losses row by row, [n_validation_rows, n_epochs]; None where
        they are not known, or only the last epoch may be chosen
    metrics: of its epochs; None where they are not known
    n_fold_epochs, n_updates: what was trained for it beyond the search's trials
    open_end: why more epochs than were trained may be better, in words; "" when they are not
    cut: whether the budget ended before that was settled
    diverged: whether training went no further because its loss was no longer finite
    """

    trial: TrialResult
    row_losses: list[np.ndarray] | None
    metrics: MetricHistory | None
    n_fold_epochs: int
    n_updates: int
    open_end: str = ""
    cut: bool = False
    diverged: bool = False


def chosen(spec: StudySpec, trial: TrialResult) -> EpochChoice:
    """Return the rule's choice on a trial's curves; the last epoch where no other may be chosen.

    Raises BadInput when the curves cannot support the rule.
    """
    assert trial.curves is not None  # only a trial with a value is chosen from
    n_epochs = trial.curves.n_epochs
    if trial.any_epoch:
        return spec.rule.choose(trial.curves, trial.horizon)
    return EpochChoice.at(
        n_epochs, trial.curves, trial.horizon, rule="whole-schedule",
        reason=f"the schedule is laid out for {trial.horizon} epochs: stopped before its end it "
        "is another schedule",
    )  # fmt: skip


def settled(best: TrialResult, kept: training.Kept | None, session: Session) -> Winner:
    """Return the best trial with a curve that no rule reads cut short.

    What an earlier session settled is read, not trained again.
    Raises Interrupted after a signal.
    """
    winner = saved(session.question, best)
    if winner is None or winner.cut or _can_go_on(winner, best, session.question):
        session.spending.count_besides("winner", 0, 0)  # counted from its beginning, as it goes on
        if best.any_epoch:
            winner = _trained_on(best, kept, session)
        else:
            winner = _with_longer_schedules(best, session)
        session.spending.count_besides("winner", winner.n_fold_epochs, winner.n_updates)
        with suppress(StoreUnavailable):  # said at the end, when all else is done
            session.run.flush()
        # What is settled is not trained again: by now its epochs are in MLflow.
        _save(winner, best, session.question)
    name = f"winner_{best.number:03d}"
    session.snapshots.drop_all("winner_", but=name if winner.cut else None)
    return winner


def _trained_on(best: TrialResult, kept: training.Kept | None, session: Session) -> Winner:
    """Train the best trial to its horizon, and past it while its end is open."""
    lockstep, name = session.lockstep(best.params), f"winner_{best.number:03d}"
    if not session.snapshots.restore(name, lockstep):
        training.restore(lockstep, kept)
    target = best.horizon
    session.display.say(f"trial {best.number} goes on, unstopped, to its horizon of {target} …")
    run_id = optimization.run_id_of(session.study, best.number)
    n_logged = best.curves.n_epochs if best.curves else 0
    run = session.run.start_trial(best.number, best.params, run_id=run_id, n_logged=n_logged)
    while True:
        outcome = _advance(lockstep, target, run, session, name, n_counted=best.n_fold_epochs)
        trial = _as_trained(best, lockstep, session)
        if trial.n_fold_epochs < best.n_fold_epochs:  # stopped before it was where it had been
            trial = best
        why_open = open_end(trial, session.question)
        limit = _limit(best, session.spec)
        if outcome is not Outcome.COMPLETED or not why_open or target >= limit:
            break
        target = min(limit, target + math.ceil(STEP * best.horizon))
        session.display.say(f"{why_open}: on to {target} epochs …")
    lockstep.end()
    run.end(trial, session.spec.objective)
    session.stop.raise_if_asked()
    assert trial.curves is not None
    assert best.curves is not None
    training.say_if_not_repeated(best.curves, trial.curves.values, say=session.display.say)
    winner = Winner(
        trial,
        out_of_fold.of_trial(session.question, best)
        if trial is best
        else out_of_fold.as_in(trial.curves, lockstep.row_losses()),
        metric_history.of_trial(session.question, best.number)
        if trial is best
        else session.metrics_of(lockstep),
        n_fold_epochs=trial.n_fold_epochs - best.n_fold_epochs,
        n_updates=trial.n_updates - best.n_updates,
        diverged=outcome is Outcome.FAILED,
    )
    if winner.diverged:
        return winner
    if outcome is Outcome.INTERRUPTED:
        # Also where the end looks closed: the horizon was not reached.
        why_open = f"{why_open}, and the budget is spent" if why_open else ""
        return replace(winner, open_end=why_open, cut=True)
    if not why_open:
        return winner
    is_open = _last_is_chosen(trial, session.spec) and (
        not session.spec.schedule_is_over(trial.params, trial.curves.n_epochs)
        if trial.horizon_free
        else _at_upper_end(trial, session.spec)
    )
    return replace(winner, open_end=why_open if is_open else "")


def _with_longer_schedules(best: TrialResult, session: Session) -> Winner:
    """Train longer horizons afresh while the best one lies at the range's upper end."""
    winner, n_fold_epochs, n_updates = best, 0, 0
    metrics = metric_history.of_trial(session.question, best.number)
    limit = MAX_EXTENSION * best.horizon
    while _at_upper_end(winner, session.spec):
        why_open = (
            f"the best horizon, {winner.horizon} epochs, lies at the upper end of those searched"
        )
        if winner.horizon >= limit:
            return Winner(winner, None, metrics, n_fold_epochs, n_updates, why_open)
        if session.spending.over(n_fold_epochs, n_updates, answering=True):
            why_open += ", and the budget is spent"
            return Winner(winner, None, metrics, n_fold_epochs, n_updates, why_open, cut=True)
        horizon = min(limit, winner.horizon + math.ceil(STEP * winner.horizon))
        session.display.say(f"{why_open}: a schedule of {horizon} is trained afresh …")
        lockstep = session.lockstep({**best.params, "max_epochs": horizon})
        name = f"winner_{best.number:03d}_{horizon}_epochs"
        session.snapshots.restore(name, lockstep)
        run = session.run.start_trial(best.number, lockstep.params, variant=f"{horizon} epochs")
        outcome = _advance(lockstep, horizon, run, session, name, n_besides=n_fold_epochs)
        lockstep.end()
        n_fold_epochs += lockstep.n_epochs * len(session.question.folds)
        n_updates += lockstep.n_updates
        longer = replace(_as_trained(best, lockstep, session), outcome=outcome)
        run.end(longer, session.spec.objective)
        session.stop.raise_if_asked()
        if outcome is Outcome.INTERRUPTED:
            continue  # the time is over: see above
        if not _is_better(longer, winner, session.spec):
            break
        winner, metrics = longer, session.metrics_of(lockstep)
    return Winner(winner, None, metrics, n_fold_epochs, n_updates)


def open_end(trial: TrialResult, question: Question) -> str:
    """Return why epochs beyond those trained may be better, in words; "" when they are not."""
    curves = trial.curves
    assert curves is not None
    n_epochs = curves.n_epochs
    try:
        choice = chosen(question.spec, trial)
    except BadInput as reason:  # a count that is still to be trained
        return str(reason)
    if n_epochs in (choice.n_epochs, curves.best_n_epochs):
        return f"the best epoch is the last one trained, {n_epochs}"
    if n_epochs in evidence.equivalent_epochs(curves):
        return f"the last epoch trained, {n_epochs}, cannot be told from the best"
    return ""


def count_settled(session: Session) -> None:
    """Count as spent what an earlier session trained for the winner."""
    if plain := _read(session.question):
        session.spending.count_besides("winner", plain["n_fold_epochs"], plain["n_updates"])


def saved(question: Question, best: TrialResult) -> Winner | None:
    """Return what was settled about this best trial in an earlier session, or None."""
    plain = _read(question)
    if plain.get("of") != [best.number, dict(best.params)]:
        return None
    trial = TrialResult.of_plain(best.number, plain["params"], plain["trial"], question.spec)
    names = ("n_fold_epochs", "n_updates", "open_end", "cut", "diverged")
    fields = {name: plain[name] for name in names}
    rows, metrics = out_of_fold.of_winner(question), metric_history.of_winner(question)
    return Winner(trial, rows, metrics, **fields)


def _read(question: Question) -> dict[str, Any]:
    """Return what `_save` wrote of the last winner; nothing where it did not, or otherwise."""
    path = question.winner_file
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return plain if plain.get("format") == FORMAT else {}


def _save(winner: Winner, best: TrialResult, question: Question) -> None:
    out_of_fold.keep_winner(question, winner.row_losses)
    metric_history.keep_winner(question, winner.metrics)
    plain = {
        "format": FORMAT,
        "of": [best.number, dict(best.params)],
        "params": dict(winner.trial.params),
        "trial": winner.trial.as_plain(),
        "n_fold_epochs": winner.n_fold_epochs,
        "n_updates": winner.n_updates,
        "open_end": winner.open_end,
        "cut": winner.cut,
        "diverged": winner.diverged,
    }
    write_whole(question.winner_file, json.dumps(plain).encode())


def _advance(
    lockstep: training.LockstepTraining,
    target: int,
    run: tracking.TrialRun,
    session: Session,
    name: str,
    *,
    n_counted: int = 0,
    n_besides: int = 0,
) -> Outcome:
    """Train to `target` epochs unless the loss diverges, a signal comes or the budget is over.

    name: of the snapshots
    n_counted: fold-epochs of this training that were counted as the search's
    n_besides: fold-epochs that were trained for the winner besides
    """
    names = lockstep.program.metric_names
    watched = [names.index(metric) for metric in ("loss", session.spec.objective.metric)]
    n_folds, n_before = len(lockstep.states), lockstep.n_epochs
    session.log_epochs(run, lockstep, range(1, n_before + 1))
    n_not_new = min(n_before * n_folds, n_counted)
    while lockstep.n_epochs < target:
        n_trained = lockstep.n_epochs * n_folds
        n_fold_epochs = n_trained - n_not_new + n_besides
        n_updates = round(n_fold_epochs * lockstep.n_updates / max(n_trained, 1))
        if session.must_stop(n_fold_epochs, n_updates, answering=True):
            session.snapshots.keep(name, lockstep, now=True)
            return Outcome.INTERRUPTED
        stands = "its trials stand, and the same command tries again"
        with unexpected_errors(f"the best trial could not be trained on ({stands})"):
            scores = lockstep.advance()
        session.log_epochs(run, lockstep, [lockstep.n_epochs])
        if not np.isfinite(scores[:, watched]).all():
            return Outcome.FAILED
        session.snapshots.keep(name, lockstep)
    return Outcome.COMPLETED


def _as_trained(
    best: TrialResult, lockstep: training.LockstepTraining, session: Session
) -> TrialResult:
    """Return the best trial as it is now trained; its curves end where they are finite.

    Without curves, and interrupted, when a signal or the budget came before the first epoch.
    """
    if not lockstep.n_epochs:
        nothing = replace(best, outcome=Outcome.INTERRUPTED, curves=None, training=None)
        return replace(nothing, params=lockstep.params, n_updates=0)
    curves = session.curves_of(lockstep)
    on_training = lockstep.training_mean()
    return replace(
        best,
        params=lockstep.params,
        curves=curves,
        n_updates=lockstep.n_updates,
        reason=f"{best.reason}; as the best trial, trained on to {lockstep.n_epochs} epochs",
        training=None if on_training is None else on_training[: curves.n_epochs],
    )


def _can_go_on(winner: Winner, best: TrialResult, question: Question) -> bool:
    """Whether the rule, which may have changed, leaves open what training could settle."""
    curves = winner.trial.curves
    if not best.any_epoch or winner.diverged or curves is None:
        return False
    return bool(open_end(winner.trial, question)) and curves.n_epochs < _limit(best, question.spec)


def _limit(best: TrialResult, spec: StudySpec) -> int:
    if not best.horizon_free:
        return best.horizon
    return spec.n_epochs_given(best.params, max(MAX_EXTENSION * best.horizon, spec.longest_horizon))


def _last_is_chosen(trial: TrialResult, spec: StudySpec) -> bool:
    assert trial.curves is not None
    return trial.curves.n_epochs in (chosen(spec, trial).n_epochs, trial.curves.best_n_epochs)


def _at_upper_end(trial: TrialResult, spec: StudySpec) -> bool:
    """Whether the trial's horizon lies at the upper end of a range, or beyond it."""
    dimension = spec.space["max_epochs"]
    low, high = min(values(dimension)), max(values(dimension))
    return low < high and trial.horizon >= low + UPPER_END * (high - low)


def _is_better(a: TrialResult, b: TrialResult, spec: StudySpec) -> bool:
    return a.value is not None and b.value is not None and spec.objective.better(a.value, b.value)
