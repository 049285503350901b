"""A real PostgreSQL server of a test's own, which can be stopped, killed and started again.

`mysql.py` has another kind, of which the same can be asked.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest
from sqlalchemy import NullPool, create_engine, text

PASSWORD = "s3cret-word"

Mode = Literal["fast", "immediate"]
"""How a server is stopped: as it should be, or as by a power cut."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Database(ABC):
    """One server, in a folder of its own.

    programs: that must be on PATH; user: of the system, since servers refuse to be run by root
    driver: of SQLAlchemy's; own: a database that is always there
    """

    scheme: str
    driver: str
    programs: tuple[str, ...]
    user: str
    own: str

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder, self._data = folder, folder / "data"
        (folder / "password").write_text(PASSWORD)
        for each in (folder, folder / "password"):
            if os.geteuid() == 0:
                shutil.chown(each, self.user)
        self._make()

    @abstractmethod
    def _make(self) -> None: ...

    @abstractmethod
    def start(self, *options: str) -> None: ...

    @abstractmethod
    def stop(self, mode: Mode = "fast") -> None: ...

    @abstractmethod
    def cut_locks(self) -> None:
        """Close the connections that hold a lock."""

    @abstractmethod
    def let_read(self, name: str, user: str) -> None:
        """Make a user, with the same password, who may read a database, and no more."""

    def url(self, database: str, *, user: str = "search", password: str = PASSWORD) -> str:
        return f"{self.scheme}://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self, name: str = "") -> str:
        """Return the address of an empty database."""
        name = name or f"study_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = "") -> list:
        options = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
        url = self.url(database or self.own).replace("://", f"+{self.driver}://", 1)
        with create_engine(url, **options).connect() as connection:
            result = connection.execute(text(statement))
            return list(result.all()) if result.returns_rows else []

    def _as_user(self, *command: object) -> list[str]:
        as_user = ["runuser", "-u", self.user, "--"] if os.geteuid() == 0 else []
        return [*as_user, *map(str, command)]

    def _run(self, *command: object) -> None:
        subprocess.run(
            self._as_user(*command),
            cwd=self._folder, check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


class Postgres(Database):
    scheme = "postgresql"
    driver = "psycopg"
    programs = ("initdb", "pg_ctl", "postgres")
    user = "postgres"
    own = "postgres"

    def _make(self) -> None:
        self._run(
            "initdb", "-D", self._data, "-U", "search", "--auth=scram-sha-256",
            f"--pwfile={self._folder / 'password'}", "--no-sync",
        )  # fmt: skip

    def start(self, *options: str) -> None:
        given = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -F"
        log, given = self._folder / "log", " ".join([given, *options])
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", given, "-w", "start")

    def stop(self, mode: Mode = "fast") -> None:
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def cut_locks(self) -> None:
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

    def let_read(self, name: str, user: str) -> None:
        self.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        self.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {user}", name)


@contextmanager
def running_server(kind: type[Database] = Postgres, *options: str) -> Iterator[Database]:
    """Yield a server, with these options of its own; a test that cannot have one is skipped."""
    programs = [*kind.programs, *["runuser"] * (os.geteuid() == 0)]
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{kind.__name__}'s server programs must be on PATH, missing {missing}")
    folder = Path(tempfile.mkdtemp(prefix="database-"))  # pytest's are closed to other users
    server = None
    try:
        server = kind(folder)
        server.start(*options)
        yield server
    finally:
        if server is not None:
            with suppress(subprocess.CalledProcessError):  # a test has stopped it
                server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
