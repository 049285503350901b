"""A model from a `.keras` file as a study's builder: with fresh weights or its own."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras.src.saving.serialization_lib import SafeModeScope

from pipeline.errors import BadInput
from pipeline.study_file import located
from pipeline.training.models import inner, telling_line


def saved_model(
    path: str | Path,
    *,
    project_of: str | Path,
    sha256: str,
    learning_rate: float,
    keep_weights: bool = False,
    trust: bool = False,
    loss: Any = None,
    metrics: Sequence[str] = (),
) -> keras.Model:
    """Return the model of a `.keras` file, compiled with this learning rate.

    project_of: a study file; a relative path begins at the project that holds it
    sha256: of the file that the study is about
    keep_weights: start from the weights in the file; otherwise from fresh ones by the layers'
        initializers, as the seed has them. What `adapt` found (of a Normalization layer) stays
    trust: run Python code that is stored in the file, as in a Lambda layer
    loss, metrics: of a model that is not compiled; another keeps its own, and its optimizer
    Raises BadInput when there is no such file, it is another one, or it cannot be loaded.
    """
    file = located(path, project_of, "model")
    if (found := _sha256(file)) != sha256:
        raise BadInput(
            f"{file.name} must be the file that the study was written for (SHA-256 {sha256[:12]}…),"
            f" got {found[:12]}…: write the study anew, or put the new sum into it"
        )
    saved = _loaded(file, trust=trust)
    model = saved if keep_weights else _with_fresh_weights(saved, file, trust=trust)
    if not saved.compiled:
        model.compile(keras.optimizers.Adam(learning_rate), loss=loss, metrics=list(metrics))
        return model
    with SafeModeScope(not trust):
        compiled_with = keras.saving.deserialize_keras_object(saved.get_compile_config())
    optimizer = _at_rate(saved.optimizer, learning_rate)
    model.compile(**{**compiled_with, "optimizer": optimizer})
    return model


def _loaded(file: Path, *, trust: bool) -> keras.Model:
    try:
        with warnings.catch_warnings():
            # What its optimizer had gathered is not used: each fold begins with a new one.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = keras.models.load_model(file, safe_mode=not trust)
    except Exception as error:
        told = telling_line(error)
        if not trust and ("unsafe" in str(error) or "safe_mode" in str(error)):
            raise BadInput(
                f"{file.name} holds Python code (a Lambda layer), which loading would run; give "
                "--trust-model if you know where it comes from"
            ) from error
        if "custom object" in str(error) or "Could not locate" in str(error):
            raise BadInput(
                f"{file.name} needs code of its own, which a file does not hold: write a study "
                f"file whose build_model imports it; Keras says: {told}"
            ) from error
        raise BadInput(f"{file.name} cannot be loaded as a Keras model: {told}") from error
    if not isinstance(model, keras.Model):
        raise BadInput(f"{file.name} must hold a keras.Model, got {type(model).__name__}")
    return model


def _with_fresh_weights(saved: keras.Model, file: Path, *, trust: bool) -> keras.Model:
    try:
        with SafeModeScope(not trust):
            model = keras.models.clone_model(saved)
    except Exception as error:
        raise BadInput(
            f"{file.name} cannot be built with fresh weights: {telling_line(error)}; --keep-weights"
            " starts from its own"
        ) from error
    pairs = zip(_layers(model), _layers(saved), strict=True)
    for new, old in pairs:
        if hasattr(old, "adapt") and old.weights:
            new.set_weights(old.get_weights())
            new.finalize_state()
    return model


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    return [each for each in model._flatten_layers() if not isinstance(each, keras.Model)]


def _at_rate(optimizer: Any, learning_rate: float) -> Any:
    """Return the same optimizer anew, at this constant learning rate."""
    found = inner(optimizer)
    anew = type(found).from_config({**found.get_config(), "learning_rate": learning_rate})
    return anew if found is optimizer else type(optimizer)(anew)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
