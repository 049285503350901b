"""The search space: Optuna distributions, fixed values beside them, and when they apply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from pipeline.errors import BadInput, require, unknown_name

ALWAYS = ("learning_rate", "max_epochs", "batch_size", "schedule")
"""Parameters that the search itself reads: every trial has them, as far as the space does."""


@dataclass(frozen=True)
class When:
    """A dimension, or a fixed value, of those trials in which another parameter has a value.

    space={
        "optimizer": CategoricalDistribution(["sgd", "adam", "adamw"]),
        "momentum": When("optimizer", "sgd", FloatDistribution(0.0, 0.99)),
        "beta_1": When("optimizer", ("adam", "adamw"), FloatDistribution(0.8, 0.99)),
        …
    }

    In all other trials the parameter is absent.

    value: one, or several in a tuple or list
    """

    parameter: str
    value: Any
    dimension: BaseDistribution | Any

    @property
    def among(self) -> tuple[Any, ...]:
        """The values of the other parameter with which this one exists."""
        return tuple(self.value) if isinstance(self.value, tuple | list) else (self.value,)

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial of these parameters has this one."""
        return self.parameter in params and params[self.parameter] in self.among

    def can_hold(self, space: Mapping[str, Any]) -> bool:
        """Whether any trial of the space can have this parameter."""
        return any(value in self.among for value in values(space[self.parameter]))


def applying(space: Mapping[str, Any], params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the dimensions and fixed values that a trial of these parameters has.

    params: None is any trial that there can be
    """
    found = {}
    for name, dimension in space.items():
        if not isinstance(dimension, When):
            found[name] = dimension
        elif dimension.holds(params) if params is not None else dimension.can_hold(space):
            found[name] = dimension.dimension
    return found


def with_value(space: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return the space with one dimension replaced; the condition on it stays."""
    condition = space[name]
    if isinstance(condition, When):
        value = replace(condition, dimension=value)
    return {**space, name: value}


def json_of(dimension: BaseDistribution | Any) -> str:
    """Return a distribution as JSON; "" for a fixed value."""
    return distribution_to_json(dimension) if isinstance(dimension, BaseDistribution) else ""


def largest(dimension: BaseDistribution | Any) -> Any:
    """Return the largest value of a dimension of the space."""
    return max(values(dimension))


def values(dimension: BaseDistribution | Any) -> tuple[Any, ...]:
    """Return a dimension's choices, or its two ends, or its one fixed value."""
    match dimension:
        case IntDistribution() | FloatDistribution():
            return (dimension.low, dimension.high)
        case CategoricalDistribution():
            return dimension.choices
        case _:
            return (dimension,)


def contains(dimension: BaseDistribution | Any, value: Any) -> bool:
    """Whether a value lies in a dimension of the space, or is its one fixed value."""
    if not isinstance(dimension, BaseDistribution):
        return bool(value == dimension)
    try:
        return dimension._contains(dimension.to_internal_repr(value))
    except ValueError:
        return False


def middle(dimension: BaseDistribution | Any) -> Any:
    """Return a value from the middle of a dimension: of its logarithm, for a log scale."""
    match dimension:
        case FloatDistribution(low=low, high=high, log=True):
            return math.sqrt(low * high)
        case FloatDistribution(low=low, high=high):
            return (low + high) / 2
        case IntDistribution(low=low, high=high, step=step):
            return low + (high - low) // 2 // step * step
        case _:
            choices = values(dimension)
            return choices[len(choices) // 2]


def n_values(dimension: BaseDistribution) -> float:
    """Return how many values a distribution has; infinity for a continuous one."""
    match dimension:
        case CategoricalDistribution():
            return len(dimension.choices)
        case IntDistribution(low=low, high=high, step=step):
            return (high - low) // step + 1
        case _:
            return math.inf


def is_categorical(dimension: BaseDistribution) -> bool:
    """Whether a dimension's values are choices without an order."""
    return isinstance(dimension, CategoricalDistribution)


def is_logarithmic(dimension: BaseDistribution) -> bool:
    """Whether a dimension is sampled on a log scale."""
    return bool(getattr(dimension, "log", False))


def check_space(space: Any) -> None:
    """Raise BadInput unless this is a space with a learning rate and a number of epochs."""
    is_dict = isinstance(space, Mapping) and all(isinstance(name, str) for name in space)
    require(is_dict, "space", "a dict of name -> Optuna distribution or fixed value", space)
    for name in ("learning_rate", "max_epochs"):
        if name not in space:
            raise BadInput(
                f"space must have {name!r}, got {sorted(space)}; for example "
                "{'learning_rate': FloatDistribution(1e-4, 1e-1, log=True), "
                "'max_epochs': IntDistribution(10, 100)}"
            )
    for name, dimension in space.items():
        if isinstance(dimension, When):
            _check_when(name, dimension, space)
    space = {n: d.dimension if isinstance(d, When) else d for n, d in space.items()}
    for name, dimension in space.items():
        if isinstance(dimension, BaseDistribution | bool | int | float | str | np.generic | None):
            continue
        raise BadInput(
            f"space[{name!r}] must be an Optuna distribution (optuna.distributions) or a fixed "
            f"number or text, got {dimension!r}; for example CategoricalDistribution([32, 64])"
        )
    for name, dimension in space.items():
        for choice in getattr(dimension, "choices", ()):
            if not isinstance(choice, bool | int | float | str | None):
                raise BadInput(
                    f"space[{name!r}] must have choices that are numbers, texts, booleans or None, "
                    f"which a storage gives back as they were, got {choice!r} of type "
                    f"{type(choice).__name__}; write NumPy numbers with int() or float(), and "
                    "tuples as texts that build_model takes apart"
                )
    _check_positive(space, "learning_rate", whole=False)
    for name in ("max_epochs", "batch_size"):
        if name in space:
            _check_positive(space, name, whole=True)


def _check_when(name: str, when: When, space: Mapping[str, Any]) -> None:
    if name in ALWAYS:
        raise BadInput(f"space[{name!r}] must be there in every trial, got {when!r}")
    if when.parameter not in space or isinstance(space[when.parameter], When):
        others = [other for other, value in space.items() if not isinstance(value, When)]
        raise unknown_name(f"unconditional parameter in space[{name!r}]", when.parameter, others)
    on = space[when.parameter]
    if isinstance(on, IntDistribution | FloatDistribution):
        raise BadInput(
            f"space[{name!r}] must hang on a CategoricalDistribution or a fixed value, got "
            f"{when.parameter!r}, which is {on!r}"
        )
    for value in when.among:
        if isinstance(on, CategoricalDistribution) and value not in on.choices:
            allowed = map(str, on.choices)
            raise unknown_name(f"{when.parameter} in space[{name!r}]", str(value), allowed)


def _check_positive(space: Mapping[str, Any], name: str, *, whole: bool) -> None:
    dimension = space[name]
    kind = "whole numbers ≥ 1" if whole else "finite numbers > 0"
    for value in values(dimension):
        value = value.item() if isinstance(value, np.generic) else value
        is_positive = (is_whole(value) if whole else is_number(value)) and value > 0
        require(is_positive, f"space[{name!r}]", kind, dimension)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
