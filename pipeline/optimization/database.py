"""Optuna's storage in a database: opened readably, tried again while it is away.

Through a server (`servers.py`) workers of several machines meet; see `heartbeats.py`.
"""

from __future__ import annotations

import functools
import platform
import re
import warnings
from collections.abc import Callable, Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import and_, func, insert, or_, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, PipelineError, StoreUnavailable, TakenOver
from pipeline.optimization.rows import NOT_ENDED, literally, trials_where
from pipeline.optimization.servers import Server, connection_to, server_at
from pipeline.retry import patiently

ASKED_BY_CACHE = {
    "_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
}  # fmt: skip
"""What Optuna's cache asks of the database behind it, beyond the interface of storages."""

MAX_HEARTBEAT_SECS = 15

MAX_CLOCK_DIFFERENCE_SECS = 60.0
"""Between a node and its server. Those that NTP sets differ by milliseconds: one that is a minute
off is not set at all. Times that are shown are off by as much, and nothing else."""

CONNECTIONS = 2
"""That a worker keeps: one holds the lock while another one asks. A server has a hundred in all."""

_WRONG = re.compile(
    r"authentication failed|no password supplied|role .* does not exist|database .* does not exist"
    r"|could not translate host name|resolve host|Name or service not known"
    r"|no pg_hba\.conf entry|permission denied|read-only|does not support SSL|Access denied"
    r"|Unknown database|No database selected|command denied",
)
"""What waiting does not mend."""


def is_server(storage: object) -> bool:
    """Whether a storage is a server on which workers of several machines can meet."""
    return server_at(storage) is not None


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
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise StoreUnavailable(
            f"the study's storage cannot be used: {mask_password(_lines(cause)[0])}; "
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
        try:
            return storage.tried(lambda: method(storage, *args, **options))
        except KeyError as error:
            if method.__name__ == "get_study_id_from_name":  # there is none of this name yet
                raise
            raise StoreUnavailable(
                "the study's storage has lost what was written to it, as a server does that does "
                "not wait for its disk and dies; start the same command: what is there is kept"
            ) from error

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

    @_patient
    def set_intermediate_values(self, trial_id: int, values: Mapping[int, float]) -> None:
        """Store the means at these steps of a trial, which Optuna would do one by one.

        Those of a step that is there stay: the trial was trained twice, to the same bits.
        """
        kind = models.TrialIntermediateValueModel
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

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
        *,
        begun_with_means: bool = True,
    ) -> list[FrozenTrial]:
        """Return a study's trials in these states: those behind an id, and these before it."""
        kind: Any = models.TrialModel
        among = [each for each in included_trial_ids if each <= trial_id_greater_than]
        condition = and_(
            kind.study_id == study_id,
            or_(kind.trial_id > trial_id_greater_than, kind.trial_id.in_(literally(among))),
        )
        if states is not None:
            wanted = [state for state in TrialState if state in states]
            condition = and_(condition, kind.state.in_(wanted))
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            return trials_where(session, condition, begun_with_means=begun_with_means)

    def ended_trial_ids(
        self, study_id: int, among: Collection[int], *, greater_than: int
    ) -> list[int]:
        """Return Optuna's ids of the trials that have ended, of these and of all behind an id."""
        kind: Any = models.TrialModel
        query = select(kind.trial_id).where(
            kind.study_id == study_id,
            kind.state.not_in(NOT_ENDED),
            or_(kind.trial_id > greater_than, kind.trial_id.in_(literally(among))),
        )

        def read() -> list[int]:
            with _create_scoped_session(self.scoped_session) as session:
                return list(session.scalars(query))

        ids: list[int] = self.tried(read)
        return ids

    def silent_trial_ids(self, study_id: int) -> list[int]:
        """Return Optuna's ids of the trials whose workers have not been heard of for too long."""
        trial, heard = models.TrialModel, models.TrialHeartbeatModel

        def read() -> list[int]:
            with _create_scoped_session(self.scoped_session) as session:
                now: Any = session.execute(select(func.now())).scalar_one()
                since = now.replace(tzinfo=None) - timedelta(seconds=self.grace_period or 0)
                query = (
                    select(heard.trial_id)
                    .join(trial, trial.trial_id == heard.trial_id)
                    .where(trial.study_id == study_id, trial.state == TrialState.RUNNING)
                    .where(heard.heartbeat < since)
                )
                return list(session.scalars(query))

        ids: list[int] = self.tried(read)
        return ids

    def tried(self, action: Callable[[], Any]) -> Any:
        """Return what an action on the database returns. Raises StoreUnavailable."""
        with readable_errors():
            return patiently(action, patience_secs=self.patience_secs)


