"""Where the workers of a study meet: in its folder, or in a database server.

In a folder that all of them share, the kernel's locks say who holds the study and who is at which
trial. Where nodes share a server and no folder, the server's locks and Optuna's heartbeats do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from pipeline import nodes, optimization
from pipeline.batch import StopRequest, is_held, only_run_of
from pipeline.errors import AnotherRunActive, StoreUnavailable
from pipeline.question import Question

Waiting = Callable[[str], None]


class Claims(Protocol):
    """Which worker is at which trial; see `optimization.Claims`."""

    def asking(self) -> AbstractContextManager[None]:
        """Hold the lock under which trials are begun, taken up and let go."""

    def take(self, number: int) -> bool:
        """Claim a trial; return whether it is this worker's now. Only while asking."""

    def is_taken(self, number: int) -> bool:
        """Whether another worker is at the trial. Only while asking."""

    def release(self, number: int) -> None:
        """Let a trial go, if it is held."""

    def check(self, number: int, *, now: bool = False) -> None:
        """Raise TakenOver when another worker has taken up the trial meanwhile."""


class Meeting(Protocol):
    """Where the workers of one study meet.

    shares_folder: whether all of them have the study's folder
    """

    shares_folder: bool

    def only_holder(self, waiting: Waiting | None) -> AbstractContextManager[None]:
        """Hold the study. Raises AnotherRunActive when it is held, unless `waiting` waits."""

    def is_held(self) -> bool:
        """Whether another process holds the study."""

    def claims(self, study: Any) -> Claims:
        """Return this process's claims on the trials of Optuna's study."""


class InFolder:
    """The study's folder, on a file system that all workers share."""

    shares_folder = True

    def __init__(self, question: Question) -> None:
        self._folder = question.folder

    def only_holder(self, waiting: Waiting | None) -> AbstractContextManager[None]:
        """Hold the folder's lock."""
        return only_run_of(self._folder, waiting=waiting)

    def is_held(self) -> bool:
        """Whether another process holds the folder's lock."""
        return is_held(self._folder)

    def claims(self, study: Any) -> optimization.Claims:
        """Return locks in the folder."""
        return optimization.Claims(self._folder / "claims")


class InServer:
    """A database server, which all workers reach; each has a folder of its own, or shares it.

    stop: is asked to stop when the server was away and another process has taken the study over
    alone: whether no other study of its name may be held at once
    """

    shares_folder = False

    def __init__(
        self,
        question: Question,
        url: str,
        patience_secs: float,
        stop: StopRequest,
        say: Callable[[str], None],
        *,
        alone: bool = False,
    ) -> None:
        self._question, self._url = question, url
        self._stop, self._say = stop, say
        self._lock = optimization.StudyLock(
            url, question.spec.name, question.name, alone=alone, patience_secs=patience_secs
        )

    @contextmanager
    def only_holder(self, waiting: Waiting | None) -> Iterator[None]:
        """Hold the server's lock, and the folder's."""
        while not self._acquired():
            holder = self._lock.holder() or "unknown"
            if waiting is None:
                raise AnotherRunActive(f"another process is running this study: {holder}")
            waiting(holder)
            time.sleep(1.0)
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(ended,), name="study-lock", daemon=True)
        keeper.start()
        try:
            with only_run_of(self._question.folder, waiting=waiting):
                yield
        finally:
            ended.set()
            keeper.join()
            self._lock.release()

    def _acquired(self) -> bool:
        try:
            return self._lock.acquire()
        except optimization.AnotherHeld as error:
            raise nodes.another_study(self._question, self._url, str(error)) from error

    def is_held(self) -> bool:
        """Whether another process holds the server's lock."""
        return bool(self._lock.holder())

    def claims(self, study: Any) -> optimization.HeartbeatClaims:
        """Return claims by Optuna's heartbeats."""
        return optimization.HeartbeatClaims(study)

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(optimization.LOOK_SECS):
            try:
                if self._lock.keep():
                    continue
            except StoreUnavailable:
                continue  # it is away; whoever asks it of something has patience, or not
            self._say(
                "the database was away, and another process has taken the study over: this one "
                "stops"
            )
            self._stop.ask()
            return
