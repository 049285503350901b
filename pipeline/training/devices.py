"""TensorFlow's devices and threads, set once, before its first operation."""

from __future__ import annotations

import os

# Read by TensorFlow when it is imported: without it, every start prints a dozen lines about
# processor features and missing GPUs.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from pipeline.errors import BadInput


def set_up(threads: int | None) -> list[str]:
    """Prepare TensorFlow and return the names of the devices that training will use.

    threads: of one operation and between operations; None is one per core. On CPUs their number
        is part of the result, bit for bit, for convolutions.
    Raises BadInput when Keras runs on another backend, or TensorFlow already runs with another
    number of threads.
    """
    if keras.backend.backend() != "tensorflow":
        raise BadInput(
            f"Keras must run on TensorFlow, got {keras.backend.backend()!r}: unset KERAS_BACKEND"
        )
    gpus = tf.config.list_physical_devices("GPU")
    try:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        if gpus:
            tf.config.experimental.enable_op_determinism()
        for set_threads, get_threads in (
            (tf.config.threading.set_intra_op_parallelism_threads,
             tf.config.threading.get_intra_op_parallelism_threads),
            (tf.config.threading.set_inter_op_parallelism_threads,
             tf.config.threading.get_inter_op_parallelism_threads),
        ):  # fmt: skip
            if get_threads() != (threads or 0):
                set_threads(threads or 0)
    except RuntimeError as error:
        raise BadInput(
            f"threads={threads} must be set before TensorFlow runs; start a new process: {error}"
        ) from error
    return [device.name for device in tf.config.list_logical_devices()]
