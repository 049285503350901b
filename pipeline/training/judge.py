"""What predictions are worth, whichever model they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from pipeline.data import Dataset
from pipeline.folds import as_weights
from pipeline.nest import Nest
from pipeline.scoring import Scoring
from pipeline.spec import StudySpec
from pipeline.training.models import call_builder
from pipeline.training.outputs import meaning_of


@dataclass(frozen=True, eq=False)
class Judge:
    """The losses, metrics and scorers of a study's model; its weights are of no account.

    scoring: the study's scorers, if it has any
    """

    model: keras.Model
    scoring: Scoring | None = None

    @classmethod
    def of(cls, spec: StudySpec, params: Mapping[str, Any], data: Dataset) -> Judge:
        """Return the judge that a model of these parameters brings with it."""
        model = call_builder(spec, params, spec.seed)
        scoring = Scoring(spec.scorers, meaning_of(model, data.y)) if spec.scorers else None
        return cls(model, scoring)

    def scores(self, predictions: Nest, data: Dataset) -> dict[str, float]:
        """Return loss, metrics and scores of predictions for rows; penalties are no part of it.

        predictions: [n_rows, ...], as the model nests its outputs; of several, also by name
        """
        if isinstance(data.y, tuple) and isinstance(predictions, dict):
            predictions = tuple(predictions.values())
        weight = None if data.sample_weight is None else as_weights(data.sample_weight, data.y)
        self.model.reset_metrics()
        loss = self.model.compute_loss(None, data.y, predictions, weight, training=False)
        metrics = self.model.compute_metrics(None, data.y, predictions, weight)
        penalty = sum(float(each) for each in self.model.losses)
        scores = {name: float(value) for name, value in metrics.items()}
        scores["loss"] = float(loss) - penalty
        if self.scoring is not None:
            truth = self.scoring.truth(data.y, data.sample_weight, predictions.shape[1:])
            values = self.scoring.scores(np.asarray(predictions), truth).tolist()
            scores |= dict(zip(self.scoring.names, values, strict=True))
        return scores
