"""The registry's champion: tried first, met again on tonight's splits, replaced where it loses.

A champion's weights have seen rows that are validated on tonight, so what is compared is its
configuration: its parameters, trained for its number of epochs on the folds that all of tonight's
trials had. The winner was chosen on these folds and looks too good for it, so chance must be out of
the question before it takes the champion's place. The two models are compared where there are rows
that neither has used, and that is asked for (`unseen.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import tracking, unseen, wording
from pipeline.curves import FoldCurves
from pipeline.errors import Interrupted, StoreUnavailable, in_one_line
from pipeline.files import json_text
from pipeline.question import Question
from pipeline.registry import Alias, Registered, Registry
from pipeline.results import StudyResult
from pipeline.retry import patiently
from pipeline.session import Session
from pipeline.uncertainty import Interval, difference_interval
from pipeline.warm_start import why_outside

RECORD = "champion"
"""Under which a study keeps which champion it began with: another may take its place meanwhile."""

CHAMPION: Alias = "champion"
CHALLENGER: Alias = "challenger"


def name_of(question: Question) -> str:
    """Return the registered model's name."""
    registry = question.spec.registry
    return (registry and registry.name) or question.spec.name


def begin(
    study: Any, question: Question, store: tracking.Store, *, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the parameters to try first: the champion's, in a study that is new.

    study: Optuna's
    """
    if question.spec.registry is None:
        return []
    if RECORD not in study.user_attrs:
        if study.trials:
            return []
        study.set_user_attr(RECORD, _to_try(question, store, say))
    params = study.user_attrs[RECORD]
    return [params] if params else []


def _to_try(
    question: Question, store: tracking.Store, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return what a trial of the champion's parameters samples; nothing where there is none."""
    name = name_of(question)
    standing = tracking.with_alias(store, name, CHAMPION)
    if standing is None or not standing.answer:
        return {}
    params = standing.answer["params"]
    if reason := why_outside(params, question):
        say(f"{name} version {standing.number}, the champion, is not tried first: {reason}")
        return {}
    say(f"{name} version {standing.number}, the champion, is tried first")
    return {key: params[key] for key in question.spec.sampled_with(params)}


def registered(result: StudyResult, session: Session) -> StudyResult:
    """Register the refit model, once, and give it its alias; the answer stands already.

    Raises StoreUnavailable when the store fails, Interrupted after a signal.
    """
    if result.refit is None:
        return result
    try:
        uri = _address(result.refit.model_uri, session.run)
        if not uri:
            session.display.say("MLflow does not have the model yet: it is not registered")
            return result
        found = _registered(uri, result, session)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"the answer stands ({result.decision_path}), but its model is not registered: "
            f"{error}; the same command does it"
        ) from error
    return dataclasses.replace(result, registered=found)


def _address(model_uri: str, run: tracking.StudyRun) -> str:
    """Return a logged model's address; "" while it waits in a folder for the store."""
    if run.writer.is_away:
        return ""
    if model_uri.startswith("models:/"):
        return model_uri
    return tracking.logged_later(run.store, run.experiment_id, Path(model_uri).name)


def _registered(uri: str, result: StudyResult, session: Session) -> Registered:
    """Return the model's version; judged, registered and given its alias if it is not yet."""
    question, run = session.question, session.run
    store, name = run.store, name_of(question)
    version = tracking.version_of(store, name, uri)
    if version is None:
        alias, reason = judged(result, session, tracking.with_alias(store, name, CHAMPION))
        decision = {"alias": alias, "reason": reason}
        unseen.note_rows(question, run)

        def register() -> tracking.Version:
            # Asked again: an attempt whose answer was lost may have done it.
            return tracking.version_of(store, name, uri) or tracking.register(
                store,
                name,
                uri,
                run_id=run.run_id,
                answer={**_configuration(result), **decision},
                tags=_lineage(result, question),
                description=described(result, question, f"{alias.capitalize()}: {reason}."),
                metrics=tracking.scores_of(result),
                dataset=(question.spec.name, question.data_fingerprint),
            )

        version = patiently(register, patience_secs=run.writer.patience_secs)
    answer = version.answer
    if not version.is_settled:
        tracking.give_alias(store, version, answer["alias"])
    return Registered(name, version.number, answer["alias"], answer["reason"])


def judged(
    result: StudyResult, session: Session, standing: tracking.Version | None
) -> tuple[Alias, str]:
    """Return whether the new answer is the champion or a challenger, and why."""
    if standing is None:
        return CHAMPION, "the first of its name"
    who, answer = f"version {standing.number}", standing.answer
    if not answer:
        return CHALLENGER, f"{who}, the champion, was not registered by a search to compare with"
    registry, why_not = session.spec.registry, ""
    if registry is not None and registry.on == "test":
        try:
            return by_models(result, session, standing)
        except unseen.UntoldError as error:
            why_not = f"; the models are not compared on test rows, since {error}"
    alias, reason = by_configurations(result, session, standing)
    return alias, reason + why_not


def by_models(
    result: StudyResult, session: Session, standing: tracking.Version
) -> tuple[Alias, str]:
    """Return what test rows say that neither model has used.

    Raises UntoldError where they say nothing, StoreUnavailable when the store fails.
    """
    registry = session.spec.registry
    assert registry is not None
    gain, interval, n_rows = unseen.gain(result, session, standing)
    moves, reason = decided(registry, session.spec.objective.metric, gain, interval)
    reason = f"{reason} version {standing.number}, on {n_rows} test rows that neither has used"
    return (CHAMPION if moves else CHALLENGER), reason


