"""A real PostgreSQL server of a test's own, which can be stopped, killed and started again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

PASSWORD = "s3cret-word"
USER = "postgres"
"""Of the system: the server refuses to be run by root."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """One server, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder, self._data = folder, folder / "data"
        (folder / "password").write_text(PASSWORD)
        for each in (folder, folder / "password"):
            if os.geteuid() == 0:
                shutil.chown(each, USER)
        self._run(
            "initdb", "-D", self._data, "-U", "search", "--auth=scram-sha-256",
            f"--pwfile={folder / 'password'}", "--no-sync",
        )  # fmt: skip

    def url(self, database: str = "postgres", *, password: str = PASSWORD) -> str:
        return f"postgresql://search:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -F"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def new_database(self, name: str) -> str:
        """Return the address of an empty database."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> list:
        options = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
        with create_engine(self.url(database), **options).connect() as connection:
            result = connection.execute(text(statement))
            return list(result.all()) if result.returns_rows else []

    def _run(self, *command: object) -> None:
        as_user = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_user, *map(str, command)],
            cwd=self._folder, check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


@contextmanager
def running_server() -> Iterator[Postgres]:
    """Yield a server; a test that cannot have one is skipped."""
    programs = ["initdb", "pg_ctl", "postgres"] + ["runuser"] * (os.geteuid() == 0)
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"PostgreSQL's server programs must be on PATH, missing {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's are closed to other users
    server = None
    try:
        server = Postgres(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            with suppress(subprocess.CalledProcessError):  # a test has stopped it
                server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
