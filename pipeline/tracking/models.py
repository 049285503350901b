"""Fitted models in MLflow: logged so that they take raw rows."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.tracking.store import Store, readable_errors

SERVED_MODEL = Path(__file__).with_name("served_model.py")
SERVING_PACKAGES = ("joblib", "keras", "numpy", "scikit-learn", "tensorflow")


def log_fitted_model(
    store: Store,
    *,
    experiment_id: str,
    run_id: str,
    name: str,
    files: Mapping[str, Path],
    rows: Any,
    predictions: Any,
    n_epochs: int,
    params: Mapping[str, Any],
) -> str:
    """Log model files and their preprocessing as one MLflow model; return its URI.

    files: as from `FittedModel.save`: "model_0", a `.keras` file, and "preprocess_0", a fitted
        transformer, if there is one; more of them predict together
    rows, predictions: a few raw rows and what the model says of them, for the signature
    n_epochs: the step under which MLflow shows the model
    """
    import mlflow
    from mlflow.models import Model, infer_signature

    before = mlflow.get_tracking_uri()
    with (
        readable_errors(f"the refit model cannot be stored in {store.address}"),
        warnings.catch_warnings(),
        _quiet_mlflow(),
    ):
        mlflow.set_tracking_uri(store.uri)
        mlflow.set_experiment(experiment_id=experiment_id)
        # MLflow asks for type hints and an input example; the explicit signature says both.
        warnings.simplefilter("ignore", UserWarning)
        info = Model.log(
            artifact_path=None,
            name=name,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            python_model=str(SERVED_MODEL),
            artifacts={key: str(path) for key, path in files.items()},
            signature=infer_signature(rows, predictions),
            # Left out, MLflow spends ten seconds finding these out.
            pip_requirements=[f"{name}=={version(name)}" for name in SERVING_PACKAGES],
            step=n_epochs,
            params={key: str(value) for key, value in params.items()},
        )
        mlflow.set_tracking_uri(before)  # it belongs to whoever called, in a notebook
    return info.model_uri


class _quiet_mlflow:  # noqa: N801 - reads as a statement
    """Keep MLflow's progress bars and notes out of the terminal for a block."""

    def __enter__(self) -> None:
        import mlflow

        self._logger = logging.getLogger("mlflow")
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)
        self._bar = mlflow.environment_variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
        self._shown = self._bar.get_raw()
        self._bar.set("false")

    def __exit__(self, *exc: object) -> None:
        self._logger.setLevel(self._level)
        if self._shown is None:
            self._bar.unset()
        else:
            self._bar.set(self._shown)
