"""Optuna's storage in a database: opened readably, tried again while it is away.

Through a PostgreSQL server workers of several machines meet; see `heartbeats.py`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from sqlalchemy import create_engine, event, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, PipelineError, StoreUnavailable, TakenOver
from pipeline.retry import patiently

ASKED_BY_CACHE = {
    "_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
}  # fmt: skip
"""What Optuna's cache asks of the database behind it, beyond the interface of storages."""

SERVER = "postgresql"
DRIVERS = ("psycopg", "psycopg2")
"""Of SQLAlchemy's, those that take libpq's options; the first one where the URL names none."""

MAX_HEARTBEAT_SECS = 15

CONNECT_SECS = 10
SERVER_OPTIONS = (
    # A node that vanished without a word must not hold a lock for hours, as TCP would let it.
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("idle_in_transaction_session_timeout", "60s"),
)

_WRONG = re.compile(
    r"authentication failed|no password supplied|role .* does not exist|database .* does not exist"
    r"|could not translate host name|resolve host|no pg_hba\.conf entry|permission denied"
    r"|does not support SSL|Access denied|Unknown database",
)
"""What waiting does not mend."""


def is_server(storage: object) -> bool:
    """Whether a storage is a server on which workers of several machines can meet."""
    return str(storage).partition(":")[0].partition("+")[0] == SERVER


def heartbeat_secs(patience_secs: float) -> tuple[int, int]:
    """Return how often a worker is heard of, and after how long in silence it is taken for dead.

    Later than it would itself give up a database that is away: that alone kills nobody.
    """
    interval = max(1, min(MAX_HEARTBEAT_SECS, round(patience_secs / 4)))
    return interval, round(patience_secs) + 2 * interval


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn a storage that fails during the search (a full disk) into StoreUnavailable."""
    try:
        yield
    except (OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise StoreUnavailable(
            f"the study's storage cannot be used: {mask_password(reason)}; "
            "mend it and start the same command: finished trials are kept"
        ) from error


@contextmanager
def errors_of_trial() -> Iterator[None]:
    """As `readable_errors`; a trial that another worker has ended meanwhile is TakenOver."""
    try:
        with readable_errors():
            yield
    except optuna.exceptions.UpdateFinishedTrialError as error:
        raise TakenOver(str(error)) from error


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def tried_again(storage: PatientStorage, *args: Any, **options: Any) -> Any:
        return storage.tried(lambda: method(storage, *args, **options))

    return tried_again


class PatientStorage(RDBStorage):
    """A database that is tried again while it is locked or away, in whatever Optuna asks of it.

    To ask twice does no harm: a value is set to what it is, a trial that was made and not answered
    is RUNNING and taken up, and one that is told its end again refuses, which `tell` expects.
    """

    patience_secs = 0.0

    def get_heartbeat_interval(self) -> int | None:
        """Let Optuna's `ask` not warn that it records none: `heartbeats.py` does."""
        return None

    def set_intermediate_values(self, trial_id: int, values: Mapping[int, float]) -> None:
        """Store the means at these steps of a trial, which Optuna would do one by one.

        Those of a step that is there stay: the trial was trained twice, to the same bits.
        """
        kind = models.TrialIntermediateValueModel

        def store() -> None:
            with _create_scoped_session(self.scoped_session, True) as session:
                trial: Any = models.TrialModel.find_or_raise_by_id(trial_id, session)
                self.check_trial_is_updatable(trial_id, trial.state)
                there = set(session.scalars(select(kind.step).where(kind.trial_id == trial_id)))
                rows = []
                for step in values.keys() - there:
                    stored, value_type = kind.intermediate_value_to_stored_repr(values[step])
                    rows.append(
                        {
                            "trial_id": trial_id,
                            "step": step,
                            "intermediate_value": stored,
                            "intermediate_value_type": value_type,
                        }
                    )
                if rows:
                    session.execute(insert(kind), rows)

        self.tried(store)

    def tried(self, action: Callable[[], Any]) -> Any:
        """Return what an action on the database returns. Raises StoreUnavailable."""
        with readable_errors():
            return patiently(action, patience_secs=self.patience_secs)


for _name in BaseStorage.__abstractmethods__ | ASKED_BY_CACHE:
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))


