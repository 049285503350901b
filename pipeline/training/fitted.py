"""The final fit: a model trained on all development rows, with its preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np

from pipeline.data import Dataset
from pipeline.folds import Fold, model_input
from pipeline.spec import StudySpec
from pipeline.training.lockstep import LockstepTraining
from pipeline.training.resident import ResidentEngine

MODEL_FILE = "model.keras"
PREPROCESS_FILE = "preprocess.joblib"


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A trained model that takes raw rows.

    preprocess: the transformer fitted on the rows that the model was trained on, or None
    n_updates: optimizer steps it was trained for
    """

    model: keras.Model
    preprocess: Any
    n_updates: int
    batch_size: int

    def predict(self, x: Any) -> np.ndarray:
        """Return predictions for raw rows."""
        return self.model.predict(self._input(x), batch_size=self.batch_size, verbose=0)

    def score(self, data: Dataset) -> dict[str, float]:
        """Return the model's loss and metrics on raw rows."""
        scores = self.model.evaluate(
            self._input(data.x),
            data.y,
            sample_weight=data.sample_weight,
            batch_size=self.batch_size,
            verbose=0,
            return_dict=True,
        )
        return {name: float(value) for name, value in scores.items()}

    def save(self, folder: Path) -> dict[str, Path]:
        """Write the model, and its preprocessing if it has any; return the files."""
        files = {"model": folder / MODEL_FILE}
        self.model.save(files["model"])
        if self.preprocess is not None:
            files["preprocess"] = folder / PREPROCESS_FILE
            joblib.dump(self.preprocess, files["preprocess"])
        return files

    def why_not_served(self, file: Path, x: Any) -> str:
        """Return why a saved model does not give these predictions again, or "" when it does.

        It is loaded as a server loads it, in safe mode.
        """
        try:
            loaded = keras.models.load_model(file, compile=False, safe_mode=True)
            again = loaded.predict(self._input(x), batch_size=self.batch_size, verbose=0)
        except Exception as error:
            return next((line for line in str(error).splitlines() if line.strip()), repr(error))
        same = np.allclose(again, self.predict(x), rtol=1e-4, atol=1e-5)
        return "" if same else "loaded again, it predicts something else"

    def _input(self, x: Any) -> np.ndarray:
        return model_input(x if self.preprocess is None else self.preprocess.transform(x))


def fit_on_all_rows(
    spec: StudySpec,
    data: Dataset,
    params: Mapping[str, Any],
    n_epochs: int,
    *,
    fold: int,
    jit: bool,
    go_on: Callable[[], None] = lambda: None,
) -> FittedModel:
    """Train a new model on all development rows for `n_epochs` of the schedule of `params`.

    fold: a number that no fold of the search has; it decides initial weights and row orders
    go_on: called before each epoch; raises to stop
    Raises FloatingPointError when the loss diverges.
    """
    rows = np.arange(data.n_rows)
    whole = Fold(fold, rows, rows[:0])
    engine = ResidentEngine(spec, data, [whole], jit=jit)
    program = engine.program(params)
    training = LockstepTraining(program, params, [whole], schedule=spec.schedule, seed=spec.seed)
    for epoch in range(1, n_epochs + 1):
        go_on()
        if not np.isfinite(training.advance()[:, program.metric_names.index("loss")]).all():
            raise FloatingPointError(f"the loss is not finite after epoch {epoch} of {n_epochs}")
    return FittedModel(
        program.model(fold, training.states[fold], params),
        engine.preprocessors.get(fold),
        training.n_updates,
        int(params["batch_size"]),
    )
