"""Where runs are kept: one SQLite database per project, or a server by URL.

MLflow answers a store that cannot be used late and at length: it retries a file that is no
database for 100 seconds, an absent server for minutes, and a database whose creation was killed
stays broken for ever. So a store is probed before MLflow opens it, and created aside.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from filelock import FileLock, Timeout

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.retry import patiently

if TYPE_CHECKING:
    from mlflow import MlflowClient

UI_ADDRESS = "http://127.0.0.1:5000"
"""Where `mlflow ui` answers by default."""

TRAINING_PAGES = "workflowType=machine_learning"
"""In an address: MLflow's UI begins with its pages for language models (seen in 3.17)."""

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
OPENING_TIMEOUT_SECS = 60.0
PROBE_TIMEOUT_SECS = 4

_WHAT_MUST_HOLD = {
    "locked": "another program holds it; end that program, or wait for it",
    "not a database": "move the file away and a new one is created",
    "readonly": "it must be writable",
    "unable to open": "its folder must exist and be writable",
    "already exists": "its creation was cut off; move the file away and a new one is created",
    "No module named 'boto3'": "it comes with the extra s3",
}

_S3_CLIENTS = ("boto3", "botocore")
"""Packages whose errors MLflow hands through: they come with an extra, and cannot be named here."""


@dataclass(frozen=True)
class Store:
    """A tracking store that answered.

    uri: MLflow's tracking URI; a password may be in it, so it is never shown
    artifact_location: where experiments keep their files; None leaves it to the server
    ui_command: the command that opens the UI on a database; of a server, its address
    """

    uri: str = field(repr=False)
    artifact_location: str | None
    client: MlflowClient = field(repr=False)
    ui_command: str

    @property
    def address(self) -> str:
        """The URI without its password."""
        return mask_password(self.uri)

    @property
    def is_server(self) -> bool:
        """Whether it is a tracking server, which keeps the files of its runs, too."""
        return self.uri.startswith("http")

    def url_of(self, page: str) -> str:
        """Return the address of a page of the UI; of a database, as it is once the UI runs.

        page: "/experiments/1/runs", from its first slash
        """
        server = self.address if self.is_server else UI_ADDRESS
        sign = "&" if "?" in page else "?"
        return f"{server.rstrip('/')}/#{page}{sign}{TRAINING_PAGES}"


def open_store(
    tracking_uri: str | None,
    home: Path,
    *,
    patience_secs: float = 0.0,
    say: Callable[[str], None] = lambda line: None,
) -> Store:
    """Open the tracking store, creating it when it is a database that does not exist yet.

    tracking_uri: http(s), or a database's URI; a relative SQLite path is relative to `home`, not
        to the working directory. None is `home / "mlruns" / "mlflow.db"`
    home: the project that holds the study
    patience_secs: how long a store that is locked or away is tried again
    say: gets a line when it is
    Raises BadInput for another kind of URI, and within about ten seconds, or when patience ends,
    StoreUnavailable when the store cannot be reached, created, read or written.
    """
    return patiently(lambda: _opened(tracking_uri, home), patience_secs=patience_secs, say=say)


def _opened(tracking_uri: str | None, home: Path) -> Store:
    mlruns = home.resolve() / "mlruns"
    if tracking_uri is None:
        return _open_sqlite(mlruns / "mlflow.db")
    scheme = tracking_uri.partition(":")[0].lower()
    if scheme in ("http", "https"):
        return _open_server(tracking_uri)
    dialect = scheme.partition("+")[0]
    if "://" not in tracking_uri or dialect not in DATABASES:
        raise BadInput(
            "tracking_uri (or MLFLOW_TRACKING_URI) must be http://…, https://… or a database "
            f"({', '.join(f'{name}://…' for name in DATABASES)}), got "
            f"{mask_password(tracking_uri)!r}"
        )
    if dialect == "sqlite":
        return _open_sqlite(_sqlite_path(tracking_uri, home.resolve()))
    return _open_database(tracking_uri, dialect, mlruns)


def reason_of(error: BaseException) -> str:
    """Return an error of the store as one line without passwords, and what must hold."""
    lines = [
        line
        for line in str(error).strip().splitlines()
        if not line.startswith("(raised as a result of")  # SQLAlchemy's advice to programmers
    ] or [type(error).__name__]
    text = mask_password(lines[0])
    # A server's error buries its cause in the representation of three others.
    if cause := re.search(r"Caused by \w+\([\"'](.+)[\"']\)\)", text):
        text = cause[1].partition("): ")[2] or cause[1]
    hint = next((hint for sign, hint in _WHAT_MUST_HOLD.items() if sign in text), "")
    return f"{text} ({hint})" if hint else text


@contextmanager
def readable_errors(what: str) -> Iterator[None]:
    """Turn an error of MLflow, its database, its server or its files into StoreUnavailable."""
    try:
        yield
    except Exception as error:
        if not _is_of_store(error):
            raise
        raise StoreUnavailable(f"{what}: {reason_of(error)}") from error


def _is_of_store(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    known = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError)
    return isinstance(error, known) or type(error).__module__.partition(".")[0] in _S3_CLIENTS