def by_configurations(
    result: StudyResult, session: Session, standing: tracking.Version
) -> tuple[Alias, str]:
    """Return what tonight's splits say, on which both configurations are trained."""
    who, answer = f"version {standing.number}", standing.answer
    params, n_epochs = answer["params"], answer["n_epochs"]
    if (params, n_epochs) == (dict(result.best.params), result.choice.n_epochs):
        return CHALLENGER, f"it is of the configuration of {who}, the champion"
    try:
        curves = met_again(params, n_epochs, result, session, say_of=who)
    except (Interrupted, StoreUnavailable):
        raise
    except Exception as error:  # a builder that knows other parameters today, or too little memory
        reason = f"the configuration of {who}, the champion, could not be trained on these splits"
        return CHALLENGER, f"{reason}: {in_one_line(error)}"
    if curves is None:
        return CHAMPION, f"the configuration of {who} diverged on these splits"
    moves, reason = beats(result, curves.contributions_after(n_epochs), session.question)
    return (CHAMPION if moves else CHALLENGER), f"{reason} the configuration of {who}"


def met_again(
    params: Mapping[str, Any], n_epochs: int, result: StudyResult, session: Session, *, say_of: str
) -> FoldCurves | None:
    """Return a configuration's curves on the study's folds; None where they are not finite.

    Those of a trial that trained it for so long; else it is trained. say_of: whose it is
    """
    for trial in (result.best, *result.trials):
        if dict(trial.params) == params and trial.curves and trial.curves.n_epochs >= n_epochs:
            return trial.curves
    session.display.say(f"the configuration of {say_of}, {n_epochs} epochs on these splits …")
    lockstep, name = session.lockstep(params), "champion"
    session.snapshots.restore(name, lockstep)
    while lockstep.n_epochs < n_epochs:
        session.snapshots.keep(name, lockstep, now=bool(session.stop))
        session.stop.raise_if_asked()
        lockstep.advance()
    lockstep.end()
    session.snapshots.drop(name)
    values = lockstep.history(session.spec.objective.metric)
    return session.curves_of(lockstep) if np.isfinite(values).all() else None


def beats(result: StudyResult, scores: np.ndarray, question: Question) -> tuple[bool, str]:
    """Return whether the answer is better by the margin than a configuration, and why, in words.

    scores: what the same folds contribute to the configuration's, [n_folds]
    """
    objective, registry, curves = result.spec.objective, question.spec.registry, result.best.curves
    assert registry is not None
    assert curves is not None
    losses, others = (
        objective.as_loss(each)
        for each in (curves.contributions_after(result.choice.n_epochs), scores)
    )
    interval = difference_interval(
        others,
        losses,
        validation_to_training=question.folds.validation_to_training,
        n_repeats=question.folds.n_repeats,
    )
    return decided(registry, objective.metric, float(np.mean(others - losses)), interval)


def decided(
    registry: Registry, metric: str, gain: float, interval: Interval | None
) -> tuple[bool, str]:
    """Return whether a gain moves the champion, and why, in words.

    interval: of the gain; None, as one fold has it, goes with a margin
    """
    said = f"{metric} {'better' if gain >= 0 else 'worse'} by {abs(gain):.3g}"
    if registry.margin is not None:
        moves = gain > registry.margin
        return moves, f"{said}, {'' if moves else 'not '}more than {registry.margin:g}, than"
    assert interval is not None
    chance = "more than chance" if interval.low > 0 else "which may be chance"
    between = f"{interval.confidence:.0%} interval {interval.low:.3g} to {interval.high:.3g}"
    return interval.low > 0, f"{said}, {chance} ({between}), than"


def described(result: StudyResult, question: Question, decided: str) -> str:
    """Return what a version's page says of it, as Markdown. decided: its alias, and why"""
    choice, objective = result.choice, result.spec.objective
    score = wording.with_error(choice.score, choice.standard_error)
    lines = [
        f"{wording.advice(result)}: {objective.metric} {score}.",
        decided,
        f"Data: {question.spec.name}, {question.data_fingerprint[:12]}, {question.rows}.",
    ]
    if result.refit is not None and result.refit.test_metrics:
        lines.insert(1, f"Test rows: {wording.scores(result.refit.test_metrics)}.")
    return "\n\n".join(lines)


def _configuration(result: StudyResult) -> dict[str, Any]:
    return {
        "params": dict(result.best.params),
        "n_epochs": result.choice.n_epochs,
        "horizon": result.choice.horizon,
        "score": result.choice.score,
        "standard_error": result.choice.standard_error,
    }


def _lineage(result: StudyResult, question: Question) -> dict[str, str]:
    """Return what a version comes from, as tags."""
    return {
        "study": question.spec.name,
        tracking.SIGNATURE_TAG: question.signature,
        "data_fingerprint": question.data_fingerprint,
        "splits_hash": question.folds.hash,
        "source_hash": question.source_hash,
        "spec": json_text(question.spec.described()),
        "trial": str(result.best.number),
        "rule": result.choice.rule,
        **tracking.provenance(question.home),
    }