for _name in BaseStorage.__abstractmethods__ | ASKED_BY_CACHE:
    setattr(PatientStorage, _name, _patient(getattr(PatientStorage, _name)))


def open_database(
    address: str, patience_secs: float = 0.0, *, say: Callable[[str], None] = lambda line: None
) -> PatientStorage:
    """Return the storage in a database, its tables made if need be.

    patience_secs: how long a database that is locked or away is tried again, now and later
    say: gets a line when it is away now
    Raises BadInput for what waiting does not mend: an address, a driver, a password, a schema; and
    StoreUnavailable.
    """
    server = server_at(address)

    def opened() -> PatientStorage:
        try:
            return _storage_at(address) if server is None else _made_alone(server, address, beats)
        except PipelineError:
            raise
        except Exception as error:
            raise _what_is_wrong(address, error) from error

    beats = heartbeat_secs(patience_secs)
    storage = patiently(opened, patience_secs=patience_secs, say=say)
    storage.patience_secs = patience_secs
    return storage


def check_server(
    address: str,
    patience_secs: float,
    *,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Open a server's storage once, so that what is wrong with it is said before all else.

    Raises BadInput and StoreUnavailable as `open_database`; BadInput as well where its user may not
    write, and where this node's clock is another one than the server's.
    """
    server = server_at(address)
    assert server is not None
    storage = open_database(address, patience_secs, say=say)

    def asked() -> None:
        name = f"may be written: {uuid4()}"
        try:
            with storage.engine.connect() as connection:
                _check_clock(server, connection, clock)
                connection.execute(insert(models.StudyModel).values(study_name=name))
                connection.rollback()
        except SQLAlchemyError as error:
            raise _what_is_wrong(address, error) from error

    try:
        patiently(asked, patience_secs=patience_secs, say=say)
    finally:
        storage.engine.dispose()


def _check_clock(server: Server, connection: Connection, clock: Callable[[], datetime]) -> None:
    before = clock()
    theirs = server.now(connection)
    half = (clock() - before) / 2  # the answer may have been slow, there or back
    mine = before + half
    difference = (mine - theirs).total_seconds()
    if abs(difference) > MAX_CLOCK_DIFFERENCE_SECS + half.total_seconds():
        raise BadInput(
            f"the clock of {platform.node()} must be within {MAX_CLOCK_DIFFERENCE_SECS:g} s of the "
            f"database server's, got {mine:%Y-%m-%d %H:%M:%S} UTC here and "
            f"{theirs:%Y-%m-%d %H:%M:%S} UTC there, {abs(difference):.0f} s "
            f"{'ahead' if difference > 0 else 'behind'}; let both be set by NTP"
        )


def _storage_at(url: str, **options: Any) -> PatientStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # A connection that was closed is noticed.
        engine = {"pool_pre_ping": True, **options.pop("engine_kwargs", {})}
        return PatientStorage(url, engine_kwargs=engine, **options)


def _made_alone(server: Server, address: str, beats: tuple[int, int]) -> PatientStorage:
    """Return a server's storage, its tables made by one process at a time.

    Two would meet half-made ones.
    """
    url, (interval, grace) = server.url_of(address), beats
    with connection_to(address) as connection, server.locked(connection, "optuna tables"):
        storage = _storage_at(
            url,
            engine_kwargs={
                "connect_args": server.connect_args(url),
                "pool_size": CONNECTIONS,
                "pool_pre_ping": False,  # see `Server.prepare`
            },
            heartbeat_interval=interval,
            grace_period=grace,
        )
        server.complete_tables(storage.engine)
    server.prepare(storage.engine)
    storage.engine.dispose()  # of connections that began otherwise
    return storage


def _what_is_wrong(address: str, error: Exception) -> PipelineError:
    """Return the error for a database that could not be opened."""
    address, lines = mask_password(address), [mask_password(each) for each in _lines(error)]
    if isinstance(error, ImportError | NoSuchModuleError):
        server = server_at(address)
        install = "" if server is None else f"; pip install 'epoch-pipeline[{server.extra}]'"
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
    match error.args:
        case (int(), str(text)) if not isinstance(error, OSError):  # a number of MySQL's first
            return text.splitlines()
    return str(error).strip().splitlines() or [type(error).__name__]
