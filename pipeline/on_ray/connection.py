"""A connection to a Ray cluster, opened readably and quietly, and closed with its block."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Of a server that takes connections and says nothing: Ray would ask for 45 seconds, 20 times.
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")
# Or it would end this process, without a word, a minute after the cluster's head.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "600")

import ray  # which reads the variables

from pipeline.errors import BadInput, StoreUnavailable, in_one_line
from pipeline.machine import n_cores
from pipeline.on_ray.places import LOCAL

CONNECT_SECS = 10.0

LOOK_SECS = 5.0
"""Between two looks at the cluster's head."""

SILENCE_SECS = 20.0
"""Of that, after which the cluster is lost: its nodes end after a minute, workers and all."""

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


class Pulse:
    """Whether the head of a cluster is there.

    Ray says nothing when it is not, tries for a minute, and then ends the process.

    address: HOST:PORT; None is that of the cluster that this process is connected to
    clock: seconds
    """

    def __init__(
        self, address: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address or ray.get_runtime_context().gcs_address
        self._clock = clock
        self._looked = self._heard = clock()

    def is_there(self) -> bool:
        """Look for it."""
        self._looked = self._clock()
        host, _, port = self._address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=1.0):
                self._heard = self._looked
        except OSError:
            return False
        return True

    def check(self) -> None:
        """Look for it, now and then. Raises StoreUnavailable when it has been away for too long."""
        if self._clock() < self._looked + LOOK_SECS or self.is_there():
            return
        if self._looked > self._heard + SILENCE_SECS:
            reason = f"nothing has answered for {SILENCE_SECS:g} s"
            raise StoreUnavailable(
                f"{_away(self._address, reason)}; start it and the same command: what was trained "
                "is kept"
            )


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put SIGTERM's handler back: Ray sets one of its own, which knows no search."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is not before:
            signal.signal(signal.SIGTERM, before)
