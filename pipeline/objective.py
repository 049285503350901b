"""What is optimised: a metric and its direction, owned by one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.errors import BadInput

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Objective:
    """The monitored metric, by its name in Keras's logs, and which way is better.

    `direction` may be left out for a loss only; it is never guessed from another metric's name.
    """

    metric: str = "val_loss"
    direction: Direction | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str):
            raise BadInput(
                f"objective.metric must be a name such as 'val_loss', got {self.metric!r}"
            )
        if not self.metric.startswith("val_"):
            raise BadInput(
                f"objective.metric must be a validation metric, named with Keras's prefix 'val_', "
                f"got {self.metric!r}; did you mean {'val_' + self.metric!r}?"
            )
        if self.direction is None:
            if not self.metric.endswith("loss"):
                raise BadInput(
                    f"objective.direction must be stated for {self.metric!r}: "
                    "'minimize' or 'maximize'"
                )
            object.__setattr__(self, "direction", "minimize")
        if self.direction not in ("minimize", "maximize"):
            raise BadInput(
                f"objective.direction must be 'minimize' or 'maximize', got {self.direction!r}"
            )

    @property
    def training_metric(self) -> str:
        """The same metric's name on training rows: 'loss' for 'val_loss'."""
        return self.metric.removeprefix("val_")

    def as_loss(self, values: np.ndarray) -> np.ndarray:
        """Return `values` turned so that smaller is better; its own inverse."""
        return values if self.direction == "minimize" else -values

    def better(self, a: float, b: float, margin: float = 0.0) -> bool:
        """Say whether `a` is better than `b` by more than `margin`. NaN never is."""
        return a < b - margin if self.direction == "minimize" else a > b + margin
