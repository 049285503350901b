"""What this machine has for several workers: cores, memory, GPUs."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import joblib

MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Place:
    """Where a worker trains.

    gpu: its identifier, as in CUDA_VISIBLE_DEVICES; None on the processor's cores
    gpu_share: of the GPU's memory
    """

    gpu: str | None = None
    gpu_share: float = 1.0


def n_cores() -> int:
    """Return the cores that this process may use: affinity and a container's limit count."""
    return int(joblib.cpu_count())


def n_workers_for(n_gpus: int, threads: int | None, n_trials: int) -> int:
    """Return how many workers suit this machine: one per GPU, or per core (or `threads` cores).

    No more than there are trials, or than the free memory holds of processes like this one.
    """
    n = n_gpus or max(1, n_cores() // (threads or 1))
    if (free := free_memory_mb()) is not None:
        mine_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        n = min(n, max(1, int(free / mine_mb)))
    return min(n, n_trials)


def free_memory_mb() -> float | None:
    """Return the memory that new processes can have without swapping; None where it is unknown."""
    with suppress(OSError):
        for line in MEMINFO.read_text(encoding="utf-8").splitlines():
            name, _, size_kb = line.partition(":")
            if name == "MemAvailable":
                return float(size_kb.split()[0]) / 1024
    return None


def places(n_workers: int, n_gpus: int, environment: Mapping[str, str] = os.environ) -> list[Place]:
    """Return a place for each worker: the GPUs in turn, their memory shared by those on one."""
    gpus = _visible(n_gpus, environment)
    if not gpus:
        return [Place()] * n_workers
    on = [gpus[worker % len(gpus)] for worker in range(n_workers)]
    return [Place(gpu, 1 / on.count(gpu)) for gpu in on]


def _visible(n_gpus: int, environment: Mapping[str, str]) -> Sequence[str]:
    """Return the identifiers of the GPUs that this process sees."""
    listed = [each.strip() for each in environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    named = [each for each in listed if each][:n_gpus]
    return named or [str(number) for number in range(n_gpus)]
