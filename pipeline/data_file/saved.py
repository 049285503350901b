"""What a `.keras` file says of itself: read as the archive of JSON that it is, with nothing run."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadInput


@dataclass(frozen=True)
class SavedModel:
    """What a file holds.

    input_shape: of one row
    is_compiled: whether it has a loss and an optimizer of its own
    sha256: of the file
    """

    input_shape: tuple[int | None, ...]
    is_compiled: bool
    sha256: str


def described(file: Path) -> SavedModel:
    """Return what a `.keras` file holds. TensorFlow is not used: its threads are not set yet.

    Raises BadInput when there is no such file, it is no Keras model, or has not one input.
    """
    if file.suffix != ".keras":
        raise BadInput(f"--model must be a .keras file, got {file.name!r}")
    if not file.is_file():
        raise BadInput(f"model file {file.name!r} does not exist (looked for {file})")
    try:
        content = file.read_bytes()
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        layers = config["config"].get("layers", [])
        shapes = [
            each["config"]["batch_shape"] for each in layers if each["class_name"] == "InputLayer"
        ]
        if not layers and (built := (config.get("build_config") or {}).get("input_shape")):
            shapes = [built]
    except (OSError, KeyError, TypeError, AttributeError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(f"{file.name} must be a model saved by Keras 3: {error}") from error
    if len(shapes) != 1:
        raise BadInput(
            f"{file.name} must have one input, got {len(shapes) or 'a model that names none'}; for "
            "others write a study file whose build_model makes the model"
        )
    is_compiled = bool(config.get("compile_config"))
    return SavedModel(tuple(shapes[0][1:]), is_compiled, hashlib.sha256(content).hexdigest())
