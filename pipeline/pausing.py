"""Which studies' trials may pause, and how a command line names the strategy by which they do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import BadInput, require, unknown_name
from pipeline.strategy import FinishBest, Ladder, Strategy

NAMED: Mapping[str, Callable[[], Strategy]] = {"ladder": Ladder, "finish-best": FinishBest}
"""Strategies that a command line can name."""


def strategy_named(name: Any) -> Any:
    """Return the strategy of a name; None and "auto" are none. Raises BadInput for any other."""
    if name is None or name == "auto":
        return name
    if name not in NAMED:
        raise unknown_name("strategy", str(name), (*NAMED, "auto", "None"))
    return NAMED[name]()


def check_strategy(strategy: Any, pruner: Any, schedule: Any) -> None:
    """Raise BadInput unless a study may have this strategy, beside its pruner and its schedule."""
    if strategy is None or strategy == "auto":
        return
    require(
        isinstance(strategy, Strategy),
        "strategy",
        "a strategy such as Ladder(), None or 'auto'",
        strategy,
    )
    if pruner is not None:
        raise BadInput(
            "pruner must be None with a strategy, whose trials pause and are not pruned, got "
            f"{pruner!r}"
        )
    if reason := _reason_against_pausing(schedule):
        raise BadInput(f"strategy must be None with {reason}, got {strategy!r} with {schedule!r}")


def may_pause(schedule: Any) -> bool:
    """Whether trials with this schedule, or these, can be compared on lower rungs."""
    return not _reason_against_pausing(schedule)


def _reason_against_pausing(schedule: Any) -> str:
    schedules = list(schedule.values()) if isinstance(schedule, Mapping) else [schedule]
    if any(hasattr(each, "given") for each in schedules):
        return "a schedule that reacts to the mean curve: on the lower rungs there is one fold only"
    if len({getattr(each, "horizon_free", True) for each in schedules}) > 1:
        return (
            "schedules of which only some depend on their horizon: on a lower rung their losses "
            "cannot be compared"
        )
    return ""
