"""A clock that nobody waits for: one worker works at a time, and what it really took is charged."""

from __future__ import annotations

import bisect
import heapq
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Engine, event


class Clock(Protocol):
    """What workers go by, in seconds."""

    def now(self) -> float:
        """Return the time."""

    def sleep(self, secs: float) -> None:
        """Let so much time pass."""


class RealClock:
    """The machine's, which its processes share."""

    def now(self) -> float:
        """Return the time."""
        return time.monotonic()

    def sleep(self, secs: float) -> None:
        """Let so much time pass."""
        time.sleep(max(0.0, secs))


class Cost(NamedTuple):
    """What something takes: of this thread's processor, of the server's, and ways to the server."""

    client_secs: float
    server_secs: float
    n_round_trips: int


class Meter:
    """Reads what this thread and a server's sessions have had by now.

    Time on processors, which other work on the machine does not lengthen as it does any other.
    """

    def __init__(self, engine: Engine) -> None:
        self._sessions: dict[int, int] = {}  # process -> its open statistics
        self._n_round_trips = 0
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "close", self._closed)
        ping = engine.dialect.do_ping
        dialect: Any = engine.dialect

        def counted(connection: Any) -> bool:
            self._sent()
            return ping(connection)

        dialect.do_ping = counted
        for what in ("before_cursor_execute", "begin", "commit", "rollback"):
            event.listen(engine, what, self._sent)

    def read(self) -> Cost:
        """Return it."""
        served = sum(int(os.pread(each, 64, 0).split()[0]) for each in self._sessions.values())
        return Cost(time.thread_time(), served / 1e9, self._n_round_trips)

    def _connected(self, connection: Any, record: Any) -> None:
        pid = connection.info.backend_pid
        self._sessions[pid] = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY)

    def _closed(self, connection: Any, record: Any) -> None:
        with suppress(KeyError):
            os.close(self._sessions.pop(connection.info.backend_pid))

    def _sent(self, *about: Any) -> None:
        self._n_round_trips += 1


@dataclass(eq=False)
class _Worker:
    """One of those whose turn it may be; at: how far it has come, by the clock."""

    at: float
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


class VirtualClock:
    """Lets workers, each a thread, take turns in the order of the times that they have come to.

    What one really did is charged to it when it is asked how late it is: its own processor is its
    own; what the server had to do waits for one of the server's cores; each way to the server and
    back takes a fixed time. Whoever holds the lock runs on until it lets go, so the others see what
    it writes up to one ask too early.

    meter: reads what the thread that runs has cost; n_cores: of the server
    client_secs: that workers have had of their processors
    """

    client_secs = 0.0

    def __init__(self, meter: Callable[[], Cost], *, n_cores: int, round_trip_secs: float) -> None:
        self._meter, self._round_trip_secs = meter, round_trip_secs
        self._free_at = [0.0] * n_cores
        self._turns: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._at = 0.0
        self._back = threading.Semaphore(0)
        self._local = threading.local()
        self._holder: _Worker | None = None
        self._waiting: deque[_Worker] = deque()

    def begin(self, at: float, work: Callable[[], None]) -> None:
        """Let a worker begin at a time."""
        worker = _Worker(at)

        def run() -> None:
            worker.turn.acquire()
            self._local.worker, self._local.before = worker, self._meter()
            try:
                work()
            finally:
                self._back.release()

        threading.Thread(target=run, daemon=True).start()
        self._turn_at(at, worker)

    def every(self, secs: float, at: float, do: Callable[[], None]) -> None:
        """Let something be done again and again, which only the server has work with."""

        def once() -> None:
            self._local.before = self._meter()
            do()
            self._serve(self._at, self._cost())
            self._add(self._at + secs, once)

        self._add(at, once)

    def run(self, until: float, between: Callable[[], None] = lambda: None) -> None:
        """Let all work until this time; between: is called between two turns."""
        while self._turns and self._turns[0][0] <= until:
            self._at, _, go = heapq.heappop(self._turns)
            go()
            between()
        self._at = until

    def now(self) -> float:
        """Return how far the worker has come whose thread asks."""
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None:  # a thread beside one
            return self._at
        cost = self._cost()
        worker.at += cost.client_secs + cost.n_round_trips * self._round_trip_secs
        worker.at = self._serve(worker.at, cost)
        return worker.at

    def forget(self) -> None:
        """Charge nobody with what this worker did since it was last charged."""
        self._local.before = self._meter()

    def sleep(self, secs: float) -> None:
        """Let others work until so much time is over."""
        self._wait(self.now() + secs)

    def acquire(self) -> None:
        """Wait for the lock: whoever waits longest has it next."""
        self.sleep(0)
        worker = self._local.worker
        if self._holder is None:
            self._holder = worker
            return
        self._waiting.append(worker)
        self._pause(worker)

    def release(self) -> None:
        """Let the lock go."""
        self.sleep(0)
        self._holder = self._waiting.popleft() if self._waiting else None
        if self._holder is not None:
            self._turn_at(self._at, self._holder)

    def _wait(self, until: float) -> None:
        worker = self._local.worker
        self._turn_at(until, worker)
        self._pause(worker)

    def _pause(self, worker: _Worker) -> None:
        self._back.release()
        worker.turn.acquire()
        self._local.before = self._meter()

    def _turn_at(self, at: float, worker: _Worker) -> None:
        def go() -> None:
            worker.at = at
            worker.turn.release()
            self._back.acquire()

        self._add(at, go)

    def _add(self, at: float, go: Callable[[], None]) -> None:
        heapq.heappush(self._turns, (at, next(self._count), go))

    def _cost(self) -> Cost:
        before, after = self._local.before, self._meter()
        self._local.before = after
        cost = Cost(*(late - early for early, late in zip(before, after, strict=True)))
        self.client_secs += cost.client_secs
        return cost

    def _serve(self, at: float, cost: Cost) -> float:
        """Return when one of the server's cores has done what it had to do."""
        if not cost.server_secs:
            return at
        # The one that was free last: who is ahead of the others leaves them the rest.
        core = max(0, bisect.bisect_right(self._free_at, at) - 1)
        done = max(at, self._free_at.pop(core)) + cost.server_secs
        bisect.insort(self._free_at, done)
        return done
