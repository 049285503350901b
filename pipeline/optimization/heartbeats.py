"""Which worker is at which trial, where workers share a database server and no folder.

Optuna's heartbeats say who is alive: a worker records them for its trial, by the server's clock. A
trial whose worker has been silent for too long is continued by another one, under its own number,
so Optuna's callback, which would end it and begin another, is not used. Locks are the server's,
which go with the connection that holds them.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal
from uuid import uuid4

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import StoreUnavailable, TakenOver
from pipeline.optimization.cached import CachedDatabase
from pipeline.optimization.database import PatientStorage, readable_errors
from pipeline.optimization.servers import connection_to, server_at
from pipeline.retry import patiently

CLAIM = "claim"
"""Note on a trial: who is at it; null when it was left."""

LOOK_SECS = 2.0
"""Between two looks of the holder at its lock."""

RETURN_SECS = 5 * LOOK_SECS
"""After a server's start: its locks are gone, and those who had them take them again first."""


class AnotherHeld(Exception):  # noqa: N818
    """A study of the same name and another signature is held, by whom the text says."""


class HeartbeatClaims:
    """One worker's claims on trials; as `Claims`, which are of a folder.

    A trial that is RUNNING was left when nobody claims it, or when its worker has been silent.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._me = f"{platform.node()} {os.getpid()} {uuid4().hex[:8]}"
        self._held: dict[int, int] = {}  # number -> Optuna's id
        self._lost: set[int] = set()
        self._silent: set[int] | None = None
        self._trials: list[FrozenTrial] = []
        self._changed = threading.Condition()
        self._beating: threading.Thread | None = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold the lock under which trials are begun, taken up and let go."""
        storage, names = self._storage, ("asking", self._study.study_name)
        server = server_at(storage.url)
        assert server is not None

        def locked() -> Connection:
            connection = storage.engine.connect()
            try:
                server.lock(connection, *names)
            except BaseException:
                connection.invalidate()  # it may have the lock
                raise
            return connection

        with storage.tried(locked) as connection:
            try:
                self._silent, self._trials = None, []
                with self._cached.reading_once():
                    yield
            finally:
                try:
                    server.unlock(connection, *names)
                except SQLAlchemyError:  # it goes with the connection
                    connection.invalidate()

    def take(self, number: int) -> bool:
        """Claim a trial; return whether it is this worker's now. Only while asking."""
        if number in self._held:
            return True
        if self.is_taken(number):
            return False
        storage, trial_id = self._storage, self._trial(number)._trial_id
        storage.tried(lambda: storage.record_heartbeat(trial_id))
        storage.set_trial_user_attr(trial_id, CLAIM, self._me)
        with self._changed:
            self._lost.discard(number)
            self._held[number] = trial_id
            if self._beating is None:
                self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
                self._beating.start()
        return True

    def is_taken(self, number: int) -> bool:
        """Whether another worker is at the trial. Only while asking."""
        if number in self._held:
            return False
        trial = self._trial(number)
        if trial.user_attrs.get(CLAIM) is None:
            return False
        if self._silent is None:
            self._silent = set(self._storage.silent_trial_ids(self._study._study_id))
        return trial._trial_id not in self._silent

    def release(self, number: int) -> None:
        """Let a trial go, if it is held."""
        if number not in self._held:
            return
        with self._changed:
            trial_id = self._held.pop(number)
            self._changed.notify_all()
        if self._storage.get_trial(trial_id).state.is_finished():
            return  # nobody takes it up again
        with self.asking():
            trial = self._storage.get_trial(trial_id)
            is_mine = trial.user_attrs.get(CLAIM) == self._me
            if is_mine and trial.state is TrialState.RUNNING:
                self._storage.set_trial_user_attr(trial_id, CLAIM, None)

    def check(self, number: int, *, now: bool = False) -> None:
        """Raise TakenOver when another worker has taken up the trial meanwhile.

        now: ask the server, not only what was heard of it at the last heartbeat
        """
        if now and number in self._held:
            self._look_at(number, self._held[number])
        if number in self._lost:
            raise TakenOver(
                f"trial {number} was taken up by another worker, since this one was not heard of"
            )

    @property
    def _cached(self) -> CachedDatabase:
        return self._study._storage  # type: ignore[return-value]

    @property
    def _storage(self) -> PatientStorage:
        return self._cached._backend

    def _trial(self, number: int) -> FrozenTrial:
        if number >= len(self._trials):  # begun since
            self._trials = self._study.get_trials(deepcopy=False)
        return self._trials[number]

    def _look_at(self, number: int, trial_id: int) -> None:
        if self._storage.get_trial(trial_id).user_attrs.get(CLAIM) != self._me:
            self._lost.add(number)

    def _beat(self) -> None:
        """Record heartbeats every few seconds, as long as a trial is held."""
        interval = self._storage.heartbeat_interval
        assert interval is not None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, timeout=interval)
                if not self._held:
                    self._beating = None
                    return
            self.beat()

    def beat(self) -> None:
        """Record a heartbeat of each trial that is held, and look whether it still is."""
        for number, trial_id in list(self._held.items()):
            # A server that is away is asked again at the next one.
            with suppress(StoreUnavailable), readable_errors():
                self._storage.record_heartbeat(trial_id)
                self._look_at(number, trial_id)


