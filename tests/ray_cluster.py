"""A real Ray cluster of several nodes on this machine, and the workers in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.machines import on_machine
from tests.server import ENVIRONMENT

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


@contextmanager
def node_apart(
    cluster: Any,
    name: str,
    environment: Mapping[str, str] | None = None,
    *,
    mounts: Mapping[Path, Path] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Add a node of one CPU that has a host name, mounts and variables of its own.

    mounts: as of `on_machine`
    Yields what can be killed, like the machine.
    """
    ray = Path(sys.executable).with_name("ray")
    start = [
        ray, "start", f"--address={cluster.address}", "--num-cpus=1",
        f"--object-store-memory={OBJECT_STORE_BYTES}", "--block",
    ]  # fmt: skip
    n_before, nothing = len(_alive(cluster)), subprocess.DEVNULL
    node = subprocess.Popen(
        on_machine(name, start, mounts), env={**os.environ, **ENVIRONMENT, **(environment or {})},
        stdin=nothing, stdout=nothing, stderr=nothing,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while len(_alive(cluster)) == n_before:
            assert node.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield node
    finally:
        node.kill()
        node.wait()


def _alive(cluster: Any) -> list[Any]:
    return [node for node in cluster.global_state.node_table() if node["Alive"]]


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
