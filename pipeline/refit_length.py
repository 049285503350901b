"""How long the refit trains: it has more rows than the folds that the choice was made on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.folds import Fold
from pipeline.schedules import updates_per_epoch
from pipeline.spec import RefitPolicy


@dataclass(frozen=True)
class RefitLength:
    """Epochs of the refit, and the horizon its learning-rate schedule is laid out for."""

    n_epochs: int
    horizon: int

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
        n_training = float(np.mean([len(fold.train) for fold in folds]))
        updates = np.mean([updates_per_epoch(len(fold.train), batch_size) for fold in folds])
        factor = {
            "epochs": 1.0,
            "updates": float(updates) / updates_per_epoch(n_rows, batch_size),
            "scaled": n_rows / n_training,
        }[policy]
        n_epochs = max(1, round(n_epochs * factor))
        return cls(n_epochs, max(n_epochs, round(horizon * factor)))
