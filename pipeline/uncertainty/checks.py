"""What must hold of losses, folds and levels of confidence before anything is estimated."""

from __future__ import annotations

import numpy as np

from pipeline.errors import BadInput, require


def by_repeat(losses: np.ndarray, n_repeats: int) -> np.ndarray:
    """Return losses [n_folds, n_candidates] as [n_repeats, folds of one, n_candidates].

    The folds of one repeat lie together. Raises BadInput for anything else than finite losses, or
    folds that are no whole number of repeats.
    """
    losses = np.asarray(losses, dtype=np.float64)
    if losses.ndim != 2 or 0 in losses.shape:
        raise BadInput(
            "losses must be [n_folds, n_candidates] with at least one of each, "
            f"got shape {losses.shape}"
        )
    check_finite("losses", losses)
    require(
        n_repeats >= 1 and len(losses) % n_repeats == 0,
        "n_repeats",
        f"a divisor of the {len(losses)} folds",
        n_repeats,
    )
    return losses.reshape(n_repeats, -1, losses.shape[1])


def check_finite(name: str, values: np.ndarray) -> None:
    """Raise BadInput for values that are infinite or NaN."""
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise BadInput(f"{name} must be finite, got {n_bad} of {values.size} values that are not")


def check_confidence(confidence: float) -> None:
    """Raise BadInput unless it lies between 0 and 1."""
    require(0 < confidence < 1, "confidence", "between 0 and 1", confidence)


def check_ratio(validation_to_training: float) -> None:
    """Raise BadInput unless it is a ratio of row counts."""
    require(
        np.isfinite(validation_to_training) and validation_to_training > 0,
        "validation_to_training",
        "validation rows over training rows, > 0",
        validation_to_training,
    )