@contextmanager
def as_default(uri: str) -> Iterator[None]:
    """Let MLflow find this store in a block where it asks nobody for one.

    Default and variable belong to the caller, in a notebook; setting the one sets the other.
    """
    import mlflow

    variable = os.environ.pop("MLFLOW_TRACKING_URI", None)
    before: Any = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    try:
        mlflow.set_tracking_uri(uri)
        yield
    finally:
        mlflow.set_tracking_uri(before)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if variable is not None:
            os.environ["MLFLOW_TRACKING_URI"] = variable


def _open_sqlite(path: Path) -> Store:
    uri = _sqlite_uri(path)
    with readable_errors(f"the tracking store {path} cannot be used"), _opening(path):
        if not path.exists() or path.stat().st_size == 0:
            _create(path)
        _probe(path)
        client = _connect(uri)
    hint = f"mlflow ui --backend-store-uri {shlex.quote(uri)} --host 127.0.0.1"
    return Store(uri, str(path.parent / "artifacts"), client, hint)


def _open_database(uri: str, dialect: str, mlruns: Path) -> Store:
    from sqlalchemy import NullPool, create_engine

    knows_timeout = dialect in ("postgresql", "mysql")
    timeout = {"connect_timeout": PROBE_TIMEOUT_SECS} if knows_timeout else {}
    address = mask_password(uri)
    path = mlruns / "mlflow.db"
    with readable_errors(f"the tracking store {address} cannot be used"), _opening(path):
        with create_engine(uri, poolclass=NullPool, connect_args=timeout).connect():
            pass
        client = _connect(uri)
    hint = f"mlflow ui --backend-store-uri {shlex.quote(address)} --host 127.0.0.1"
    return Store(uri, str(mlruns / "artifacts"), client, hint)


def _open_server(uri: str) -> Store:
    # MLflow's own patience is minutes in each call, also in those for which training waits.
    impatient = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PROBE_TIMEOUT_SECS),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    }
    # Else MLflow prints the address of every run that ends, the password in it.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # A file that nodes hand to each other needs none.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A warning for each call that is tried again; who does so here says it, once.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    address = mask_password(uri)
    with (
        readable_errors(f"the tracking server {address} cannot be used"),
        _environment(impatient),
    ):
        client = _connect(uri)
    # From here on the patience is this program's, which knows what can wait; see `retry.py`.
    for name, value in {**impatient, "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}.items():
        os.environ.setdefault(name, value)
    return Store(uri, None, client, address)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for a while: MLflow takes its timeouts from nowhere else."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _connect(uri: str) -> MlflowClient:
    """Return a client of a store that has answered once."""
    from mlflow import MlflowClient

    _quiet_about_databases()
    client = MlflowClient(uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _quiet_about_databases() -> None:
    """Let MLflow print no traceback of a database error: it raises it too, and that is shown."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


@contextmanager
def _opening(path: Path) -> Iterator[None]:
    """Hold the lock under which a database is opened: MLflow's first opening is not safe for two.

    Raises StoreUnavailable when another process has been opening it for a minute.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(path.name + ".lock"), timeout=OPENING_TIMEOUT_SECS):
            yield
    except Timeout as error:
        raise StoreUnavailable(
            f"the tracking store {path} cannot be opened: another process has been opening it for "
            f"{OPENING_TIMEOUT_SECS:.0f} seconds"
        ) from error


def _create(path: Path) -> None:
    """Create the database aside and rename it, so that a kill leaves no half of one."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    prefix = f".{path.name}.new."
    for leftover in path.parent.glob(f"{prefix}*"):
        leftover.unlink()
    # A new name each time: MLflow keeps an engine for every URI that it has seen.
    name = uuid.uuid4().hex
    aside = path.with_name(prefix + name)
    _quiet_about_databases()
    # In memory: on a disk, MLflow's migrations wait for it at each of their steps. The database is
    # there as long as one connection to it is.
    memory = f"file:{name}?mode=memory&cache=shared"
    with closing(sqlite3.connect(memory, uri=True)) as database:
        SqlAlchemyStore(f"sqlite:///{memory}&uri=true", "mlflow-artifacts:/").engine.dispose()
        # By itself MLflow gives its first experiment the working directory, in SQL that an
        # apostrophe or a quotation mark in its name breaks.
        location = str(path.parent / "artifacts" / "0")
        with database:
            database.execute("UPDATE experiments SET artifact_location = ?", (location,))
        with closing(sqlite3.connect(aside)) as file:
            database.backup(file)
    aside.replace(path)


def _probe(path: Path) -> None:
    """Raise sqlite3.Error when the file is no database, or cannot be written just now."""
    with closing(sqlite3.connect(path, timeout=PROBE_TIMEOUT_SECS)) as database:
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        # A database that is read-only begins all the same; only a write tells.
        database.execute(f"PRAGMA user_version = {version}")
        database.rollback()


def _sqlite_uri(path: Path) -> str:
    from sqlalchemy import make_url

    uri = f"sqlite:///{path}"
    # It ends at a '?', and some versions unquote %20: the runs would go to another file, unseen.
    if make_url(uri).database != str(path) or unquote(str(path)) != str(path):
        raise StoreUnavailable(
            f"the path of a tracking store must not have '?', or '%' and two digits, "
            f"in it, got {path}"
        )
    return uri


def _sqlite_path(uri: str, home: Path) -> Path:
    name = uri.partition("://")[2].removeprefix("/").partition("?")[0]
    if name in ("", ":memory:"):
        raise BadInput(
            f"tracking_uri must name a file, as in sqlite:///mlruns/mlflow.db, got {uri!r}"
        )
    return home / name
