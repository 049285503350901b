"""Fitted models in MLflow: logged so that they take raw rows."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from pipeline.lazy_rows import dense
from pipeline.nest import Nest, by_name, map_parts
from pipeline.tracking.lookup import every, find_trial
from pipeline.tracking.moments import MOMENTS
from pipeline.tracking.records import storable_key
from pipeline.tracking.runs import StudyRun
from pipeline.tracking.store import Store, as_default, readable_errors
from pipeline.tracking.unsent import Unsent
from pipeline.tracking.updates import LOCAL_ID_TAG, Model

SERVED_MODEL = Path(__file__).with_name("served_model.py")
CHECKPOINT_TAG = "pipeline.checkpoint"
SERVING_PACKAGES = ("joblib", "keras", "numpy", "scikit-learn", "tensorflow")


def log_fitted_model(
    run: StudyRun,
    *,
    name: str,
    files: Mapping[str, Path],
    rows: Nest,
    predictions: Nest,
    n_epochs: int,
    params: Mapping[str, Any],
) -> str:
    """Log model files and their preprocessing as one MLflow model; return its URI.

    While the store is away, the model is saved in the study's folder, from where MLflow can load it
    as well, and sent later; then that folder is returned.

    files: as from `FittedModel.save`: "model_0", a `.keras` file, and "preprocess_0", a fitted
        transformer or layers, if there are any, or for one of several inputs
        "preprocess_0:<input>"; more of them predict together
    rows, predictions: a few raw rows and what the model says of them, for the signature. MLflow
        knows several arrays as a dict alone: a tuple's parts are served as "0", "1", …
    n_epochs: the step under which MLflow shows the model
    """
    texts = {key: str(value) for key, value in params.items()}
    signature = _signature(by_name(rows), predictions)

    def send() -> str:
        return _log(
            run.store.uri, files, signature, name=name,
            experiment_id=run.experiment_id, run_id=run.run_id, n_epochs=n_epochs, params=texts,
        )  # fmt: skip

    def keep(unsent: Unsent) -> str:
        import mlflow

        path = unsent.models / f"{name}-{uuid4().hex[:8]}"
        mlflow.pyfunc.save_model(str(path), **_flavor(files), signature=signature)
        run.writer.update(Model(run.run_id, str(path), name, run.experiment_id, n_epochs, texts))
        return str(path)

    with _quiet_mlflow():
        return run.send_or_keep(send, keep, what="the refit model")


def log_checkpoint(
    run: StudyRun,
    trial: int,
    run_id: str | None,
    *,
    files: Mapping[str, Path],
    rows: Nest,
    predictions: Nest,
    n_epochs: int,
    params: Mapping[str, Any],
    metric: str,
    score: float,
    scores: np.ndarray,
) -> None:
    """Log a trial's fold models as one MLflow model, with the scores that they have.

    run_id: of the trial's run, or its local one; the study's run stands in for one that is gone
    files: "model_0" is the first fold's, and so on; "preprocess_0" what was fitted on its rows
    rows, predictions, n_epochs: as for `log_fitted_model`
    score: the metric's mean
    scores: of the metric, on each fold's validation rows, [n_folds]
    Raises StoreUnavailable when the store fails. Nothing is kept for later: it is made again.
    """
    from mlflow.entities import Metric

    signature = _signature(by_name(rows), predictions)
    values = {f"checkpoint/{storable_key(metric)}": score}
    values |= {f"checkpoint/fold_{fold}": float(score) for fold, score in enumerate(scores)}
    client = run.store.client
    with _quiet_mlflow(), readable_errors(f"a checkpoint cannot be stored in {run.store.address}"):
        found = run_id and find_trial(client, run.experiment_id, run_id)
        run_id = found.info.run_id if found else run.run_id
        uri = _log(
            run.store.uri, files, signature, name=f"trial_{trial:03d}",
            experiment_id=run.experiment_id, run_id=run_id, n_epochs=n_epochs,
            params={key: str(value) for key, value in params.items()},
            tags={CHECKPOINT_TAG: f"{run.run_id} {trial} {n_epochs}"},
        )  # fmt: skip
        now_ms, model_id = MOMENTS.now(), uri.removeprefix("models:/")
        points = [
            Metric(key, value, now_ms, n_epochs, model_id=model_id) for key, value in values.items()
        ]
        client.log_batch(run_id, metrics=points)


def served(store: Store, model_uri: str) -> Callable[[Nest], Nest]:
    """Return what a logged model predicts for raw rows, loaded as a server loads it.

    Raises StoreUnavailable when the store fails; the model's own error where it cannot be loaded.
    """
    import mlflow

    with as_default(store.uri), _quiet_mlflow():
        model = mlflow.pyfunc.load_model(model_uri)

    def predict(x: Nest) -> Nest:
        with _quiet_mlflow():
            return model.predict(map_parts(dense, by_name(x)))

    return predict


def array_of(store: Store, run_id: str, name: str) -> np.ndarray | None:
    """Return an array that is among a run's artifacts, None where it is not.

    Raises StoreUnavailable when the store fails.
    """
    with readable_errors(f"{name} of run {run_id} cannot be read in {store.address}"):
        if name not in {file.path for file in store.client.list_artifacts(run_id)}:
            return None
        with tempfile.TemporaryDirectory() as folder, as_default(store.uri), _quiet_mlflow():
            return np.load(store.client.download_artifacts(run_id, name, folder))


@dataclass(frozen=True)
class Checkpoint:
    """A trial's fold models in MLflow.

    is_whole: whether its scores are there as well, which are logged last
    """

    trial: int
    n_epochs: int
    model_id: str
    is_whole: bool


def checkpoints(run: StudyRun) -> list[Checkpoint]:
    """Return the checkpoints of a study's trials. Raises StoreUnavailable when the store fails."""
    query = f"tags.`{CHECKPOINT_TAG}` LIKE '{run.run_id} %'"
    search = partial(run.store.client.search_logged_models, [run.experiment_id], query)
    with readable_errors(f"the checkpoints in {run.store.address} cannot be read"):
        return [
            Checkpoint(int(trial), int(n_epochs), model.model_id, bool(model.metrics))
            for model in every(search)
            for _, trial, n_epochs in [model.tags[CHECKPOINT_TAG].split()]
        ]


