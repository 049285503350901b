"""TensorFlow's devices and threads, set once, before its first operation."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import BadInput
from pipeline.machine import free_memory_mb, n_cores
from pipeline.placement import size

HOST = "CPU:0"
"""TensorFlow's name of the processor's cores and the host's memory."""


@dataclass(frozen=True)
class Device:
    """A device that trains.

    name: TensorFlow's, such as "GPU:0"
    memory: bytes that this process can have of it; None is unknown
    """

    name: str = HOST
    memory: int | None = None

    @property
    def is_host(self) -> bool:
        """Whether its memory is the host's."""
        return self.name == HOST

    def __str__(self) -> str:
        return self.name if self.memory is None else f"{self.name} with {size(self.memory)} free"


@contextmanager
def quiet_start() -> Iterator[None]:
    """Keep what TensorFlow's C++ says of missing GPUs and processor features off the terminal.

    Some of it is written before any log level counts. Python's own errors still come through: they
    are raised, and written after the block.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with quiet_start():
    import keras
    import tensorflow as tf

    GPUS = tf.config.list_physical_devices("GPU")

# Every new model's first prediction is a trace: not the mistake that TensorFlow takes it for.
tf.get_logger().setLevel("ERROR")


def set_up(
    threads: int | None,
    *,
    operation_threads: int | None = None,
    gpu_share: float = 1.0,
    deterministic: bool = True,
) -> list[str]:
    """Set TensorFlow up, start it and return the names of the devices that training will use.

    As `prepare`.
    """
    prepare(
        threads,
        operation_threads=operation_threads,
        gpu_share=gpu_share,
        deterministic=deterministic,
    )
    return device_names()


def prepare(
    threads: int | None,
    *,
    operation_threads: int | None = None,
    gpu_share: float = 1.0,
    deterministic: bool = True,
) -> None:
    """Set what TensorFlow will start with; where it runs already, the same once more.

    threads: folds that train at once, on CPUs; None is one per core
    operation_threads: of one operation; None is as many. On CPUs their number is part of the
        result, bit for bit, for convolutions.
    gpu_share: of each GPU's memory, for workers that share one; 1 lets it grow as needed
    deterministic: of GPUs' operations; once it was asked for, it holds until the process ends
    Raises BadInput when Keras runs on another backend, or TensorFlow already runs with another
    number of threads.
    """
    if keras.backend.backend() != "tensorflow":
        raise BadInput(
            f"Keras must run on TensorFlow, got {keras.backend.backend()!r}: unset KERAS_BACKEND"
        )
    try:
        for gpu in GPUS:
            if gpu_share == 1.0:
                tf.config.experimental.set_memory_growth(gpu, True)
                continue
            # Each process has a context of its own beside what TensorFlow takes.
            limit_mb = int(0.9 * gpu_share * gpu_memory_mb())
            limited = tf.config.LogicalDeviceConfiguration(memory_limit=limit_mb)
            tf.config.set_logical_device_configuration(gpu, [limited])
        if GPUS and deterministic:
            tf.config.experimental.enable_op_determinism()
        for n, set_threads, get_threads in (
            (operation_threads or threads or 0,
             tf.config.threading.set_intra_op_parallelism_threads,
             tf.config.threading.get_intra_op_parallelism_threads),
            (threads or 0,
             tf.config.threading.set_inter_op_parallelism_threads,
             tf.config.threading.get_inter_op_parallelism_threads),
        ):  # fmt: skip
            if get_threads() != n:
                set_threads(n)
    except RuntimeError as error:
        raise BadInput(
            f"threads={threads} and operation_threads={operation_threads} must be set before "
            "TensorFlow runs; start a new process, or, where load_data() runs TensorFlow, write "
            f"both into the study: {error}"
        ) from error


def operation_threads() -> int | None:
    """Return how many threads an operation has in this process; None is one per core."""
    return tf.config.threading.get_intra_op_parallelism_threads() or None


def n_lanes() -> int:
    """Return how many folds train at once: one per core that TensorFlow may use.

    On a GPU one: it works off one call after the other anyway.
    """
    return 1 if GPUS else tf.config.threading.get_inter_op_parallelism_threads() or n_cores()


@functools.cache
def training_device() -> Device:
    """Return the device that trains: the first GPU, or else the processor.

    Its memory is what was free when this was first asked, before rows and states were in it.
    """
    if not GPUS:
        free_mb = free_memory_mb()
        return Device(HOST, None if free_mb is None else int(free_mb * 2**20))
    limits = tf.config.get_logical_device_configuration(GPUS[0]) or [None]
    limit_mb = getattr(limits[0], "memory_limit", None)
    try:
        return Device("GPU:0", int((limit_mb or gpu_memory_mb("free")) * 2**20))
    except BadInput:  # nobody says: then TensorFlow takes what it needs, and fails where it must
        return Device("GPU:0")


def gpu_memory_mb(which: str = "total") -> float:
    """Return the memory of the first GPU that this process sees.

    which: "total", or what is "free" of it
    Raises BadInput when the driver's tool does not say.
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    query = ["nvidia-smi", f"--query-gpu=memory.{which}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            [*query, f"--id={first}"], capture_output=True, text=True, check=True, timeout=60
        )
        return float(done.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise BadInput(
            "workers that share a GPU need its memory's size from nvidia-smi, which gave "
            f"{type(error).__name__}; use one worker per GPU"
        ) from error


def device_names() -> list[str]:
    """Return the names of the devices that TensorFlow sees."""
    with quiet_start():
        return [device.name for device in tf.config.list_logical_devices()]


def described_devices() -> list[str]:
    """Return every device in words: name, model and compute capability of a GPU, free memory."""
    trains, described = training_device(), []
    for name in device_names():
        short = name.removeprefix("/device:")
        parts = [str(trains) if short == trains.name else short]
        if short.startswith("GPU:"):
            details = tf.config.experimental.get_device_details(GPUS[int(short[4:])])
            parts.append(str(details.get("device_name", "of unknown make")))
            if capability := details.get("compute_capability"):
                parts.append(f"compute capability {'.'.join(map(str, capability))}")
        described.append(", ".join(parts))
    return described
