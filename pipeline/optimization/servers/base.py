"""What is asked of a database server beyond Optuna's tables.

Each kind has locks by name that go with the connection that holds them, and a clock for all.
"""

from __future__ import annotations

import math
import os
import platform
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import InvalidatePoolError

from pipeline.addresses import mask_password
from pipeline.errors import BadInput

CONNECT_SECS = 10
QUIET_SECS = 1.0
"""After which a connection of a pool is looked at before it is used again: it may be closed."""

SILENCE_SECS = 60
"""After which a server ends a session that holds locks and says nothing, as of a lost node."""


def who() -> str:
    """Return how a server's other clients see this process: its host and number."""
    return f"{platform.node()[:50]} {os.getpid()}"


def in_utc(moment: datetime) -> datetime:
    """Return a moment of UTC that comes without its zone."""
    return moment.replace(tzinfo=UTC)


class Server(ABC):
    """One kind of server; names of locks are any texts.

    schemes: that its URLs may begin with, SQLAlchemy's own first
    drivers: SQLAlchemy's names of those that take the options below, the one to be installed first
    extra: of this project, which installs it
    on_connect: the first statement of every session
    knows_case: whether names in its tables may differ in that alone
    """

    schemes: tuple[str, ...]
    drivers: tuple[str, ...]
    extra: str
    on_connect: str
    knows_case = True

    def url_of(self, url: str) -> str:
        """Return a URL with its driver. Raises BadInput for one that does not take the options."""
        scheme, colon, rest = url.partition(":")
        driver = scheme.partition("+")[2] or self.drivers[0]
        kind = self.schemes[0]
        if driver not in self.drivers:
            allowed = ", ".join(f"{kind}+{name}://…" for name in self.drivers)
            raise BadInput(f"storage must be {kind}://… ({allowed}), got {mask_password(url)}")
        return f"{kind}+{driver}{colon}{rest}"

    def prepare(self, engine: Engine) -> None:
        """Let every session of an engine begin as all do, and be looked at after a silence.

        Before each use, as SQLAlchemy can, would be a way to the server and back for each
        transaction, a dozen while others wait to ask. What breaks within a second is tried again.
        """
        event.listen(engine, "connect", self._begin)

        def note_use(connection: Any, record: Any) -> None:
            record.info["used_at"] = time.monotonic()

        def look(connection: Any, record: Any, proxy: Any) -> None:
            if time.monotonic() - record.info.get("used_at", math.inf) < QUIET_SECS:
                return
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error

        event.listen(engine, "checkin", note_use)
        event.listen(engine, "checkout", look)

    @contextmanager
    def locked(self, connection: Connection, *names: str) -> Iterator[None]:
        """Wait for a lock and hold it in the block; one that raises closes the connection."""
        self.lock(connection, *names)
        yield
        self.unlock(connection, *names)

    def _begin(self, connection: Any, record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(self.on_connect)
        connection.commit()

    @abstractmethod
    def connect_args(self, url: str) -> dict[str, Any]:
        """Return the driver's options for a URL of `url_of`."""

    @abstractmethod
    def complete_tables(self, engine: Engine) -> None:
        """Make of Optuna's tables what a search needs. One process at a time."""

    @abstractmethod
    def secs_since_start(self, connection: Connection) -> float:
        """Return how long ago the server was started."""

    @abstractmethod
    def now(self, connection: Connection) -> datetime:
        """Return what the server's clock says, in UTC."""

    @abstractmethod
    def lock(self, connection: Connection, *names: str) -> None:
        """Wait for a lock."""

    @abstractmethod
    def try_lock(self, connection: Connection, *names: str) -> bool:
        """Take a lock if nobody holds it; return whether this connection holds it now."""

    @abstractmethod
    def unlock(self, connection: Connection, *names: str) -> None:
        """Let a lock go."""

    @abstractmethod
    def note_holder(self, connection: Connection, name: str, study: str) -> None:
        """Let others see that this process holds the lock of a name and a study."""

    @abstractmethod
    def holders(
        self, connection: Connection, name: str, study: str, equal: Literal["=", "<>"]
    ) -> list[tuple[str, datetime]]:
        """Return who holds locks of a name and this study, or another one, and since when."""
