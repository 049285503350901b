"""What runs on a node of a Ray cluster: a worker, and what the head asks before there are any.

Nothing heavy is imported before the worker has its environment.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.batch import WORKER_GRACE_SECS, StopRequest
from pipeline.cli_jobs import worker_options
from pipeline.ending import Ending, ending_of

HANDED_ON = ("KERAS_", "TF_", "XLA_", "OMP_NUM_THREADS")
"""Beginnings of the variables that a worker has as the head has them: they change bits."""


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    number: among the workers of its search
    arguments: as of `python -m pipeline.worker`
    folder: which relative paths among them are relative to
    log: the file, on its node, that gets what it says
    goes_on: whether there is one of a worker before it, whose place it takes
    n_on_a_node: workers that share a node's memory
    environment: its variables that begin as HANDED_ON
    """

    number: int
    arguments: Sequence[str]
    folder: str
    log: Path
    goes_on: bool
    n_on_a_node: int
    environment: Mapping[str, str]


def handed_on(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a worker is to have as this process has them."""
    return {name: value for name, value in environment.items() if name.startswith(HANDED_ON)}


def about_node(
    study: str,
    folder: str,
    marker: str | None,
    server: str | None = None,
    patience_secs: float = 0.0,
) -> dict[str, Any]:
    """Return what the head must know of a node before anything is trained.

    study: the study's file; folder: in which the command was started
    marker: a file that the head sees, where nodes must share the study's folder
    server: the database server on which they meet, where they need not
    patience_secs: how long one that is away is asked again
    Raises BadInput and StoreUnavailable where this node cannot use the server.
    """
    if server is not None:
        from pipeline.optimization import check_server

        check_server(server, patience_secs)
    from pipeline.tracking.provenance import versions

    wanted = {
        f"the study file {study}": study,
        f"the folder {folder}, in which the command was started": folder,
    }
    if marker is not None:
        wanted["the head's folder mlruns: nodes that do not share it need --storage "
               "postgresql://…"] = marker  # fmt: skip
    lacks = [what for what, path in wanted.items() if not Path(path).exists()]
    return {"host": platform.node(), "time": time.time(), "versions": versions(), "lacks": lacks}


class Worker:
    """An actor that trains trials: the same worker as in a process of the head's.

    It works in one thread, and hears in others.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stop = StopRequest(WORKER_GRACE_SECS)
        self._begun, self._never = threading.Event(), threading.Event()
        self._until: float | None = None

    def where(self) -> str:
        """Return the name of the node that it is on."""
        return platform.node()

    def live(self, left: float | None) -> None:
        """Begin, and do not return: whoever waits for this hears of the process's end.

        left: seconds until it is to end; None is never
        """
        self._until = None if left is None else time.monotonic() + left
        self._begun.set()
        self._never.wait()

    def stop(self) -> None:
        """Let it stop after its epoch."""
        self._stop.ask(gives_up=True)

    def work(self) -> dict[str, Any]:
        """Train until there is nothing more to do; return what `python -m pipeline.worker` tells.

        Ray calls it again where the process has died. The head must have seen that, so that nobody
        works whom it does not watch.
        """
        self._begun.wait()
        self._say_in_log()
        options = worker_options(self._job.arguments)
        return ending_of(lambda facts: self._worked(options), options).as_plain("worker", 0.0)

    def _worked(self, options: argparse.Namespace) -> Ending:
        self._take_environment()
        from pipeline.machine import ceiling_mb
        from pipeline.progress import Lines
        from pipeline.worker import worked

        options.until, options.memory_limit = self._until, ceiling_mb(self._job.n_on_a_node)
        options.number_on_ray = self._job.number
        return worked(options, Lines(), self._stop)

    def _take_environment(self) -> None:
        os.chdir(self._job.folder)
        for name in handed_on():
            del os.environ[name]  # OMP_NUM_THREADS, most often, which Ray sets
        os.environ.update(self._job.environment)

    def _say_in_log(self) -> None:
        """Write what this process says into the study's folder, and not among Ray's logs."""
        import ray

        job = self._job
        goes_on = job.goes_on or ray.get_runtime_context().was_current_actor_reconstructed
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab" if goes_on else "wb") as log:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(log.fileno(), stream.fileno())