class StudyLock:
    """The lock of whoever holds a study, on a connection of its own.

    name, study: of the study, without and with its signature
    alone: whether no other study of the name may be held meanwhile
    """

    def __init__(
        self, url: str, name: str, study: str, *, alone: bool = False, patience_secs: float = 0.0
    ) -> None:
        server = server_at(url)
        assert server is not None
        self._server, self._url, self._patience_secs = server, url, patience_secs
        self._names, self._alone = (name, study), alone
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """Take the lock; return whether it is this process's now.

        Raises AnotherHeld when it must be alone of its name, and is not.
        """
        return bool(self._tried(self._acquire))

    def keep(self) -> bool:
        """Take the lock again, if the connection was lost; return False if somebody else has it.

        Raises StoreUnavailable while the server is away.
        """
        with readable_errors():
            if self._connection is not None:
                with suppress(SQLAlchemyError):
                    self._connection.execute(text("SELECT 1"))
                    return True
                self.release()
            connection = connection_to(self._url)
            if not (is_mine := self._take(connection)):
                connection.close()
            return is_mine

    def release(self) -> None:
        """Let the lock go, with its connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()

    def holder(self) -> str:
        """Return who holds the lock, in words; "" when nobody does."""

        def found() -> list[str]:
            with connection_to(self._url) as connection:
                return self._holders(connection, "=")

        return next(iter(self._tried(found)), "")

    def _tried(self, action: Callable[[], Any]) -> Any:
        with readable_errors():
            return patiently(action, patience_secs=self._patience_secs)

    def _acquire(self) -> bool:
        connection = connection_to(self._url)
        try:
            return self._taken_on(connection)
        finally:
            if self._connection is not connection:
                connection.close()

    def _taken_on(self, connection: Connection) -> bool:
        # Whoever held it before the server was started may be about to take it again.
        left = RETURN_SECS - self._server.secs_since_start(connection)
        if left > 0:
            time.sleep(left)
        # Two that begin at once look one after the other.
        with self._server.locked(connection, "looking", self._names[0]):
            if self._alone and (others := self._holders(connection, "<>")):
                raise AnotherHeld(others[0])
            return self._take(connection)

    def _take(self, connection: Connection) -> bool:
        is_mine = self._server.try_lock(connection, *self._names)
        if is_mine:
            self._server.note_holder(connection, *self._names)
            self._connection = connection
        return is_mine

    def _holders(self, connection: Connection, equal: Literal["=", "<>"]) -> list[str]:
        """Return who holds studies of the name with this signature, or with another one."""
        return [
            f"{who} (host, process), since {since:%Y-%m-%d %H:%M:%S} UTC"
            for who, since in self._server.holders(connection, *self._names, equal)
        ]
