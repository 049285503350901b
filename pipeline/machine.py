"""What this machine has for several workers: cores, memory, GPUs."""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import joblib

MEMINFO = Path("/proc/meminfo")
OWN_MEMORY = Path("/proc/self/statm")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")

CEILING_SHARE = 0.75
"""Of the memory's limit, that a search's processes share equally before they are renewed."""

WORTH_RENEWING_MB = 100.0
"""Growth since a process's first trial, below which a new one would be hardly smaller."""


@dataclass(frozen=True)
class Place:
    """Where a worker trains.

    gpu: its identifier, or those of several, as in CUDA_VISIBLE_DEVICES; None on the processor's
        cores
    gpu_share: of the GPU's memory
    """

    gpu: str | None = None
    gpu_share: float = 1.0

    @property
    def n_gpus(self) -> int:
        """How many GPUs the folds of its trials are spread over."""
        return 0 if self.gpu is None else self.gpu.count(",") + 1


def n_cores() -> int:
    """Return the cores that this process may use: affinity and a container's limit count."""
    return int(joblib.cpu_count())


def n_workers_for(n_gpus: int, threads: int | None, n_folds: float, n_trials: int) -> int:
    """Return how many workers suit this machine.

    One per GPU; or as many as keep the cores busy, where each trains a fold a core and no more
    than its folds (or than `threads`) at once. No more than there are trials, or than the free
    memory holds of processes like this one.
    n_folds: that a trial trains at once; the mean, where it does not train all from the start
    """
    n = n_gpus or max(1, int(n_cores() / (threads or n_folds)))
    if (free := free_memory_mb()) is not None:
        mine_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        n = min(n, max(1, int(free / mine_mb)))
    return min(n, n_trials)


@dataclass(frozen=True)
class Share:
    """What a worker has of a machine.

    threads: None is one per core; n_gpus: whole ones, or the one that it shares; None is all
    """

    threads: int | None = None
    n_gpus: int | None = None

    @classmethod
    def of_each(cls, n_workers: int, n_gpus: int) -> Share:
        """Return that of each of several workers on this machine, which has so many GPUs."""
        if n_workers == 1:
            return cls()
        return cls(max(1, n_cores() // n_workers), places(n_workers, n_gpus)[0].n_gpus or None)


EVERYTHING = Share()
"""That of a process that is alone on its machine."""


class Ceiling:
    """How large a process that trains may grow before another one takes its place.

    What XLA has compiled stays in memory until the process ends.

    limit_mb: of its resident memory; None is no limit
    is_reached: whether it was, at the last look
    """

    def __init__(self, limit_mb: float | None = None) -> None:
        self.limit_mb, self.is_reached = limit_mb, False
        self._first_mb: float | None = None

    def look(self) -> None:
        """See whether the process is over its limit, and a new one would be smaller.

        Called after every trial; at the first, a new process would be as large.
        """
        now_mb = used_memory_mb()
        if self.limit_mb is None or now_mb is None:
            return
        self._first_mb = now_mb if self._first_mb is None else self._first_mb
        has_grown = now_mb >= self._first_mb + WORTH_RENEWING_MB
        self.is_reached = has_grown and now_mb > self.limit_mb


def ceiling_mb(n_workers: int) -> float | None:
    """Return how large each of so many workers may grow, beside the process that answers.

    None where the memory is unknown.
    """
    limit_mb = memory_limit_mb()
    return None if limit_mb is None else CEILING_SHARE * limit_mb / (n_workers + 1)


def free_memory_mb() -> float | None:
    """Return the memory that new processes can have without swapping; None where it is unknown.

    A container's or job's limit counts as well as the machine's.
    """
    free = [limit - used for limit, used in _cgroup_memory_mb()] + _meminfo_mb("MemAvailable")
    return max(0.0, min(free)) if free else None


def memory_limit_mb() -> float | None:
    """Return the memory of the machine, the container or the job; None where it is unknown."""
    limits = [limit for limit, _ in _cgroup_memory_mb()] + _meminfo_mb("MemTotal")
    return min(limits, default=None)


def used_memory_mb() -> float | None:
    """Return this process's resident memory; None where the system does not say.

    Without mapped files, of which data may be one: the kernel takes their pages back as it needs.
    """
    with suppress(OSError):
        _, resident, of_files, *_ = map(int, OWN_MEMORY.read_text(encoding="utf-8").split())
        return (resident - of_files) * resource.getpagesize() / 2**20
    return None


def _meminfo_mb(wanted: str) -> list[float]:
    """Return one of the system's figures, or none."""
    with suppress(OSError):
        for line in MEMINFO.read_text(encoding="utf-8").splitlines():
            name, _, size_kb = line.partition(":")
            if name == wanted:
                return [float(size_kb.split()[0]) / 1024]
    return []


def _cgroup_memory_mb() -> Iterator[tuple[float, float]]:
    """Yield limit and use of each control group that limits this process, its own and those above.

    What the kernel can take back at once, pages of files last used long ago, does not count as use.
    """
    for folder in _cgroups():
        for limit, used, reclaimable in (
            ("memory.max", "memory.current", "inactive_file"),  # version 2
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),  # version 1
        ):
            with suppress(OSError, ValueError):  # ValueError: "max" is no limit
                limit_mb = int((folder / limit).read_text(encoding="utf-8")) / 2**20
                used_mb = int((folder / used).read_text(encoding="utf-8")) / 2**20
                stat = (folder / "memory.stat").read_text(encoding="utf-8").split()
                inactive = dict(zip(stat[::2], stat[1::2], strict=False)).get(reclaimable, "0")
                yield limit_mb, used_mb - int(inactive) / 2**20


def _cgroups() -> Iterator[Path]:
    """Yield the folders of the control groups that hold this process, as far as it sees them."""
    lines: list[str] = []
    with suppress(OSError):
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = CGROUPS / "memory" if controllers else CGROUPS
        own = top / path.lstrip("/")
        yield from (own, *(each for each in own.parents if each.is_relative_to(top)))


def places(n_workers: int, n_gpus: int, environment: Mapping[str, str] = os.environ) -> list[Place]:
    """Return a place for each worker.

    As many GPUs as there are for each, which then has them alone. Where there are more workers than
    GPUs, the GPUs in turn: those on one share its memory, on the first one with the process that
    answers.
    """
    gpus = gpu_names(n_gpus, environment)
    if not gpus:
        return [Place()] * n_workers
    if n_workers <= len(gpus):
        each, more = divmod(len(gpus), n_workers)
        ends = [each * n + min(n, more) for n in range(n_workers + 1)]
        return [Place(",".join(gpus[start:end])) for start, end in itertools.pairwise(ends)]
    on = [gpus[worker % len(gpus)] for worker in range(n_workers)]
    return [Place(gpu, 1 / (on.count(gpu) + (gpu == gpus[0]))) for gpu in on]


def gpu_names(n_gpus: int, environment: Mapping[str, str] = os.environ) -> Sequence[str]:
    """Return the identifiers of the GPUs that this process sees, as nvidia-smi takes them."""
    listed = [each.strip() for each in environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    named = [each for each in listed if each][:n_gpus]
    return named or [str(number) for number in range(n_gpus)]
