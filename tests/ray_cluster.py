"""A real Ray cluster of several nodes on this machine, and the workers in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

OBJECT_STORE_BYTES = 80 * 2**20


@contextmanager
def running_cluster(*n_cpus: int) -> Iterator[Any]:
    """Yield a cluster; its first node is the head, on which the command runs."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for n in n_cpus:
            add_node(cluster, n)
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Any, n_cpus: int, **options: Any) -> Any:
    store = OBJECT_STORE_BYTES
    return cluster.add_node(
        num_cpus=n_cpus, include_dashboard=False, object_store_memory=store, **options
    )


def actors_of(home: Path) -> list[int]:
    """Return the processes that write what they say into a project's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "fd" / "2").readlink().is_relative_to(home) and b"ray::" in (
                process / "cmdline"
            ).read_bytes():
                found.append(int(process.name))
    return found
