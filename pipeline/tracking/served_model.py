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
        """Load models and layers in Keras's safe mode, and transformers that their run wrote."""
        import keras

        files = context.artifacts
        self.members: list[tuple[Any, Any]] = []
        while (name := f"model_{len(self.members)}") in files:
            model = keras.models.load_model(files[name], compile=False, safe_mode=True)
            self.members.append((model, _preprocess(files, name.replace("model", "preprocess"))))

    # MLflow warns of no hint for the input and of one that it cannot check; an array it lets pass.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: Any = None
    ) -> Any:
        """Return the mean prediction, [n_rows, ...], for raw rows: an array, or a frame of them.

        Several inputs are a dict of arrays by name, those that the model takes as a tuple "0", "1",
        …; several outputs are a dict of predictions.
        """
        first, *others = (
            _predict(model, preprocess, model_input) for model, preprocess in self.members
        )
        if not others:
            return first
        if isinstance(first, dict):
            return {key: np.mean([each[key] for each in (first, *others)], axis=0) for key in first}
        return np.mean([first, *others], axis=0)


def _preprocess(files: dict[str, str], name: str) -> Any:
    """Return what was fitted: a transformer, layers, a dict of them by input, or None."""
    import joblib
    import keras

    def loaded(path: str) -> Any:
        if path.endswith(".keras"):
            return keras.saving.load_model(path, safe_mode=True)
        return joblib.load(path)

    whole = loaded(files[name]) if name in files else None
    start = f"{name}:"
    layers = {key.removeprefix(start): files[key] for key in files if key.startswith(start)}
    return (whole or {}) | {key: loaded(path) for key, path in layers.items()} if layers else whole


def _predict(model: Any, preprocess: Any, rows: Any) -> Any:
    if isinstance(rows, dict):
        by_input = preprocess or {}
        x: Any = {name: _input(part, by_input.get(name)) for name, part in rows.items()}
        if all(name.isdigit() for name in x):
            x = tuple(x[name] for name in sorted(x, key=int))
    else:
        x = _input(rows, preprocess)
    predictions = model.predict(x, verbose=0)
    if not isinstance(predictions, list | tuple):
        return predictions
    names = list(getattr(model, "output_names", ()))
    if len(set(names)) != len(predictions):
        names = [str(place) for place in range(len(predictions))]
    return dict(zip(names, predictions, strict=True))


def _input(rows: Any, preprocess: Any) -> np.ndarray:
    import keras

    if isinstance(preprocess, keras.layers.Pipeline):
        x = np.asarray(rows)
        for layer in preprocess.layers:
            x = layer(x)
        x = keras.ops.convert_to_numpy(x)
    else:
        x = rows if preprocess is None else preprocess.transform(rows)
        x = np.asarray(x.toarray() if hasattr(x, "toarray") else x)
    # Object: a frame whose columns are of several kinds of number.
    return x.astype(np.float32) if x.dtype.kind in "fO" else x


mlflow.models.set_model(ServedModel())
