"""A real Ray cluster of several nodes on this machine, and the workers in it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

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


UNSHARE = ("unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child=KILL")
"""Gives a process its own host name, mounts and processes; they all die with it."""


@contextmanager
def node_apart(
    cluster: Any,
    name: str,
    environment: Mapping[str, str] | None = None,
    *,
    mounts: Mapping[Path, Path] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Add a node of one CPU that has a host name, mounts and variables of its own.

    mounts: folder that it sees → the one that it has there
    Yields what can be killed, like the machine. Skips the test where the system does not allow it.
    """
    if (
        not shutil.which("unshare")
        or subprocess.run([*UNSHARE, "true"], capture_output=True).returncode
    ):
        pytest.skip("a node with a host name of its own needs unshare, and root")
    n_before = len(_alive(cluster))
    steps = [f"hostname {name}"]
    steps += [
        f"mount --bind {shlex.quote(str(has))} {shlex.quote(str(sees))}"
        for sees, has in (mounts or {}).items()
    ]
    ray = Path(sys.executable).with_name("ray")
    steps.append(
        f"exec {shlex.quote(str(ray))} start --address={cluster.address} --num-cpus=1 "
        f"--object-store-memory={OBJECT_STORE_BYTES} --block"
    )
    given = {**os.environ, **ENVIRONMENT, **(environment or {})}
    node = subprocess.Popen(
        [*UNSHARE, "sh", "-ec", "; ".join(steps)],
        env=given, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
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
