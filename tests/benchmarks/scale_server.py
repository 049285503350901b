"""What a PostgreSQL server has to do while workers search through it."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.postgres import Database

PRELOAD = "-c shared_preload_libraries=pg_stat_statements"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """A server, looked at until the watch ends.

    processor_secs: of all its processes; most: what took longest, with how often and the seconds
    """

    server: Database
    database: str
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
        return self

    def __exit__(self, *exception: object) -> None:
        """End."""
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
