"""Schedules, checked against the epochs and updates that will happen, before any of them does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from pipeline.folds import Fold
from pipeline.schedules import (
    counts_updates,
    given,
    ignores_the_sampled,
    n_epochs_given,
    rates_at,
    updates_per_epoch,
)
from pipeline.space import values
from pipeline.spec import MAX_EXTENSION, StudySpec
from pipeline.training.architectures import typical_params
from pipeline.training.models import inner, optimizer_of

FAR = 2.0
"""A schedule that ends before this part of the training, or after so many times of it, is told."""

ENDS = {"CosineDecay": "decay_steps", "PolynomialDecay": "decay_steps"}
PERIODS = {
    "ExponentialDecay": "decay_steps",
    "InverseTimeDecay": "decay_steps",
    "CosineDecayRestarts": "first_decay_steps",
}
"""Of Keras's schedules, which argument says when they end, or in what time they change."""


def check_schedules(spec: StudySpec) -> None:
    """Raise BadInput when a schedule gives no learning rate somewhere in the horizons searched."""
    ends = [sorted({min(of), max(of)}) for of in map(values, _dimensions(spec))]
    for schedule in _each(spec).values():
        if schedule is None or counts_updates(schedule):
            continue
        for initial in ends[0]:
            for horizon in ends[1]:
                plain = given(schedule, np.zeros(0))
                rates_at(plain, initial, np.arange(horizon, dtype=np.float64), horizon)


def remarks_on_schedules(spec: StudySpec, model: keras.Model, fold: Fold) -> Iterator[str]:
    """Yield what a user may not have meant, in sentences: updates taken for epochs, most often.

    model: built for parameters from the middle of the space
    """
    params = typical_params(spec)
    n_updates = updates_per_epoch(len(fold.train), int(params["batch_size"]))
    for name, schedule in _each(spec).items():
        if schedule is None:
            schedule = inner(optimizer_of(model))._learning_rate
        elif ignores_the_sampled(schedule) and "learning_rate" in spec.sampled:
            yield (
                f"schedule {name or _name(schedule)} gives the learning rate itself: the sampled "
                "learning_rate is not used"
            )
        if ends := _end_of(schedule, spec):
            yield (
                f"schedule {name or _name(schedule)} gives learning rates for {ends} epochs: "
                "nothing is trained further"
            )
        if counts_updates(schedule) and (line := _counted(schedule, n_updates, params)):
            yield line


def _end_of(schedule: Any, spec: StudySpec) -> int | None:
    """Return after how many epochs a schedule has no rates any more, if the best trial may see it.

    A function may look its rates up in a list.
    """
    if counts_updates(schedule) or not getattr(schedule, "horizon_free", False):
        return None
    most = MAX_EXTENSION * spec.longest_horizon
    n_epochs = n_epochs_given(schedule, min(values(_dimensions(spec)[0])), most)
    return n_epochs if n_epochs < most else None


def _counted(schedule: Any, n_updates: int, params: Mapping[str, Any]) -> str:
    """Return what the updates of one of Keras's schedules come to in epochs, where it is odd."""
    kind, horizon = type(schedule).__name__, int(params["max_epochs"])
    epoch = f"{n_updates} updates make an epoch"
    if kind == "PiecewiseConstantDecay":
        bounds = [float(each) for each in schedule.boundaries]
        if not _is_odd(bounds[-1], n_updates, horizon):
            return ""
        shown = ", ".join(f"{each:g}" for each in bounds)
        meant = ", ".join(f"{each * n_updates:g}" for each in bounds)
        return (
            f"{kind}(boundaries=[{shown}]) changes last after {bounds[-1] / n_updates:.2g} of "
            f"{horizon} epochs: {epoch}; for these as epochs use [{meant}]"
        )
    argument = {**ENDS, **PERIODS}.get(kind)
    if argument is None:
        return ""
    steps = float(getattr(schedule, argument))
    called = f"{kind}({argument}={steps:g})"
    if kind in PERIODS or getattr(schedule, "cycle", False):
        looks_like_epochs = steps <= horizon and n_updates >= FAR
        if not looks_like_epochs and steps <= FAR * horizon * n_updates:
            return ""
        meant = f"; for {steps:g} epochs use {steps * n_updates:g}" if looks_like_epochs else ""
        return (
            f"{called} counts updates: {epoch}, so {steps:g} are {steps / n_updates:.2g} epochs of "
            f"{horizon}{meant}"
        )
    warm_up = float(getattr(schedule, "warmup_steps", 0) or 0)
    if not _is_odd(steps + warm_up, n_updates, horizon):
        return ""
    meant = f"{horizon * n_updates - warm_up:g}" if warm_up < horizon * n_updates else "more"
    if warm_up:
        called = f"{kind}(warmup_steps={warm_up:g}, {argument}={steps:g})"
    return (
        f"{called} ends after {(steps + warm_up) / n_updates:.2g} of {horizon} epochs: {epoch}; "
        f"for {horizon} epochs use {argument}={meant}"
    )


def _is_odd(steps: float, n_updates: int, horizon: int) -> bool:
    return not horizon / FAR <= steps / n_updates <= horizon * FAR


def _dimensions(spec: StudySpec) -> tuple[Any, Any]:
    return spec.space["learning_rate"], spec.space["max_epochs"]


def _each(spec: StudySpec) -> Mapping[str, Any]:
    """Return the study's schedules by name; one that is alone has none."""
    return spec.schedule if isinstance(spec.schedule, Mapping) else {"": spec.schedule}


def _name(schedule: Any) -> str:
    return str(getattr(schedule, "name", None) or type(schedule).__name__)
