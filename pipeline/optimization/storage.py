"""The study's Optuna storage: a journal file by default, any Optuna storage by URL."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, PipelineError, StoreUnavailable
from pipeline.optimization.cached import CachedDatabase
from pipeline.optimization.database import PatientStorage, open_database
from pipeline.optimization.journal import Journal, mend_journal
from pipeline.optimization.servers import server_at
from pipeline.spec import StudySpec


def open_study(
    storage: str | Path, name: str, spec: StudySpec, *, patience_secs: float = 0.0
) -> optuna.Study:
    """Open the study, or create it.

    storage: a journal file, the cheapest by the report, or a database URL
    patience_secs: how long a database that is locked or away is tried again, now and in the search
    Raises StoreUnavailable when it cannot be read or written; BadInput when it would take two
    parameters for one.
    """
    _check_names(storage, spec)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return optuna.create_study(
            storage=_opened(storage, patience_secs),
            study_name=name,
            direction=spec.objective.direction,
            load_if_exists=True,
        )
    except PipelineError:
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
    opened = None
    try:
        opened = storage_at(storage, patience_secs)
        return optuna.load_study(study_name=name, storage=opened)
    except BadInput:
        raise
    except Exception as error:
        disconnect(opened)
        raise StoreUnavailable(
            f"the study {name} must be in its storage, got {mask_password(str(storage))}: "
            f"{type(error).__name__}: {mask_password(str(error).partition(chr(10))[0])}"
        ) from error


def notes_of(storage: str | Path, key: str, *, beginning: str) -> list[Any]:
    """Return what studies whose names begin like this keep under a key, where they do."""
    opened = storage_at(storage)
    names = [name for name in optuna.get_all_study_names(opened) if name.startswith(beginning)]
    notes = [optuna.load_study(study_name=name, storage=opened).user_attrs for name in names]
    disconnect(opened)
    return [note[key] for note in notes if key in note]


def disconnect(storage: BaseStorage | None) -> None:
    """Close a database's connections; when it is asked again, it opens new ones."""
    database = getattr(storage, "_backend", storage)
    if isinstance(database, PatientStorage):
        database.engine.dispose()


def storage_at(storage: str | Path, patience_secs: float = 0.0) -> BaseStorage:
    """Return the storage that lies at a journal file's path or a database's URL.

    patience_secs: how long a database that is locked or away is tried again
    """
    if "://" not in str(storage):
        return JournalStorage(Journal(Path(storage)))
    return CachedDatabase(open_database(str(storage), patience_secs))


def _check_names(storage: str | Path, spec: StudySpec) -> None:
    """Raise BadInput for parameters that a server cannot tell apart."""
    server = server_at(storage)
    if server is None or server.knows_case:
        return
    seen: dict[str, str] = {}
    for name in spec.varied:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise BadInput(
                f"space must have names that differ in more than case where storage is "
                f"{server.schemes[0]}://…, got {other!r} and {name!r}"
            )


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
