"""The study's Optuna storage: a journal file by default, any Optuna storage by URL."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy.exc import SQLAlchemyError

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.optimization.journal import Journal, mend_journal
from pipeline.retry import patiently
from pipeline.spec import StudySpec

ASKED_BY_CACHE = {
    "_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param",
    "get_trial_id_from_study_id_trial_number",
}  # fmt: skip
"""What Optuna's cache asks of the database behind it, beyond the interface of storages."""


def open_study(
    storage: str | Path, name: str, spec: StudySpec, *, patience_secs: float = 0.0
) -> optuna.Study:
    """Open the study, or create it.

    storage: a journal file, the cheapest by the report, or a database URL
    patience_secs: how long a database that is locked or away is tried again, now and in the search
    Raises StoreUnavailable when it cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return optuna.create_study(
            storage=_opened(storage, patience_secs),
            study_name=name,
            direction=spec.objective.direction,
            load_if_exists=True,
        )
    except BadInput:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        raise StoreUnavailable(
            f"the study's storage must be a writable journal file or a database URL, got "
            f"{mask_password(str(storage))}: {type(error).__name__}: {mask_password(lines[0])}"
        ) from error


def read_study(storage: str | Path, name: str, *, patience_secs: float = 0.0) -> optuna.Study:
    """Return a study to be read only: its journal is not mended, a search may be writing it.

    Raises StoreUnavailable when it is not there, or cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=name, storage=storage_at(storage, patience_secs))
    except Exception as error:
        raise StoreUnavailable(
            f"the study {name} must be in its storage, got {mask_password(str(storage))}: "
            f"{type(error).__name__}: {mask_password(str(error).partition(chr(10))[0])}"
        ) from error


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


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def tried_again(storage: PatientStorage, *args: Any, **options: Any) -> Any:
        with readable_errors():
            return patiently(
                lambda: method(storage, *args, **options), patience_secs=storage.patience_secs
            )

    return tried_again


class PatientStorage(RDBStorage):
    """A database that is tried again while it is locked or away, in whatever Optuna asks of it.

    To ask twice does no harm: a value is set to what it is, a trial that was made and not answered
    is RUNNING and taken up, and one that is told its end again refuses, which `tell` expects.
    """

    patience_secs = 0.0


for _name in BaseStorage.__abstractmethods__ | ASKED_BY_CACHE:
    setattr(PatientStorage, _name, _patient(getattr(RDBStorage, _name)))


def storage_at(storage: str | Path, patience_secs: float = 0.0) -> BaseStorage:
    """Return the storage that lies at a journal file's path or a database's URL.

    patience_secs: how long a database that is locked or away is tried again
    """
    if "://" not in str(storage):
        return JournalStorage(Journal(Path(storage)))
    # A connection that was closed meanwhile is noticed before it is used.
    options = {"pool_pre_ping": True}
    opened = patiently(
        lambda: PatientStorage(str(storage), engine_kwargs=options), patience_secs=patience_secs
    )
    opened.patience_secs = patience_secs
    return opened


def _opened(storage: str | Path, patience_secs: float) -> BaseStorage:
    """Return the storage, a journal created and mended."""
    if "://" in str(storage):
        return storage_at(storage, patience_secs)
    path = Path(storage)
    if path.suffix in (".db", ".sqlite", ".sqlite3"):
        raise BadInput(
            f"storage must be a journal file or a URL, got {str(path)!r}; "
            f"for SQLite write sqlite:///{path}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    mend_journal(path)
    return storage_at(path)
