"""What is asked of a PostgreSQL server."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import make_url, text
from sqlalchemy.engine import Connection, Engine

from pipeline.optimization.servers.base import CONNECT_SECS, SILENCE_SECS, Server, in_utc, who


class PostgreSQL(Server):
    """Locks are its advisory ones, known by two numbers of 32 bits; its statistics say whose."""

    schemes = ("postgresql",)
    drivers = ("psycopg", "psycopg2")
    extra = "postgres"
    # Heartbeats are kept without a time zone, and a node's must not be in them. By a statement,
    # since libpq's variable PGTZ is stronger than its options.
    on_connect = "SET TIME ZONE 'UTC'"
    options = (
        # A node that vanished without a word must not hold a lock for hours, as TCP would let it.
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
        ("idle_in_transaction_session_timeout", f"{SILENCE_SECS}s"),
    )

    def connect_args(self, url: str) -> dict[str, Any]:
        """Return libpq's options."""
        given = str(make_url(url).query.get("options", ""))
        settings = " ".join(f"-c {name}={value}" for name, value in self.options)
        return {
            "connect_timeout": CONNECT_SECS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": who(),
            "options": f"{given} {settings}".strip(),
        }

    def complete_tables(self, engine: Engine) -> None:
        """Leave them as they are."""

    def secs_since_start(self, connection: Connection) -> float:
        """Return how long ago the server was started."""
        query = "SELECT extract(epoch FROM now() - pg_postmaster_start_time())"
        return float(connection.execute(text(query)).scalar_one())

    def now(self, connection: Connection) -> datetime:
        """Return what the server's clock says, in UTC."""
        query = text("SELECT clock_timestamp() AT TIME ZONE 'UTC'")
        return in_utc(connection.execute(query).scalar_one())

    def lock(self, connection: Connection, *names: str) -> None:
        """Wait for a lock."""
        connection.execute(text("SELECT pg_advisory_lock(:first, :second)"), self._key(*names))

    def try_lock(self, connection: Connection, *names: str) -> bool:
        """Take a lock if nobody holds it."""
        query = text("SELECT pg_try_advisory_lock(:first, :second)")
        return bool(connection.execute(query, self._key(*names)).scalar())

    def unlock(self, connection: Connection, *names: str) -> None:
        """Let a lock go."""
        connection.execute(text("SELECT pg_advisory_unlock(:first, :second)"), self._key(*names))

    def note_holder(self, connection: Connection, name: str, study: str) -> None:
        """Leave it to the statistics, which have this process as the session's application."""

    def holders(
        self, connection: Connection, name: str, study: str, equal: Literal["=", "<>"]
    ) -> list[tuple[str, datetime]]:
        """Return who holds locks of a name and this study, or another one, and since when."""
        query = f"""
            SELECT application_name, backend_start AT TIME ZONE 'UTC'
            FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND objsubid = 2 AND granted
            AND datname = current_database() AND classid::bigint = :first
            AND objid::bigint {equal} :second
        """
        unsigned = {key: value % 2**32 for key, value in self._key(name, study).items()}
        return [(row[0], row[1]) for row in connection.execute(text(query), unsigned)]

    @staticmethod
    def _key(*names: str) -> Mapping[str, int]:
        """Return the numbers of a lock: of its first name, and of the others."""
        digests = (hashlib.sha256(each.encode()).digest() for each in (names[0], str(names[1:])))
        numbers = (int.from_bytes(each[:4], "big", signed=True) for each in digests)
        return dict(zip(("first", "second"), numbers, strict=True))
