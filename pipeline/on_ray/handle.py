"""What the head holds of a worker that Ray places, watches and starts again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.batch import GRACE_SECS
from pipeline.crew import End
from pipeline.errors import in_one_line
from pipeline.on_ray.actor import Job, Worker, handed_on
from pipeline.on_ray.connection import Pulse
from pipeline.on_ray.places import Placement

N_THREADS = 4
"""Of an actor: it works in one, waits in another one, and answers."""

DIED = "the loss of its process or of its node"


class RayWorker:
    """A worker's actor, and the one that takes its place when it has grown too large.

    One that dies with its process or its node is started again by Ray, which calls its work anew.
    """

    def __init__(
        self, job: Job, needs: Mapping[str, float], deadline: float | None, pulse: Pulse
    ) -> None:
        self._job, self._node = job, ""
        self._deadline, self._pulse = deadline, pulse
        others = dict(needs)
        self._actors = ray.remote(Worker).options(
            num_cpus=others.pop("CPU", 0), num_gpus=others.pop("GPU", 0),
            memory=others.pop("memory", None), resources=others, max_restarts=-1,
            max_concurrency=N_THREADS, scheduling_strategy="SPREAD",
        )  # fmt: skip
        self._actor: Any = None
        self._work: Any = None
        self._where: Any = None
        self._life: Any = None  # from when it has a place
        self._at_work = False

    @property
    def name(self) -> str:
        """Its number, and the node that it was last on."""
        number = self._job.number
        return f"{number} on {self._node}" if self._node else str(number)

    @property
    def log(self) -> str:
        """Where that is which it says."""
        return f"{self._job.log} on {self._node or 'its node'}"

    def start(self) -> None:
        """Start an actor, or take that Ray starts the one again that has died."""
        if self._actor is None:
            self._actor = self._actors.remote(self._job)
            self._work = self._actor.work.options(max_task_retries=-1).remote()
            self._job = replace(self._job, goes_on=True)
        self._where = self._actor.where.options(max_task_retries=-1).remote()
        self._life, self._at_work = None, True

    @property
    def is_at_work(self) -> bool:
        """Whether its end has not been seen yet."""
        return self._at_work

    @property
    def is_waiting(self) -> bool:
        """Whether Ray has found no place for it yet."""
        if not self._at_work:
            return False
        if self._life is None and _is_done(self._where):
            with suppress(RayError):  # said by its work, too
                self._node = ray.get(self._where)
            left = None if self._deadline is None else self._deadline - time.monotonic()
            # Not called again: it fails when the process has ended that it was called in.
            self._life = self._actor.live.options(max_task_retries=0).remote(left)
        return self._life is None

    def ended(self) -> End | None:
        """Return its end, or its death, once; None before and after that.

        Raises StoreUnavailable when the cluster is lost.
        """
        if not self._at_work:
            return None
        self._pulse.check()
        if _is_done(self._work):
            end = self._end_of_work()
            self._let_go()
            return end
        if self.is_waiting or not _is_done(self._life):
            return None
        self._at_work = False
        return End(None, died_of=DIED)

    def ask_to_stop(self) -> None:
        """Let it stop after its epoch; one that has no place yet is not started any more."""
        if self.is_waiting:
            self._let_go()
        elif self._at_work:
            self._actor.stop.remote()

    def end(self) -> None:
        """Wait until it has stopped, and kill it if it does not."""
        if self._at_work and not self.is_waiting:
            ray.wait([self._work], timeout=GRACE_SECS)
        self._let_go()

    def _end_of_work(self) -> End:
        try:
            told = ray.get(self._work)
        except RayError as error:  # Ray has given it up
            return End(None, died_of=f"{DIED}: {in_one_line(error)}")
        return End(told["exit_code"], told)

    def _let_go(self) -> None:
        """Give its place back; Ray does not start it again."""
        if self._actor is not None and self._pulse.is_there():
            ray.kill(self._actor)
        self._actor, self._at_work = None, False


def _is_done(call: Any) -> bool:
    return bool(ray.wait([call], timeout=0)[0])


def ray_workers(
    placement: Placement,
    arguments: Sequence[str],
    folder: Path,
    logs: Path,
    deadline: float | None,
) -> list[RayWorker]:
    """Return the workers of a crew, none of which is started.

    folder: which relative paths among the arguments are relative to; logs: of theirs
    deadline: by this process's monotonic clock; None is none
    """
    told = (*arguments, "--gpu-share", str(placement.gpu_share))
    n_on_a_node, environment, pulse = placement.n_on_a_node, handed_on(), Pulse()
    return [
        RayWorker(
            Job(number, told, str(folder), logs / f"{number}.log", False, n_on_a_node, environment),
            placement.needs,
            deadline,
            pulse,
        )
        for number in range(1, placement.n_workers + 1)
    ]
