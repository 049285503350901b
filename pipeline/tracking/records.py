"""What is logged, as plain values; nothing here knows MLflow."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from pipeline.curves import contributions
from pipeline.objective import Objective
from pipeline.results import Outcome, TrialResult

RunStatus = Literal["FINISHED", "FAILED", "KILLED", "SCHEDULED"]

# MLflow shows a metric's value at its largest step. A resumed trial may end at an earlier epoch
# than it was interrupted at, so all summaries are at one step, and the last written is shown.
SUMMARY_STEP = 0

MAX_PARAM_CHARACTERS = 6000

EPOCH_MARK = "learning_rate"
"""The metric that every epoch has, and its last: where it is stored, the whole epoch is."""


def epoch_metrics(
    metric_names: Sequence[str],
    values: np.ndarray,
    learning_rate: float,
    *,
    folds: Sequence[int] | None = None,
    weights: np.ndarray | None = None,
) -> dict[str, float]:
    """Return what is logged after one epoch: every fold's metrics, their mean, its error.

    metric_names: [n_metrics], as in Keras's logs
    values: [n_folds, n_metrics] after the epoch; those that are not finite become NaN
    learning_rate: of the epoch's last update
    folds: [n_folds], which of the study's folds the rows are; the first ones by default
    weights: [n_folds], how much they count in the mean; None: alike
    Raises ValueError when the shapes disagree.
    """
    values = np.asarray(values, dtype=np.float64)
    folds = range(len(values)) if folds is None else folds
    if values.shape != (len(folds), len(metric_names)) or not len(folds):
        raise ValueError(
            f"values must be [{len(folds)} folds, {len(metric_names)} metrics] with at least one "
            f"fold, got shape {values.shape}"
        )
    # MLflow stores infinity as 1.8e308, which no chart survives.
    values = np.where(np.isfinite(values), values, np.nan)
    keys = [storable_key(name) for name in metric_names]
    metrics = {
        f"{_of_fold(fold)}{key}": float(value)
        for fold, row in zip(folds, values, strict=True)
        for key, value in zip(keys, row, strict=True)
    }
    for key, column in zip(keys, contributions(values, weights).T, strict=True):
        metrics[f"{key}_mean"] = float(column.mean())
        if len(folds) > 1:
            metrics[f"{key}_standard_error"] = float(column.std(ddof=1) / math.sqrt(len(folds)))
    metrics[EPOCH_MARK] = storable_value(learning_rate)
    return metrics


def alone(metrics: Mapping[str, float], fold: int) -> dict[str, float]:
    """Return of an epoch's metrics what belongs to one fold, trained before there are others.

    There is no mean yet. Its mark is its own, so that the whole epoch may come later.
    """
    own = {key: value for key, value in metrics.items() if key.startswith(_of_fold(fold))}
    return {**own, mark_of(fold): metrics[EPOCH_MARK]}


def without_fold(metrics: Mapping[str, float], fold: int) -> dict[str, float]:
    """Return of an epoch's metrics those that do not belong to one fold."""
    return {key: value for key, value in metrics.items() if not key.startswith(_of_fold(fold))}


def mark_of(fold: int) -> str:
    """Return the metric that every epoch has which a fold trained alone, as its last."""
    return f"{_of_fold(fold)}{EPOCH_MARK}"


def fold_alone(metrics: Mapping[str, float]) -> int | None:
    """Return the fold that `alone` was given; None where the epoch is whole."""
    if EPOCH_MARK in metrics:
        return None
    marked = (
        key.removesuffix(f"/{EPOCH_MARK}") for key in metrics if key.endswith(f"/{EPOCH_MARK}")
    )
    return next((int(fold.removeprefix("fold_")) for fold in marked), None)


def _of_fold(fold: int) -> str:
    return f"fold_{fold}/"


def trial_summary(
    result: TrialResult, objective: Objective
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the metrics and tags that say how a trial ended.

    Only a trial with a value has `best_…`; what was trained is said of every one.
    """
    curves = result.curves
    metrics: dict[str, float] = {}
    n_epochs = result.best_n_epochs
    if result.value is not None and curves is not None and n_epochs is not None:
        key = storable_key(objective.metric)
        metrics[f"best_{key}"] = result.value
        metrics["best_n_epochs"] = n_epochs
        standard_error = curves.standard_error_after(n_epochs)
        if standard_error is not None:
            metrics[f"best_{key}_standard_error"] = standard_error
    metrics |= {
        "trained_epochs": 0 if curves is None else curves.n_epochs,
        "fold_epochs": result.n_fold_epochs,
        "updates": result.n_updates,
        "seconds": result.seconds,
    }
    tags = {
        "trial": str(result.number),
        "outcome": result.outcome.label,
        "reason": result.reason or result.outcome.value,
    }
    if result.diagnosis is not None:
        tags["diagnosis"] = result.diagnosis.kind.label
    return {key: storable_value(value) for key, value in metrics.items()}, tags


def status_of(outcome: Outcome) -> RunStatus:
    """Return MLflow's word for an outcome: a pruned trial did what it should."""
    match outcome:
        case Outcome.FAILED:
            return "FAILED"
        case Outcome.INTERRUPTED:
            return "KILLED"
        case Outcome.PAUSED:
            return "SCHEDULED"
        case _:
            return "FINISHED"


def storable_value(value: float) -> float:
    """Return `value` as a float, NaN in place of ±infinity."""
    return float(value) if math.isfinite(value) else math.nan


def storable_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return metrics with values that MLflow stores as they are."""
    return {key: storable_value(value) for key, value in metrics.items()}


def storable_key(name: str) -> str:
    """Return a metric's or parameter's name with '_' for every character that MLflow refuses."""
    return re.sub(r"[^\w.\- ]", "_", name)


def storable_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as MLflow takes them: names and texts."""
    return {
        storable_key(name): storable_text(str(value), MAX_PARAM_CHARACTERS)
        for name, value in params.items()
    }


def storable_text(text: str, limit: int) -> str:
    """Return `text` in at most `limit` characters, its cut shown."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def digest_of(fingerprint: str) -> str:
    """Return what of a data set's fingerprint MLflow is given: its digests are short."""
    return fingerprint[:12]


def changed_params(logged: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a continued run whose value is no longer what was logged.

    A budget may differ from one session to the next, and MLflow refuses to change a parameter.
    """
    return {
        name: value for name, value in wanted.items() if name in logged and logged[name] != value
    }
