"""What a learning-rate schedule is, and how time is counted in it."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np

from pipeline.errors import BadInput, require


class Schedule(Protocol):
    """The plug point: the learning rate at each update."""

    horizon_free: ClassVar[bool]

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates] of updates that start at `epochs` [n_updates].

        initial: the sampled learning rate
        epochs: float, ≥ 0; 0 ≤ epochs < horizon where the schedule is laid out for its horizon
        horizon: the sampled max_epochs
        """


class Reacting(Protocol):
    """A schedule that looks at the mean curve; what it has led to so far is a plain one."""

    horizon_free: ClassVar[bool]

    def given(self, losses: np.ndarray) -> Schedule:
        """Return the schedule after a mean curve: its rates up to the next epoch, then constant.

        losses: the mean over folds after each epoch, turned so that smaller is better, [n_epochs]
        The rates of an epoch hang on the epochs before it alone.
        """


def given(schedule: Schedule | Reacting, losses: np.ndarray) -> Schedule:
    """Return what a mean curve makes of a schedule: the schedule itself, unless it reacts."""
    return schedule.given(losses) if hasattr(schedule, "given") else schedule


def replayed(schedule: Any, losses: np.ndarray) -> Schedule | None:
    """Return the learning rates that a mean curve [n_epochs] led to; None where it led to none.

    For a training that shall repeat them with other folds, or with no validation rows at all.
    """
    return schedule.given(losses) if hasattr(schedule, "given") else None


def rates_at(schedule: Schedule, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
    """Return a schedule's learning rates, one finite number ≥ 0 per update, [n_updates].

    Raises BadInput where it gives something else, naming the epoch.
    """
    rates = np.asarray(schedule.learning_rates(initial, epochs, horizon))
    if rates.shape != epochs.shape or rates.dtype.kind not in "fiu":
        raise BadInput(
            f"schedule {schedule!r} must give {len(epochs)} learning rates, one per update, got "
            f"{rates!r}"
        )
    bad = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if len(bad):
        raise BadInput(
            f"schedule {schedule!r} must give finite learning rates ≥ 0, got {rates[bad[0]]} for "
            f"epoch {int(epochs[bad[0]])} (0-based) of {horizon}"
        )
    return rates


def n_epochs_given(schedule: Schedule | Reacting | None, initial: float, most: int) -> int:
    """Return for how many epochs, up to `most`, a horizon-free schedule gives learning rates.

    A user's function may end: one that looks them up in a list, say.
    """
    if schedule is None:
        return most
    plain = given(schedule, np.zeros(0))
    for epoch in range(most):
        try:
            rates_at(plain, initial, np.array([float(epoch)]), most)
        except Exception:
            return epoch
    return most


def updates_per_epoch(n_rows: int, batch_size: int) -> int:
    """Return ceil(rows / batch_size): the optimizer's steps in one epoch."""
    return -(-n_rows // batch_size)


def start_times(n_epochs: int, n_updates: int) -> np.ndarray:
    """Return when each update of the next epoch starts, in epochs, after `n_epochs` epochs."""
    return n_epochs + np.arange(n_updates) / n_updates


def require_share(name: str, value: Any) -> None:
    """Raise BadInput unless this is a number in 0..1."""
    holds = _is_real(value) and 0.0 <= value <= 1.0
    require(holds, name, "a number in 0..1", value)


def require_positive(name: str, value: Any) -> None:
    """Raise BadInput unless this is a finite number > 0."""
    require(_is_real(value) and 0.0 < value < np.inf, name, "a finite number > 0", value)


def require_at_least_0(name: str, value: Any) -> None:
    """Raise BadInput unless this is a finite number ≥ 0."""
    require(_is_real(value) and 0.0 <= value < np.inf, name, "a finite number ≥ 0", value)


def require_whole(name: str, value: Any, *, at_least: int) -> None:
    """Raise BadInput unless this is a whole number and not too small."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    require(is_whole and value >= at_least, name, f"a whole number ≥ {at_least}", value)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