def log_saved_model(tracking_uri: str, path: Path, **where: Any) -> None:
    """Log a model that `log_fitted_model` saved.

    where: name, experiment_id, run_id, n_epochs, params
    """
    from mlflow.models import Model as SavedModel

    saved = SavedModel.load(str(path))
    artifacts = saved.flavors["python_function"]["artifacts"]
    files = {name: path / artifact["path"] for name, artifact in artifacts.items()}
    with _quiet_mlflow():
        _log(tracking_uri, files, saved.signature, tags={LOCAL_ID_TAG: path.name}, **where)


def _log(
    tracking_uri: str,
    files: Mapping[str, Path],
    signature: Any,
    *,
    name: str,
    experiment_id: str,
    run_id: str,
    n_epochs: int,
    params: Mapping[str, str],
    tags: Mapping[str, str] | None = None,
) -> str:
    import mlflow
    from mlflow.models import Model as SavedModel

    with as_default(tracking_uri):
        mlflow.set_experiment(experiment_id=experiment_id)
        info = SavedModel.log(
            artifact_path=None,
            name=name,
            flavor=mlflow.pyfunc,
            run_id=run_id,
            signature=signature,
            step=n_epochs,
            params=dict(params),
            tags=dict(tags or {}),
            **_flavor(files),
        )
    return str(info.model_uri)


def _signature(rows: Any, predictions: Any) -> Any:
    """Return what a model takes and gives.

    Of a frame, texts must come as texts. Other columns may be of any kind of number: where a sample
    has whole numbers MLflow would refuse a column that has gaps, and the other way round. Texts of
    an array are objects: MLflow lets arrays of texts pass for these, and not the other way round.
    """
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema, TensorSpec

    with warnings.catch_warnings():
        # Of whole numbers that may have gaps: answered below.
        warnings.simplefilter("ignore", UserWarning)
        signature = infer_signature(map_parts(_texts_as_objects, rows), predictions)
    if not hasattr(rows, "iloc"):
        return signature
    columns: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string if column.type == DataType.string else AnyType(), column.name)
        for column in signature.inputs.inputs
    ]
    return ModelSignature(inputs=Schema(columns), outputs=signature.outputs)


def _texts_as_objects(part: Any) -> Any:
    is_text = getattr(getattr(part, "dtype", None), "kind", "") == "U"
    return part.astype(object) if is_text else part


def _flavor(files: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "python_model": str(SERVED_MODEL),
        "artifacts": {key: str(path) for key, path in files.items()},
        # Left out, MLflow spends ten seconds finding these out.
        "pip_requirements": [f"{name}=={version(name)}" for name in SERVING_PACKAGES],
    }


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """Keep MLflow's progress bars, notes and advice out of the terminal for a block."""
    import mlflow

    logger = logging.getLogger("mlflow")
    level = logger.level
    bar = mlflow.environment_variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR
    shown = bar.get_raw()
    logger.setLevel(logging.ERROR)
    bar.set("false")
    try:
        with warnings.catch_warnings():
            # It asks for type hints and an input example; the explicit signature says both.
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.setLevel(level)
        if shown is None:
            bar.unset()
        else:
            bar.set(shown)
