"""What a study may give as its schedule, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import BadInput
from pipeline.schedules.by_epoch import ByEpoch
from pipeline.schedules.types import Reacting, Schedule

One = Schedule | Reacting | Any
"""Any: a `keras.optimizers.schedules` object, which `training/` evaluates."""

ALLOWED = (
    "have learning_rates(initial, epochs, horizon) and horizon_free, or be a function of the "
    "0-based epoch, a keras.optimizers.schedules object, or a dict of name -> one of these"
)


def declared(value: Any) -> One | Mapping[str, One] | None:
    """Return a study's schedule with its functions wrapped; raise BadInput for what is none."""
    if not isinstance(value, Mapping):
        return None if value is None else _one("schedule", value)
    names = all(isinstance(name, str) and name for name in value)
    if not value or not names:
        raise BadInput(f"schedule must be a dict of name -> schedule, got {dict(value)!r}")
    return {name: _one(f"schedule[{name!r}]", each) for name, each in value.items()}


def functions_in(schedule: One | Mapping[str, One] | None) -> list[Callable[..., Any]]:
    """Return the user's own functions among a study's schedules."""
    each = schedule.values() if isinstance(schedule, Mapping) else [schedule]
    inner = [getattr(one, "schedule", one) for one in each]  # beneath a warm-up
    return [one.function for one in inner if isinstance(one, ByEpoch)]


def counts_updates(schedule: Any) -> bool:
    """Whether this is one of Keras's schedule objects, which count in updates."""
    return any(
        base.__name__ == "LearningRateSchedule" and base.__module__.startswith("keras.")
        for base in type(schedule).__mro__
    )


def ignores_the_sampled(schedule: One | None) -> bool:
    """Whether the learning rates are the schedule's own, whatever was sampled."""
    if isinstance(schedule, ByEpoch):
        return not schedule.starts_from_the_sampled
    return counts_updates(schedule)


def _one(name: str, value: Any) -> One:
    if counts_updates(value):
        return value
    is_made = hasattr(value, "horizon_free") and not isinstance(value, type)
    if is_made and (hasattr(value, "learning_rates") or hasattr(value, "given")):
        return value
    if callable(value) and not isinstance(value, type):
        return ByEpoch(value)
    raise BadInput(f"{name} must {ALLOWED}, got {value!r}; for example Cosine()")
