"""What a PostgreSQL server has to do while workers search through it."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.postgres import Database

PRELOAD = "-c shared_preload_libraries=pg_stat_statements"
LOOK_SECS = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """A server, looked at until the watch ends.

    waiting, holding: connections that wait for the lock under which trials are begun, or have it
    """

    server: Database
    database: str
    waiting: list[int] = field(default_factory=list)
    holding: list[int] = field(default_factory=list)
    n_connections: int = 0
    secs: float = 0.0
    processor_secs: float = 0.0
    n_statements: int = 0
    n_rows: int = 0
    n_transactions: int = 0
    most: list[tuple[str, int, float]] = field(default_factory=list)

    def __enter__(self) -> Watch:
        """Begin."""
        self._ask("SELECT pg_stat_statements_reset()")
        self._processor = processor_secs(self.server)
        self._transactions = self._committed()
        self._start, self._ended = time.monotonic(), threading.Event()
        self._looking = threading.Thread(target=self._look)
        self._looking.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End."""
        self._ended.set()
        self._looking.join()
        self.secs = time.monotonic() - self._start
        self.processor_secs = processor_secs(self.server) - self._processor
        self.n_transactions = self._committed() - self._transactions
        sums = "SELECT sum(calls), sum(rows) FROM pg_stat_statements"
        self.n_statements, self.n_rows = (int(n or 0) for n in self._ask(sums)[0])
        self.most = [
            (" ".join(query.split())[:200], calls, secs)
            for query, calls, secs in self._ask(
                "SELECT query, calls, total_exec_time / 1000 FROM pg_stat_statements "
                "ORDER BY total_exec_time DESC LIMIT 8"
            )
        ]

    @property
    def lock_share(self) -> float:
        """Share of the time in which somebody held the lock."""
        return float(np.mean(self.holding)) if self.holding else 0.0

    @property
    def n_waiting(self) -> float:
        """Workers that waited for the lock, in the mean."""
        return float(np.mean(self.waiting)) if self.waiting else 0.0

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECS):
            holding, waiting, connections = self._ask(
                "SELECT count(*) FILTER (WHERE granted), count(*) FILTER (WHERE NOT granted), "
                "(SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) "
                "FROM pg_locks WHERE locktype = 'advisory'"
            )[0]
            self.holding.append(holding)
            self.waiting.append(waiting)
            self.n_connections = max(self.n_connections, connections)

    def _committed(self) -> int:
        query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return int(self._ask(query)[0][0])

    def _ask(self, statement: str) -> list:
        return self.server.execute(statement, self.database)


def processor_secs(server: Database) -> float:
    """Return what the server's processes have had of processors, those that ended included."""
    own = "SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)"
    first = int(server.execute(own)[0][0])
    ticks = sum(_ticks(first))
    for pid in Path(f"/proc/{first}/task/{first}/children").read_text().split():
        with suppress(OSError):  # it has ended meanwhile
            ticks += sum(_ticks(int(pid))[:2])
    return ticks / _TICKS


def _ticks(pid: int) -> list[int]:
    """Return a process's own ticks, user and system, and those of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(each) for each in fields[11:15]]
