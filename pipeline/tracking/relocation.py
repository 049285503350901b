"""The addresses in a database whose project was moved.

MLflow writes where files lie as absolute paths, in four columns. After a move runs and metrics are
still there, but artifacts and models are not found.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BadInput
from pipeline.tracking.store import Store, readable_errors

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
BACKUP_SUFFIX = ".before-mend"


@dataclass(frozen=True)
class Relocation:
    """What was rewritten.

    moved_from: the folders that the project lay in before
    n_rewritten: by table
    backup: the database as it was
    """

    moved_from: tuple[str, ...]
    n_rewritten: dict[str, int]
    backup: Path


def relocate(store: Store) -> Relocation | None:
    """Let the store's addresses point to where its project is now; None when they do already.

    In one transaction, with a copy of the database made first. Addresses of other places, which
    this program did not write, are left alone.
    Raises BadInput when the files did not come along, StoreUnavailable when the store fails.
    """
    assert store.artifact_location is not None  # only a server leaves it open
    here = Path(store.artifact_location)
    path = here.parent / "mlflow.db"
    with (
        readable_errors(f"the tracking store {path} cannot be mended"),
        closing(sqlite3.connect(path, isolation_level=None)) as database,
    ):
        database.execute("BEGIN IMMEDIATE")
        moved = {table: _moved(database, table, column, here) for table, column in COLUMNS}
        if not any(moved.values()):
            return None
        if not here.is_dir():
            raise BadInput(f"the artifacts must be moved with the database, to {here}")
        backup = path.with_name(path.name + BACKUP_SUFFIX)
        backup.unlink(missing_ok=True)
        # A connection of its own: it sees the database as it is before the transaction ends.
        with closing(sqlite3.connect(path)) as before, closing(sqlite3.connect(backup)) as copy:
            before.backup(copy)
        for table, column in COLUMNS:
            database.executemany(
                f"UPDATE {table} SET {column} = ? WHERE rowid = ?",
                [(f"{here}{rest}", rowid) for rowid, _, rest in moved[table]],
            )
        database.execute("COMMIT")
    projects = {project for rows in moved.values() for _, project, _ in rows}
    n_rewritten = {table: len(rows) for table, rows in moved.items()}
    return Relocation(tuple(sorted(projects)), n_rewritten, backup)


def _moved(
    database: sqlite3.Connection, table: str, column: str, here: Path
) -> list[tuple[int, str, str]]:
    """Return (row, project's former folder, rest of the path) for addresses of another place."""
    rows = database.execute(
        f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL"
    ).fetchall()
    found = []
    for rowid, location in rows:
        is_ours = re.fullmatch(r"(/.*)/mlruns/artifacts(/.*)?", location)
        if is_ours and f"{is_ours[1]}/mlruns/artifacts" != str(here):
            found.append((rowid, is_ours[1], is_ours[2] or ""))
    return found
