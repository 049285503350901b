"""The model as it is served: raw rows in, predictions out.

MLflow stores this file with the model and runs it where the model is served, which needs Keras and
scikit-learn but not this project. Nothing of the class is pickled.
"""

from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """The fitted preprocessing and the Keras model, one after the other."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the model in Keras's safe mode, and the transformer that its own run wrote."""
        import joblib
        import keras

        self.model = keras.models.load_model(
            context.artifacts["model"], compile=False, safe_mode=True
        )
        preprocess = context.artifacts.get("preprocess")
        self.preprocess = joblib.load(preprocess) if preprocess else None

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: Any = None
    ) -> np.ndarray:
        """Return predictions, [n_rows, ...], for raw rows: an array, or a frame of them."""
        x = model_input if self.preprocess is None else self.preprocess.transform(model_input)
        x = np.asarray(x.toarray() if hasattr(x, "toarray") else x)
        # Object: a frame whose columns are of several kinds of number.
        x = x.astype(np.float32) if x.dtype.kind in "fO" else x
        return self.model.predict(x, verbose=0)


mlflow.models.set_model(ServedModel())
