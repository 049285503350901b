"""Database servers on which workers of several machines meet, by their URLs."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from pipeline.optimization.servers.base import Server, who
from pipeline.optimization.servers.mysql import MySQL
from pipeline.optimization.servers.postgresql import PostgreSQL

__all__ = ["SERVERS", "MySQL", "PostgreSQL", "Server", "connection_to", "server_at", "who"]

SERVERS = (PostgreSQL(), MySQL())


def server_at(storage: object) -> Server | None:
    """Return what kind of server a storage's URL names; None when it is none of those."""
    scheme = str(storage).partition(":")[0].partition("+")[0]
    return next((server for server in SERVERS if scheme in server.schemes), None)


def connection_to(url: str) -> Connection:
    """Return a new connection to a server, of which every statement stands for itself."""
    server = server_at(url)
    assert server is not None
    url = server.url_of(url)
    engine = create_engine(
        url, connect_args=server.connect_args(url), poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )  # fmt: skip
    server.prepare(engine)
    return engine.connect()
