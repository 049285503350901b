"""Checks of a study's fields that need nothing but the value."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import BadInput, require
from pipeline.space import is_number, is_whole


def require_one_of(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise BadInput unless the value is one of these."""
    choices = list(choices)
    require(value in choices, name, f"one of {', '.join(map(repr, choices))}", value)


def check_class_weight(class_weight: Any) -> None:
    """Raise BadInput unless this is what StudySpec.class_weight may be."""
    is_dict = isinstance(class_weight, Mapping) and all(
        is_number(weight) and weight >= 0 for weight in class_weight.values()
    )
    is_word = isinstance(class_weight, str) and class_weight == "balanced"
    allowed = "'balanced', a dict of class -> weight ≥ 0, or None"
    require(is_dict or is_word or class_weight is None, "class_weight", allowed, class_weight)


def check_test_size(test_size: Any) -> None:
    """Raise BadInput unless this is what StudySpec.test_size may be."""
    is_share = isinstance(test_size, float) and 0 <= test_size < 1
    is_count = is_whole(test_size) and test_size >= 0
    require(is_share or is_count, "test_size", "a share in 0..1 or a count ≥ 0", test_size)


def require_count(name: str, value: Any) -> None:
    """Raise BadInput unless this is a count."""
    require(is_whole(value) and value >= 1, name, "a whole number ≥ 1", value)


def require_function(name: str, value: Any, kind: str, *arguments: Any) -> None:
    """Refuse what cannot be called with these arguments, before anything is loaded or trained."""
    require(callable(value), name, f"a function {kind}", value)
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError as error:
        raise BadInput(f"{name} must be a function {kind}, got {value!r}: {error}") from error
    except ValueError:  # written in C, without a signature
        return
