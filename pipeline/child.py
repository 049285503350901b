"""A worker in a process of its own, a child of its supervisor's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.batch import GRACE_SECS
from pipeline.crew import End
from pipeline.machine import Place, ceiling_mb, places


def children(
    devices_mb: Sequence[float], n_gpus: int, arguments: Sequence[str], folder: Path, logs: Path
) -> list[Child]:
    """Return the workers of a crew on this machine, none of which is started.

    devices_mb: by worker, what a trial may take of its device
    folder: which relative paths among the arguments are relative to; logs: of theirs
    """
    n_workers = len(devices_mb)
    limit_mb = ceiling_mb(n_workers)
    told = [
        *arguments,
        *("--supervisor", str(os.getpid())),
        *(() if limit_mb is None else ("--memory-limit", str(limit_mb))),
    ]
    on = enumerate(zip(places(n_workers, n_gpus), devices_mb, strict=True), start=1)
    return [
        Child(number, place, [*told, "--device-memory", str(mb)], folder, logs)
        for number, (place, mb) in on
    ]


def name_of(number: int) -> str:
    """Return a signal's name; not every number has one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Child:
    """A worker's process, and the one that takes its place when it dies."""

    is_waiting = False

    def __init__(
        self, number: int, place: Place, arguments: Sequence[str], folder: Path, logs: Path
    ) -> None:
        self.name, self._log = str(number), logs / f"{number}.log"
        self._output = logs / f"{number}.json"
        self._command = [
            *(sys.executable, "-m", "pipeline.worker", *arguments),
            *("--gpu-share", str(place.gpu_share)),
        ]
        self._folder = folder
        self._environment = dict(os.environ)
        if place.gpu is not None:
            self._environment["CUDA_VISIBLE_DEVICES"] = place.gpu
        self._process: subprocess.Popen[bytes] | None = None
        self._log.write_bytes(b"")

    @property
    def log(self) -> str:
        """Where that is which it says."""
        return str(self._log)

    def start(self) -> None:
        """Start a process; Ctrl-C in the terminal does not reach it, only its supervisor does."""
        # Files, not pipes: what a worker has started may live on and keep a pipe open.
        with self._log.open("ab") as log, self._output.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=log,
                cwd=self._folder, env=self._environment, start_new_session=True,
            )  # fmt: skip

    @property
    def is_at_work(self) -> bool:
        """Whether its end has not been seen yet."""
        return self._process is not None

    def ended(self) -> End | None:
        """Return its end, once; None before and after that."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        if code < 0:
            return End(None, died_of=name_of(-code))
        told: dict[str, Any] = {}
        with suppress(ValueError):  # one that ended in a hurry said nothing
            told = json.loads(self._output.read_bytes())
        return End(code, told)

    def ask_to_stop(self) -> None:
        """Let it stop after its epoch."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait until it has stopped, and kill it if it does not."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=GRACE_SECS)
        self._process.kill()
        self._process.wait()
