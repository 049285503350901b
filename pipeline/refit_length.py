"""The refit as a study declares it, and how long it trains: it has more rows than the folds had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from pipeline.errors import require
from pipeline.fields import require_count, require_one_of
from pipeline.folds import Fold, are_uneven
from pipeline.schedules import updates_per_epoch

KeptByRefit = Literal["epochs", "updates", "scaled"]
RefitPolicy = Literal["auto", "epochs", "updates", "scaled"]


@dataclass(frozen=True)
class Refit:
    """The final training on all development rows, which are more than a fold trained on.

    policy: what is kept of the choice: "epochs", the same count, so more updates; "updates", the
        same number of updates as the folds had on average, so about (K−1)/K of the epochs;
        "scaled", K/(K−1) times the epochs, as more rows bear longer training; "auto", the updates
        where folds are of different sizes, and else the epochs
    n_seeds: models trained, each from other initial weights and row orders; what is served is the
        mean of their predictions
    keep_folds: serve the fold models at the chosen epoch too, as the mean of their predictions
    """

    enabled: bool = True
    policy: RefitPolicy = "auto"
    n_seeds: int = 1
    keep_folds: bool = False

    def __post_init__(self) -> None:
        for name in ("enabled", "keep_folds"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"refit.{name}", "True or False", value)
        require_one_of("refit.policy", self.policy, get_args(RefitPolicy))
        require_count("refit.n_seeds", self.n_seeds)


def kept_by(policy: RefitPolicy, folds: Sequence[Fold], batch_size: int) -> KeptByRefit:
    """Return what a refit keeps of the choice, where the policy leaves that to the folds.

    An epoch of one fold is another amount of training than an epoch of the next where they are
    uneven: then the updates are what the chosen epoch means.
    """
    if policy != "auto":
        return policy
    return "updates" if are_uneven(_updates(folds, batch_size)) else "epochs"


@dataclass(frozen=True)
class RefitLength:
    """Epochs of the refit, and the horizon its learning-rate schedule is laid out for.

    kept: what of the choice is the same
    """

    n_epochs: int
    horizon: int
    kept: KeptByRefit

    @classmethod
    def of(
        cls,
        policy: RefitPolicy,
        *,
        n_epochs: int,
        horizon: int,
        folds: Sequence[Fold],
        n_rows: int,
        batch_size: int,
    ) -> RefitLength:
        """Return the length that a policy makes of a choice, in whole epochs.

        n_epochs, horizon: chosen on the folds
        n_rows: of the refit
        The horizon changes by the same factor, so that a schedule is stopped at the same share.
        """
        kept = kept_by(policy, folds, batch_size)
        n_training = float(np.mean([len(fold.train) for fold in folds]))
        updates = float(np.mean(_updates(folds, batch_size)))
        factor = {
            "epochs": 1.0,
            "updates": updates / updates_per_epoch(n_rows, batch_size),
            "scaled": n_rows / n_training,
        }[kept]
        n_epochs = max(1, round(n_epochs * factor))
        return cls(n_epochs, max(n_epochs, round(horizon * factor)), kept)


def _updates(folds: Sequence[Fold], batch_size: int) -> list[int]:
    """Return each fold's updates in an epoch."""
    return [updates_per_epoch(len(fold.train), batch_size) for fold in folds]
