"""A warm-up before any schedule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.errors import BadInput
from pipeline.schedules.types import Schedule, require_share, require_whole


@dataclass(frozen=True)
class WarmUp:
    """A straight line up to the sampled learning rate, then a schedule for the epochs left.

    `WarmUp(Cosine(), n_epochs=3)` is Keras's CosineDecay with `warmup_steps`.

    n_epochs: of the warm-up, whole; less than the horizon, where the schedule is laid out for it
    start_share: of the sampled learning rate, where it begins
    """

    schedule: Schedule
    n_epochs: int = 3
    start_share: float = 0.0

    def __post_init__(self) -> None:
        if not hasattr(self.schedule, "learning_rates"):
            raise BadInput(
                "WarmUp.schedule must have learning_rates(initial, epochs, horizon), such as "
                f"Cosine(), and not react to the curve, got {self.schedule!r}"
            )
        require_whole("WarmUp.n_epochs", self.n_epochs, at_least=1)
        require_share("WarmUp.start_share", self.start_share)

    @property
    def horizon_free(self) -> bool:
        """Whether the schedule after it is."""
        return self.schedule.horizon_free

    def learning_rates(self, initial: float, epochs: np.ndarray, horizon: int) -> np.ndarray:
        """Return the learning rates [n_updates].

        Raises BadInput for a horizon that is too short.
        """
        if not self.horizon_free and horizon <= self.n_epochs:
            raise BadInput(
                f"WarmUp.n_epochs must be less than max_epochs, got {self.n_epochs} for "
                f"max_epochs={horizon}"
            )
        left = horizon - self.n_epochs
        share = self.start_share + (1.0 - self.start_share) * epochs / self.n_epochs
        after = self.schedule.learning_rates(initial, np.maximum(epochs - self.n_epochs, 0.0), left)
        return np.where(epochs < self.n_epochs, initial * share, after)
