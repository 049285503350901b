"""The model as it is served: raw rows in, predictions out.

MLflow stores this file with the model and runs it where the model is served, which needs Keras and
scikit-learn but not this project. Nothing of the class is pickled.
"""

from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """One or several members, each its fitted preprocessing and its Keras model in turn."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the models in Keras's safe mode, and the transformers that their own run wrote."""
        import joblib
        import keras

        files = context.artifacts
        self.members: list[tuple[Any, Any]] = []
        while (name := f"model_{len(self.members)}") in files:
            model = keras.models.load_model(files[name], compile=False, safe_mode=True)
            preprocess = files.get(name.replace("model", "preprocess"))
            self.members.append((model, joblib.load(preprocess) if preprocess else None))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: Any = None
    ) -> np.ndarray:
        """Return the mean prediction, [n_rows, ...], for raw rows: an array, or a frame of them."""
        predictions = [
            _predict(model, preprocess, model_input) for model, preprocess in self.members
        ]
        return predictions[0] if len(predictions) == 1 else np.mean(predictions, axis=0)


def _predict(model: Any, preprocess: Any, rows: Any) -> np.ndarray:
    x = rows if preprocess is None else preprocess.transform(rows)
    x = np.asarray(x.toarray() if hasattr(x, "toarray") else x)
    # Object: a frame whose columns are of several kinds of number.
    x = x.astype(np.float32) if x.dtype.kind in "fO" else x
    return model.predict(x, verbose=0)


mlflow.models.set_model(ServedModel())
