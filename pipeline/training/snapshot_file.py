"""A trial's training state as a file's content: arrays only, nothing that runs when it is read."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.training.devices import HOST
from pipeline.training.lockstep import Snapshot

VERSION = 1
"""Of the layout below. A file of another version is refused: it may mean something else."""


class OtherVersion(Exception):  # noqa: N818 - a statement about a file
    """The content was written by another version of this program; the message says which."""


class Unreadable(Exception):  # noqa: N818
    """The content is no whole snapshot: it was cut, or is something else."""


def as_bytes(snapshot: Snapshot, params: Mapping[str, Any]) -> bytes:
    """Return a snapshot as the content of an uncompressed `.npz`.

    `about` holds version, params and the states' types as JSON; arrays are named by fold and
    place: `state/0/3`, `metrics/0`, `row_losses/0`.
    """
    arrays: dict[str, np.ndarray] = {}
    types: dict[str, str] = {}
    for fold, state in snapshot.states.items():
        for place, value in enumerate(state):
            array, name = np.asarray(value), f"state/{fold}/{place}"
            types[name] = array.dtype.name
            # NumPy does not know bfloat16 and its kin: their bits are stored.
            arrays[name] = array.view(f"u{array.itemsize}") if array.dtype.kind == "V" else array
    for fold, metrics in snapshot.metrics.items():
        arrays[f"metrics/{fold}"] = metrics
    for fold, losses in snapshot.row_losses.items():
        if losses:
            arrays[f"row_losses/{fold}"] = np.stack(losses)
    about = {"version": VERSION, "params": dict(params), "types": types}
    buffer = io.BytesIO()
    arrays["about"] = np.array(json.dumps(about))
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # names are not known beforehand
    return buffer.getvalue()


def of_bytes(content: bytes) -> tuple[Snapshot, dict[str, Any]]:
    """Return the snapshot, its states on the host, and the parameters that it is of.

    Raises OtherVersion, and Unreadable for a file that was cut or is no snapshot.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            if about["version"] != VERSION:
                raise OtherVersion(f"version {about['version']}, this program has {VERSION}")
            arrays = {name: stored[name] for name in stored.files if name != "about"}
    except OtherVersion:
        raise
    except Exception as error:  # whatever a damaged archive makes of its reader
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    states: dict[int, list[Any]] = {}
    for name, kind in about["types"].items():  # in the order of the states' places
        value = arrays[name]
        dtype = tf.dtypes.as_dtype(kind).as_numpy_dtype
        with tf.device(HOST):
            states.setdefault(int(name.split("/")[1]), []).append(
                tf.constant(value if value.dtype == dtype else value.view(dtype))
            )
    return Snapshot(
        {fold: tuple(state) for fold, state in states.items()},
        {fold: arrays[f"metrics/{fold}"] for fold in states},
        {fold: tuple(arrays.get(f"row_losses/{fold}", ())) for fold in states},
    ), about["params"]
