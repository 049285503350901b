"""What is asked of a MySQL or MariaDB server."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Column, DateTime, MetaData, String, Table, func, text
from sqlalchemy.engine import Connection, Engine

from pipeline.optimization.servers.base import CONNECT_SECS, SILENCE_SECS, Server, in_utc, who


class MySQL(Server):
    """Locks are those of GET_LOCK, all databases' together; who holds one is in a table of ours."""

    schemes = ("mysql", "mariadb")
    drivers = ("pymysql", "mysqldb")
    extra = "mysql"
    # The longest silence is also that of a node that vanished: whoever holds a lock looks at it
    # much more often, and a pool opens another connection.
    on_connect = f"SET time_zone = '+00:00', wait_timeout = {SILENCE_SECS}"
    knows_case = False  # in most of its collations
    WAIT_SECS = 20
    """For a lock, before it is asked for again: shorter than a silent server is waited for."""

    holders_table = Table(
        "pipeline_holders",
        MetaData(),
        Column("study_lock", String(64), primary_key=True),
        Column("name_lock", String(64), nullable=False),
        Column("who", String(120), nullable=False),
        Column("since", DateTime, nullable=False, server_default=func.now()),
    )
    """The latest holder of each study. Whether it holds it still, the lock says."""

    def connect_args(self, url: str) -> dict[str, Any]:
        """Return the options that both drivers know."""
        silence = {"read_timeout": SILENCE_SECS, "write_timeout": SILENCE_SECS}
        return {"connect_timeout": CONNECT_SECS, **silence}

    def complete_tables(self, engine: Engine) -> None:
        """Let a note be longer than 64 KiB, as a result with long curves is; make our own table."""
        self.holders_table.metadata.create_all(engine)
        query = """
            SELECT table_name FROM information_schema.columns
            WHERE table_schema = DATABASE() AND column_name = 'value_json' AND data_type = 'text'
        """
        with engine.begin() as connection:
            for (table,) in connection.execute(text(query)).all():
                connection.execute(text(f"ALTER TABLE {table} MODIFY value_json LONGTEXT"))

    def secs_since_start(self, connection: Connection) -> float:
        """Return how long ago the server was started."""
        return float(connection.execute(text("SHOW GLOBAL STATUS LIKE 'Uptime'")).one()[1])

    def now(self, connection: Connection) -> datetime:
        """Return what the server's clock says, in UTC."""
        return in_utc(connection.execute(text("SELECT UTC_TIMESTAMP(6)")).scalar_one())

    def lock(self, connection: Connection, *names: str) -> None:
        """Wait for a lock."""
        while not self._take(connection, self.WAIT_SECS, names):
            pass

    def try_lock(self, connection: Connection, *names: str) -> bool:
        """Take a lock if nobody holds it."""
        return self._take(connection, 0, names)

    def unlock(self, connection: Connection, *names: str) -> None:
        """Let a lock go."""
        connection.execute(text("DO RELEASE_LOCK(:key)"), {"key": _key_in(connection, *names)})

    def note_holder(self, connection: Connection, name: str, study: str) -> None:
        """Write down who has taken the lock."""
        row = {
            "study_lock": _key_in(connection, name, study),
            "name_lock": _key_in(connection, name),
            "who": who(),
        }
        query = """
            REPLACE INTO pipeline_holders (study_lock, name_lock, who)
            VALUES (:study_lock, :name_lock, :who)
        """
        connection.execute(text(query), row)

    def holders(
        self, connection: Connection, name: str, study: str, equal: Literal["=", "<>"]
    ) -> list[tuple[str, datetime]]:
        """Return who holds locks of a name and this study, or another one, and since when."""
        query = f"""
            SELECT who, since FROM pipeline_holders
            WHERE name_lock = :name_lock AND study_lock {equal} :study_lock
            AND IS_USED_LOCK(study_lock) IS NOT NULL
        """
        keys = {
            "name_lock": _key_in(connection, name),
            "study_lock": _key_in(connection, name, study),
        }
        return [(row[0], row[1]) for row in connection.execute(text(query), keys)]

    @staticmethod
    def _take(connection: Connection, secs: int, names: tuple[str, ...]) -> bool:
        asked = {"key": _key_in(connection, *names), "secs": secs}
        return connection.execute(text("SELECT GET_LOCK(:key, :secs)"), asked).scalar() == 1


def _key_in(connection: Connection, *names: str) -> str:
    """Return the name of a MySQL lock in the connection's database: 60 characters of 64."""
    parts = (connection.engine.url.database, *names)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:60]