def open_database(address: str, patience_secs: float = 0.0) -> PatientStorage:
    """Return the storage in a database, its tables made if need be.

    patience_secs: how long a database that is locked or away is tried again, now and later
    Raises BadInput for what waiting does not mend: an address, a driver, a password, a schema; and
    StoreUnavailable.
    """
    options: dict[str, Any] = {"pool_pre_ping": True}  # notices that a connection was closed
    heartbeat: dict[str, Any] = {}

    def opened() -> PatientStorage:
        with warnings.catch_warnings(), _making_tables(address):
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = PatientStorage(url, engine_kwargs=options, **heartbeat)
        if is_server(address):
            event.listen(storage.engine, "connect", _use_utc)
            storage.engine.dispose()  # of connections that do not
        return storage

    try:
        url = address
        if is_server(address):
            url = _with_driver(address)
            options["connect_args"] = _connect_args(url)
            interval, grace = heartbeat_secs(patience_secs)
            heartbeat = {"heartbeat_interval": interval, "grace_period": grace}
        storage = patiently(opened, patience_secs=patience_secs)
    except PipelineError:
        raise
    except Exception as error:
        raise _what_is_wrong(address, error) from error
    storage.patience_secs = patience_secs
    return storage


def connection_to(url: str) -> Any:
    """Return a new connection to a server, of which every statement stands for itself."""
    options = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
    url = _with_driver(url)
    return create_engine(url, connect_args=_connect_args(url), **options).connect()


def who() -> str:
    """Return how a server's other clients see this process: its host and number."""
    return f"{platform.node()[:50]} {os.getpid()}"


def lock_key(*names: str) -> tuple[int, ...]:
    """Return numbers for advisory locks of these names: a number of 64 bits, or two of 32."""
    size = 8 if len(names) == 1 else 4
    digests = (hashlib.sha256(name.encode()).digest()[:size] for name in names)
    return tuple(int.from_bytes(each, "big", signed=True) for each in digests)


def _use_utc(connection: Any, record: Any) -> None:
    """Let a node's time zone be that of all: heartbeats are kept without one.

    By a statement, since libpq's variable PGTZ is stronger than its options.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _with_driver(url: str) -> str:
    """Return a server's URL with its driver. Raises BadInput for one without libpq's options."""
    scheme, colon, rest = url.partition(":")
    driver = scheme.partition("+")[2] or DRIVERS[0]
    if driver not in DRIVERS:
        allowed = ", ".join(f"{SERVER}+{name}://…" for name in DRIVERS)
        raise BadInput(f"storage must be {SERVER}://… ({allowed}), got {mask_password(url)}")
    return f"{SERVER}+{driver}{colon}{rest}"


def _connect_args(url: str) -> dict[str, Any]:
    """Return libpq's options for a server's URL."""
    given = str(make_url(url).query.get("options", ""))
    settings = " ".join(f"-c {name}={value}" for name, value in SERVER_OPTIONS)
    return {
        "connect_timeout": CONNECT_SECS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "application_name": who(),
        "options": f"{given} {settings}".strip(),
    }


@contextmanager
def _making_tables(url: str) -> Iterator[None]:
    """Let one process at a time make the tables of a server: two would meet half-made ones."""
    if not is_server(url):
        yield
        return
    with connection_to(url) as connection:
        lock = {"key": lock_key("optuna tables")[0]}
        connection.execute(text("SELECT pg_advisory_lock(:key)"), lock)
        yield
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), lock)


def _what_is_wrong(address: str, error: Exception) -> PipelineError:
    """Return the error for a database that could not be opened."""
    address, lines = mask_password(address), [mask_password(each) for each in _lines(error)]
    if isinstance(error, ImportError | NoSuchModuleError):
        install = "; pip install 'epoch-pipeline[postgres]'" if is_server(address) else ""
        return BadInput(f"the driver of {address} must be installed, got: {lines[0]}{install}")
    if isinstance(error, ArgumentError | ValueError):
        return BadInput(f"storage must be a journal file or a URL, got {address}: {lines[0]}")
    if "storage upgrade" in lines[0]:
        return BadInput(
            f"the tables in {address} must be those of this Optuna ({optuna.__version__}), got: "
            f"{lines[0]}"
        )
    if reason := next((line for line in lines if _WRONG.search(line)), ""):
        return BadInput(f"the storage {address} must be one that can be used, got: {reason}")
    return StoreUnavailable(f"the storage {address} cannot be used: {lines[0]}")


def _lines(error: Exception) -> list[str]:
    """Return an error's lines, its driver's before SQLAlchemy's."""
    error = getattr(error, "orig", None) or error
    return str(error).strip().splitlines() or [type(error).__name__]
