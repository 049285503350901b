"""TensorFlow's devices and threads, set once, before its first operation."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import BadInput
from pipeline.machine import Place, free_memory_mb, gpu_names, n_cores
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
    # Or else CUDA counts GPUs from the fastest on, and nvidia-smi from the first slot.
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
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
    n_gpus: int | None = None,
    gpu_share: float = 1.0,
    deterministic: bool = True,
) -> list[str]:
    """Set TensorFlow up, start it and return the names of the devices that training will use.

    As `prepare`.
    """
    prepare(
        threads,
        operation_threads=operation_threads,
        n_gpus=n_gpus,
        gpu_share=gpu_share,
        deterministic=deterministic,
    )
    return device_names()


def prepare(
    threads: int | None,
    *,
    operation_threads: int | None = None,
    n_gpus: int | None = None,
    gpu_share: float = 1.0,
    deterministic: bool = True,
) -> None:
    """Set what TensorFlow will start with; where it runs already, the same once more.

    threads: folds that train at once, on CPUs; None is one per core
    operation_threads: of one operation; None is as many. On CPUs their number is part of the
        result, bit for bit, for convolutions.
    n_gpus: of those that it sees, that this process uses: the first ones; None is all
    gpu_share: of each GPU's memory, for workers that share one: TensorFlow takes no more; 1 lets it
        grow as needed
    deterministic: of GPUs' operations; once it was asked for, it holds until the process ends
    Raises BadInput when Keras runs on another backend, or TensorFlow already runs with another
    number of threads.
    """
    if keras.backend.backend() != "tensorflow":
        raise BadInput(
            f"Keras must run on TensorFlow, got {keras.backend.backend()!r}: unset KERAS_BACKEND"
        )
    try:
        if n_gpus is not None:
            tf.config.set_visible_devices(GPUS[:n_gpus], "GPU")
        for number, gpu in enumerate(GPUS[:n_gpus]):
            if gpu_share == 1.0:
                tf.config.experimental.set_memory_growth(gpu, True)
                continue
            limit_mb = int(_limit_mb(gpu_memory_mb(number=number), gpu_share))
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
    """Return how many folds train at once on a device: one per core that TensorFlow may use.

    On a GPU one: it works off one call after the other anyway.
    """
    return 1 if GPUS else tf.config.threading.get_inter_op_parallelism_threads() or n_cores()


@functools.cache
def training_devices() -> tuple[Device, ...]:
    """Return the devices that train: this process's GPUs, or else the processor.

    Of GPUs those that are like the first one: folds that advance together would wait for a slower
    one, and another kind may give other last bits. Their memory is what was free when this was
    first asked, before rows and states were in it.
    """
    if not GPUS:
        free_mb = free_memory_mb()
        return (Device(HOST, None if free_mb is None else int(free_mb * 2**20)),)
    numbers = [int(name.rpartition(":")[2]) for name in device_names() if "GPU:" in name]
    return tuple(_gpu(number) for number in numbers if _make(number) == _make(0))


def _make(number: int) -> str | None:
    details = tf.config.experimental.get_device_details(GPUS[number])
    return details.get("device_name")


def _gpu(number: int) -> Device:
    name = f"GPU:{number}"
    try:
        free_mb = _set_limit_mb(number) or gpu_memory_mb("free", number)
        return Device(name, int(free_mb * 2**20))
    except BadInput:  # nobody says: then TensorFlow takes what it needs, and fails where it must
        return Device(name)


def _set_limit_mb(number: int) -> float | None:
    limits = tf.config.get_logical_device_configuration(GPUS[number]) or [None]
    limit_mb: float | None = getattr(limits[0], "memory_limit", None)
    return limit_mb


def gpu_capacity_mb(place: Place) -> float | None:
    """Return what a worker at a place may take of its first GPU; the others that it uses are alike.

    None where nobody says.
    """
    assert place.gpu is not None
    number = gpu_names(len(GPUS)).index(place.gpu.partition(",")[0])
    try:
        return _limit_mb(gpu_memory_mb(number=number), place.gpu_share)
    except BadInput:
        return None


def own_gpu_mb() -> float | None:
    """Return what this process may take of its first GPU; None where nobody says."""
    try:
        return _set_limit_mb(0) or gpu_memory_mb()
    except BadInput:
        return None


def _limit_mb(memory_mb: float, gpu_share: float) -> float:
    """Return what a process takes of a GPU that it shares: each has a context beside that."""
    return memory_mb if gpu_share == 1.0 else 0.9 * gpu_share * memory_mb


def gpu_memory_mb(which: str = "total", number: int = 0) -> float:
    """Return the memory of a GPU that this process sees.

    which: "total", or what is "free" of it
    Raises BadInput when the driver's tool does not say.
    """
    gpu = gpu_names(len(GPUS))[number]
    query = ["nvidia-smi", f"--query-gpu=memory.{which}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            [*query, f"--id={gpu}"], capture_output=True, text=True, check=True, timeout=60
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
    train, described = {each.name: each for each in training_devices()}, []
    for name in device_names():
        short = name.removeprefix("/device:")
        parts = [str(train.get(short, short))]
        if short.startswith("GPU:"):
            details = tf.config.experimental.get_device_details(GPUS[int(short[4:])])
            parts.append(str(details.get("device_name", "of unknown make")))
            if capability := details.get("compute_capability"):
                parts.append(f"compute capability {'.'.join(map(str, capability))}")
        described.append(", ".join(parts))
    return described
