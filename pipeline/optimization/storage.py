"""The study's Optuna storage: a journal file by default, any Optuna storage by URL."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.spec import StudySpec

RECORD = b'{"op_code":'
"""How every line of an Optuna journal begins."""


def open_study(storage: str | Path, name: str, spec: StudySpec) -> optuna.Study:
    """Open the study, or create it.

    storage: a journal file, the cheapest by the report, or a database URL
    Raises StoreUnavailable when it cannot be read or written. The caller holds the study's lock.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return optuna.create_study(
            storage=_open(storage),
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


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn a storage that fails during the search (a full disk) into StoreUnavailable."""
    try:
        yield
    except (OSError, optuna.exceptions.StorageInternalError) as error:
        raise StoreUnavailable(
            f"the study's storage cannot be written: {mask_password(str(error))}; free it and "
            "start the same command: finished trials are kept"
        ) from error


def _open(storage: str | Path) -> BaseStorage:
    if "://" in str(storage):
        return RDBStorage(str(storage))
    path = Path(storage)
    if path.suffix in (".db", ".sqlite", ".sqlite3"):
        raise BadInput(
            f"storage must be a journal file or a URL, got {str(path)!r}; "
            f"for SQLite write sqlite:///{path}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    return JournalStorage(JournalFileBackend(str(path)))


def _mend(journal: Path) -> None:
    """Cut off a torn last line, which would break the next write, and drop a dead writer's lock.

    Raises ValueError for a file that is no journal, and leaves it as it is.
    """
    if journal.exists():
        content = journal.read_bytes()
        if not _is_journal(content):
            raise ValueError("this file is no Optuna journal")
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with journal.open("r+b") as file:
                file.truncate(whole)
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)


def _is_journal(content: bytes) -> bool:
    """Whether the first line is a journal's, be it torn; an empty file may become one."""
    first, newline, _ = content.partition(b"\n")
    return first.startswith(RECORD) or (not newline and RECORD.startswith(first))
