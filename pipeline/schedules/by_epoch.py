"""The user's own function of the epoch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from pipeline.errors import BadInput, in_one_line, require


@dataclass(frozen=True)
class ByEpoch:
    """A function `epoch -> learning rate` with the 0-based epoch, as Keras's LearningRateScheduler.

    What it returns is the learning rate itself, whatever was sampled. One that takes
    `(epoch, learning_rate)` is given the rate of the epoch before, which begins with the sampled
    one. A number, a NumPy scalar or a tensor of one value may be returned.
    """

    function: Callable[..., Any]
    horizon_free: ClassVar[bool] = True
    _known: dict[float, list[float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """By initial rate, what the function returned: it is called once for each epoch."""

    def __post_init__(self) -> None:
        takes = "a function of the 0-based epoch, or of (epoch, learning_rate)"
        require(callable(self.function), "ByEpoch.function", takes, self.function)
        fits = self.starts_from_the_sampled or _can_take(self.function, 0)
        require(fits, "ByEpoch.function", takes, self.function)

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    @property
    def starts_from_the_sampled(self) -> bool:
        """Whether the function makes a learning rate of the one before it, as Keras lets it."""
        return _can_take(self.function, 0, 0.1)

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates], the same throughout an epoch.

        Raises BadInput where the function raises or returns no finite number ≥ 0.
        """
        indices = np.floor(epochs).astype(int)
        known = self._known.setdefault(float(initial), [])
        while len(known) <= indices.max():
            known.append(self._rate(len(known), known[-1] if known else float(initial)))
        return np.array(known)[indices]

    def _rate(self, epoch: int, before: float) -> float:
        # The rate before comes out of an optimizer's variable in Keras, which is a float32.
        arguments = (epoch, float(np.float32(before)))[: 1 + self.starts_from_the_sampled]
        call = f"{self.name}({', '.join(f'{each:g}' for each in arguments)})"
        try:
            returned = self.function(*arguments)
        except Exception as error:
            ends = f": it gives rates for {epoch} epoch(s), so max_epochs must be ≤ {epoch}"
            is_end = isinstance(error, LookupError) and epoch > 0  # of a list, most often
            raise BadInput(
                f"schedule {call} raised {in_one_line(error)}{ends if is_end else ''}"
            ) from error
        rate = _as_number(returned)
        if not 0.0 <= rate < np.inf:
            raise BadInput(
                f"schedule {call} must return a learning rate, a finite number ≥ 0, for epoch "
                f"{epoch} (0-based), got {' '.join(repr(returned).split())}"
            )
        return rate


def _can_take(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # written in C, without a signature
        return len(arguments) == 1
    return True


def _as_number(value: Any) -> float:
    """Return a number, or the one value of a tensor, as a float; NaN for anything else."""
    if isinstance(value, str | bytes | bool | np.bool_):
        return np.nan
    try:
        array = np.asarray(value, dtype=np.float64)
    except Exception:  # whatever an object makes of becoming an array
        return np.nan
    return float(array.reshape(-1)[0]) if array.size == 1 else np.nan
