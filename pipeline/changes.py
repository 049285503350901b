"""A command line's changes of a study's fields: `--trials 60`, `--set space.max_epochs=40`, …."""

from __future__ import annotations

import argparse
import ast
import dataclasses
from typing import Any

from pipeline.choice import rule_named
from pipeline.errors import BadInput, unknown_name
from pipeline.objective import Objective
from pipeline.pausing import strategy_named
from pipeline.registry import Registry
from pipeline.space import with_value
from pipeline.spec import StudySpec

SETTABLE = {
    "name", "batch_size", "validation_batch_size", "class_weight", "rule", "test_size", "seed",
    "engine", "threads", "operation_threads", "dtype_policy", "deterministic", "objective.metric",
    "objective.direction", "objective.mean", "scorers", "early_stopping.patience",
    "early_stopping.min_delta", "choose_within_schedule", "range_test", "budget.n_trials",
    "budget.timeout_secs", "budget.max_fold_epochs", "budget.max_updates",
    "budget.max_failures_in_a_row", "budget.unchanged_fold_epochs", "refit.enabled",
    "refit.policy", "refit.n_seeds", "refit.keep_folds", "registry.name", "registry.margin",
    "registry.on", "keep_checkpoints", "strategy",
}  # fmt: skip
"""Fields whose values can be written on a command line; the others are Python objects."""


def with_options(spec: StudySpec, options: argparse.Namespace) -> StudySpec:
    """Return the study with the command line's changes, checked anew.

    Raises BadInput for an unknown field, naming the nearest, or a value that is not allowed.
    """
    changes: dict[str, Any] = {}
    for assignment in options.set:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise BadInput(f"--set must be FIELD=VALUE, got {assignment!r}")
        changes[name.strip()] = _value(text)
    if options.register and spec.registry is None:
        spec = dataclasses.replace(spec, registry=Registry())
    if "objective.metric" in changes:
        # Another metric must not inherit the direction of the one before it.
        metric = changes.pop("objective.metric")
        direction = changes.pop("objective.direction", None)
        objective = Objective(metric, direction, spec.objective.mean)
        scorers = changes.pop("scorers", spec.scorers)
        spec = dataclasses.replace(spec, objective=objective, scorers=_scorers(scorers))
    for name, value in changes.items():
        spec = with_field(spec, name, value)
    named = {
        "budget.n_trials": options.trials,
        "budget.timeout_secs": options.timeout,
        "budget.max_fold_epochs": options.max_fold_epochs,
        "budget.max_updates": options.max_updates,
        "seed": options.seed,
        "keep_checkpoints": options.keep_checkpoints,
    }
    for name, value in named.items():
        if value is not None:
            spec = with_field(spec, name, value)
    return spec


def with_field(spec: StudySpec, name: str, value: Any) -> StudySpec:
    """Return the study with one field changed: `seed`, `budget.n_trials`, `space.max_epochs`, …."""
    outer, _, inner = name.partition(".")
    if outer == "space" and inner:
        if inner not in spec.space:
            raise unknown_name("field", name, (f"space.{key}" for key in spec.space))
        return dataclasses.replace(spec, space=with_value(spec.space, inner, value))
    if name not in SETTABLE:
        raise unknown_name("field", name, SETTABLE | {f"space.{key}" for key in spec.space})
    if name == "rule":
        value = rule_named(str(value))
    if name == "strategy":
        value = strategy_named(value)
    if name == "scorers":
        value = _scorers(value)
    if inner:
        group = getattr(spec, outer)
        if group is None:
            raise BadInput(f"the study has no {outer}: add it to the study file first")
        value = dataclasses.replace(group, **{inner: value})
    return dataclasses.replace(spec, **{outer: value})


def _scorers(value: Any) -> Any:
    """Return the names in a text such as "roc_auc, f1"; any other value as it is."""
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


def _value(text: str) -> Any:
    """Return a Python literal, or the text itself."""
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, ValueError):
        return text.strip()
