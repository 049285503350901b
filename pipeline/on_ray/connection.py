"""A connection to a Ray cluster, opened readably and quietly, and closed with its block."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Of a server that takes connections and says nothing: Ray would ask for 45 seconds, 20 times.
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")

import ray  # which reads the variables

from pipeline.errors import BadInput, StoreUnavailable, in_one_line
from pipeline.machine import n_cores
from pipeline.on_ray.places import LOCAL

CONNECT_SECS = 10.0
OBJECT_STORE_BYTES = 100 * 2**20
"""Of a cluster that is started here: what workers tell is small. Ray would take 30 % of memory."""


@contextmanager
def connected(address: str, *, log: Path, n_gpus: int = 0) -> Iterator[None]:
    """Be connected to a cluster, or to one that is started here and ends with the block.

    log: gets what Ray says of it
    n_gpus: of this machine, for a cluster that is started here
    Raises BadInput and StoreUnavailable.
    """
    options: dict[str, Any] = {}
    if address == LOCAL:
        options = {
            "num_cpus": n_cores(),
            "num_gpus": n_gpus,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    elif address != "auto":
        _check_answers(address)
    # Ray's threads print, in colours, whatever becomes of an actor.
    with log.open("a", encoding="utf-8") as kept, redirect_stdout(kept):
        with _signals_kept(), redirect_stderr(kept):
            _connect(address, options)
        try:
            yield
        finally:
            ray.shutdown()


def _connect(address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ConnectionError as error:
        raise StoreUnavailable(_away(address, in_one_line(error))) from error
    except Exception as error:  # other versions, a machine that is no node of it
        raise BadInput(
            f"--ray must be a cluster that this process can join, got {address}: "
            f"{in_one_line(error)}"
        ) from error


def _check_answers(address: str) -> None:
    """Raise where nobody listens: Ray itself goes on trying for many minutes."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdecimal()) or "/" in host:
        raise BadInput(
            f"--ray must be HOST:PORT of a cluster that this machine is a node of, auto for the "
            f"one that runs here, or {LOCAL} for a new one, got {address!r}"
        )
    try:
        with socket.create_connection((host, int(port)), timeout=CONNECT_SECS):
            pass
    except (socket.gaierror, OverflowError) as error:
        raise BadInput(_away(address, str(error))) from error
    except OSError as error:
        raise StoreUnavailable(_away(address, error.strerror or str(error))) from error


def _away(address: str, reason: str) -> str:
    return f"Ray's cluster at {address} cannot be reached: {reason}"


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put SIGTERM's handler back: Ray sets one of its own, which knows no search."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)
