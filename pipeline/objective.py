"""What is optimised: a metric and its direction, owned by one class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pipeline.errors import BadInput

Direction = Literal["minimize", "maximize"]
Mean = Literal["folds", "rows"]

LARGER_IS_BETTER = {
    "acc", "accuracy", "auc", "binary_accuracy", "binary_io_u", "categorical_accuracy",
    "concordance_correlation", "cosine_similarity", "f1_score", "fbeta_score", "io_u", "mean_io_u",
    "one_hot_io_u", "one_hot_mean_io_u", "pearson_correlation", "precision", "precision_at_recall",
    "r2_score", "recall", "recall_at_precision", "sensitivity_at_specificity",
    "sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy",
    "specificity_at_sensitivity", "top_k_categorical_accuracy",
}  # fmt: skip
SMALLER_IS_BETTER = {
    "bce", "binary_crossentropy", "categorical_crossentropy", "categorical_hinge", "ce",
    "crossentropy", "hinge", "kl_divergence", "logcosh", "mae", "mape", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error", "mse",
    "msle", "poisson", "root_mean_squared_error", "sparse_categorical_crossentropy",
    "squared_hinge",
}  # fmt: skip
"""Keras's own metrics, by the names that they have in its logs; `Metric._direction` says as much.
A test holds these to it. Counts of true or false answers have no direction."""


@dataclass(frozen=True, repr=False)
class Objective:
    """The monitored metric, by its name in Keras's logs, and which way is better.

    metric: of the validation rows: "val_" and the name of what the model or a scorer of the study
        measures
    direction: may be left out for a loss, for a scorer of the study, whose larger values are
        better, and for what Keras's own metrics are called; it is never guessed from another name
    mean: over "folds", each counts the same; or over "rows", each fold counts with its validation
        rows, where folds differ in size
    """

    metric: str = "val_loss"
    direction: Direction | None = None
    mean: Mean = "folds"

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
        if self.direction is None and self.metric.endswith("loss"):
            object.__setattr__(self, "direction", "minimize")
        if self.direction not in ("minimize", "maximize", None):
            raise BadInput(
                f"objective.direction must be 'minimize' or 'maximize', got {self.direction!r}"
            )
        if self.mean not in ("folds", "rows"):
            raise BadInput(f"objective.mean must be 'folds' or 'rows', got {self.mean!r}")

    def __repr__(self) -> str:
        # A study is signed with this: one whose mean is over folds has the text that it always had.
        mean = "" if self.mean == "folds" else f", mean={self.mean!r}"
        return f"Objective(metric={self.metric!r}, direction={self.direction!r}{mean})"

    def weights(self, n_validation_rows: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """Return how much folds of so many rows count in the mean, [n_folds]; None: alike."""
        return None if self.mean == "folds" else np.array(n_validation_rows, dtype=np.float64)

    def directed(self, scorers: Collection[str]) -> Objective:
        """Return this with its direction, which scorers of these names and Keras's metrics have.

        Raises BadInput where the direction is not known, or not the scorer's.
        """
        name = self.training_metric
        if name in scorers:
            if self.direction == "minimize" and not name.endswith("loss"):
                raise BadInput(
                    f"objective.direction must be 'maximize' for {self.metric!r}, got 'minimize': "
                    "a scorer's larger values are better, as of 'neg_log_loss'"
                )
            return replace(self, direction="maximize")
        if self.direction is not None:
            return self
        if name.lower() in LARGER_IS_BETTER:
            return replace(self, direction="maximize")
        if name.lower() in SMALLER_IS_BETTER:
            return replace(self, direction="minimize")
        raise BadInput(
            f"objective.direction must be stated for {self.metric!r}: 'minimize' or 'maximize'; it "
            "is known of losses, of scorers, and of Keras's own metrics by their own names"
        )

    @property
    def training_metric(self) -> str:
        """The same metric's name without the prefix, as on training rows: 'loss' for 'val_loss'."""
        return self.metric.removeprefix("val_")

    def as_loss(self, values: np.ndarray) -> np.ndarray:
        """Return `values` turned so that smaller is better; its own inverse."""
        return values if self.direction == "minimize" else -values

    def better(self, a: float, b: float, margin: float = 0.0) -> bool:
        """Say whether `a` is better than `b` by more than `margin`. NaN never is."""
        return a < b - margin if self.direction == "minimize" else a > b + margin
