"""python -m pipeline.maintain: keep a project's stores small, and mend them.

    python -m pipeline.maintain clean --keep 5            # what would go?
    python -m pipeline.maintain clean --keep 5 --delete
    python -m pipeline.maintain mend                      # after a move, or a kill
    python -m pipeline.maintain upload                    # what MLflow did not take, now

The first two work on the project's own stores under `mlruns/`; a server has its own keeper.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the heavy imports below: --help and mistyped options answer at once.
    from pipeline.cli_jobs import maintain_options

    OPTIONS = maintain_options()

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline import decision, decoded, optimization, retention, tracking
from pipeline.addresses import tracking_uri_of
from pipeline.batch import only_run_of
from pipeline.errors import (
    AnotherRunActive,
    BadInput,
    ExitCode,
    PipelineError,
    StoreUnavailable,
    in_one_line,
)
from pipeline.progress import duration
from pipeline.retry import DEFAULT_PATIENCE_SECS


def clean(
    home: Path,
    *,
    keep: int | None = None,
    older_than_secs: float | None = None,
    records_too: bool = False,
    delete: bool = False,
) -> Iterator[str]:
    """Remove what studies have left, if `delete`; yield what goes and what stays, line by line.

    keep: studies of each name that stay, the newest
    older_than_secs: only what was last used so long ago goes
    records_too: remove the decisions of former studies as well
    Raises BadInput without a limit or a project, StoreUnavailable when a store fails.
    """
    if keep is None and older_than_secs is None:
        raise BadInput(
            "clean must have a limit: --keep N studies of each name, or --older-than 30d"
        )
    if keep is not None and keep < 1:
        raise BadInput(f"--keep must be ≥ 1, got {keep}: the newest study of a name stays")
    store, age_secs = _open_store(home), older_than_secs or 0.0
    limits: Any = {"keep": keep or 1, "older_than_secs": age_secs, "now_secs": time.time()}
    studies = retention.studies_in(home, store, records_too=records_too)
    going, staying = retention.to_go(studies, **limits)
    yield from (f"kept  {name}: {why}" for name, why in staying.items())
    verb, gone = "removed" if delete else "would remove", []
    for study in going:
        try:
            # Held while it is removed: nobody may begin to search in the middle.
            with only_run_of(study.folder):
                if delete:
                    retention.remove(study, store, records_too=records_too)
        except AnotherRunActive as error:
            yield f"kept  {study.folder.name}: {error}"
            continue
        gone.append(study)
        yield f"{verb}  {study.folder.name}: {_contents(study)}"
    besides = {each for study in gone for each in (*study.logged.run_ids, *study.logged.model_ids)}
    trash = tracking.deleted_by_hand(store, age_secs, besides)
    if trash.run_ids or trash.model_ids:
        if delete:
            tracking.remove(store, trash)
        yield f"{verb}  deleted before in MLflow: {_logged(trash)}, {_size(trash.n_bytes)}"
    cached = decoded.to_go(home, **limits)
    if cached:
        yield _cleaned(cached, delete=delete)
    kept = [study for study in studies if study not in gone]
    written = retention.written_files_to_go(home, kept, **limits)
    if written:
        if delete:
            for path in written:
                shutil.rmtree(path.parent)
        yield f"{verb}  {len(written)} study file(s) written for data files"
    n_bytes = trash.n_bytes + sum(study.n_bytes for study in gone)
    n_kept = len(studies) - len(gone)
    yield f"{verb} {len(gone)} of {len(studies)} studies, {_size(n_bytes)}; {n_kept} stay"
    if delete:
        yield _shrunk(store, home)
    elif gone or trash.run_ids or trash.model_ids or cached or written:
        yield "nothing was removed: add --delete to do it"


def _cleaned(cached: Sequence[Path], *, delete: bool) -> str:
    n_bytes = sum(path.stat().st_size for path in cached)
    told = f"{len(cached)} array(s) of decoded files, {_size(n_bytes)}"
    try:
        if delete:
            decoded.remove(cached)
    except AnotherRunActive as error:
        return f"kept  {told}: {error}"
    return f"{'removed' if delete else 'would remove'}  {told}"


def mend(home: Path) -> Iterator[str]:
    """Repair what a move or a kill left behind; yield what was done, line by line.

    Done twice, it does nothing the second time. Raises BadInput without a project or where its
    artifacts were not moved along, StoreUnavailable when a store fails.
    """
    store, n_mended = _open_store(home), 0
    if (relocation := tracking.relocate(store)) is not None:
        n_mended += 1
        rows = ", ".join(f"{n} {table}" for table, n in relocation.n_rewritten.items())
        yield (
            f"moved from {', '.join(relocation.moved_from)}: rewrote the addresses of {rows}; "
            f"the database as it was: {relocation.backup}"
        )
    for (name, signature), folder in retention.folders_in(home).items():
        try:
            for line in _mended(folder, name, signature, store):
                n_mended += 1
                yield f"{folder.name}: {line}"
        except AnotherRunActive as error:
            yield f"{folder.name}: left alone: {error}"
    if not n_mended:
        yield "nothing to mend"


def upload(
    home: Path,
    *,
    tracking_uri: str | None = None,
    patience_secs: float = DEFAULT_PATIENCE_SECS,
) -> Iterator[str]:
    """Send what MLflow's store did not take while studies were searched; yield what went.

    tracking_uri: of a store whose address holds a password, which was not written down
    patience_secs: how long a store that is locked or away is tried again
    Done twice, it sends nothing the second time. Raises StoreUnavailable at the end, if something
    is still waiting.
    """
    folders = retention.folders_in(home).values()
    waiting = [
        (each, address) for each in folders for address in sorted(tracking.waiting_for(each))
    ]
    if not waiting:
        yield "nothing to send"
        return
    stores: dict[str, tracking.Store] = {}
    if tracking_uri is not None:
        store = tracking.open_store(tracking_uri, home, patience_secs=patience_secs)
        stores[store.address] = store
    left = []
    for folder, address in waiting:
        try:
            if address not in stores:
                stores[address] = _store_at(address, home, patience_secs)
            with only_run_of(folder):
                sent = tracking.send_unsent(folder, stores[address], patience_secs=patience_secs)
        except (AnotherRunActive, BadInput, StoreUnavailable) as error:
            left.append(folder.name)
            yield f"{folder.name}: kept for {address}: {error}"
            continue
        if sent.left_behind:
            left.append(folder.name)
        done = sent.left_behind or f"{sent.n_updates} update(s) sent to {address}"
        yield f"{folder.name}: {done}"
    if left:
        raise StoreUnavailable(f"not everything was sent: {', '.join(dict.fromkeys(left))}")


def _store_at(address: str, home: Path, patience_secs: float) -> tracking.Store:
    """Open the store of an address that was written down, which never has a password."""
    if "***" in address:
        raise BadInput("its address must be given with its password: --tracking-uri")
    file = address.removeprefix("sqlite:///")
    if file != address and not Path(file).is_file():  # opening it would create it
        raise BadInput(f"{file} must be there")
    return tracking.open_store(address, home, patience_secs=patience_secs)


def _mended(folder: Path, name: str, signature: str, store: tracking.Store) -> Iterator[str]:
    """Mend one study under its lock, which a process that is alive would hold."""
    left_behind = (folder / "holder.json").exists()
    with only_run_of(folder):
        if left_behind:
            yield "removed the note of a process that died while it held the study"
        try:
            if n_torn := optimization.mend_journal(folder / "journal.log"):
                yield f"cut {n_torn} bytes of a torn last line off the journal"
        except (OSError, ValueError) as error:
            yield f"the journal cannot be mended: {in_one_line(error)}"
        if n_ended := tracking.end_left_running(store, name, signature):
            yield f"{n_ended} run(s) of a killed process marked KILLED in MLflow"
        if tracking.readdress(folder, store):
            yield "rewrote the store's address in what waits to be sent"
        if _readdressed(folder / retention.RECORD, store):
            yield "rewrote the store's address in the decision"


def _readdressed(path: Path, store: tracking.Store) -> bool:
    """Let a decision whose run is in this store name it as it is now; say whether it did not."""
    if not path.exists():
        return False
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["mlflow_ui"] == store.ui_command or not tracking.has_run(store, values["run_id"]):
        return False
    written = path.stat().st_mtime
    decision.write(path, {**values, "mlflow_ui": store.ui_command})
    os.utime(path, (written, written))  # by it studies are ordered: this decided nothing new
    return True


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    home = Path(options.project).resolve()
    try:
        if options.command == "mend":
            lines = mend(home)
        elif options.command == "upload":
            uri = tracking_uri_of(options.tracking_uri)
            lines = upload(home, tracking_uri=uri, patience_secs=options.store_patience)
        else:
            lines = clean(
                home,
                keep=options.keep,
                older_than_secs=options.older_than,
                records_too=options.all,
                delete=options.delete,
            )
        for line in lines:
            print(line, flush=True)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return ExitCode.SUCCESS


def _open_store(home: Path) -> tracking.Store:
    # A node that logs to a server has the latter alone.
    if not any((home / "mlruns" / name).exists() for name in ("mlflow.db", "studies")):
        raise BadInput(
            f"a project must have mlruns/mlflow.db or mlruns/studies, got {home}; name it with "
            "--project"
        )
    return tracking.open_store(None, home)


def _shrunk(store: tracking.Store, home: Path) -> str:
    path = home / "mlruns" / "mlflow.db"
    before = path.stat().st_size
    try:
        tracking.shrink(store)
    except StoreUnavailable as error:  # a UI that is open; the next time will do
        return str(error)
    return f"mlflow.db: {_size(before)}, now {_size(path.stat().st_size)}"


def _contents(study: retention.StoredStudy) -> str:
    age = duration(time.time() - study.last_used_secs)
    return f"last used {age} ago, {_logged(study.logged)}, {_size(study.n_bytes)}"


def _logged(logged: tracking.Logged) -> str:
    return f"{len(logged.run_ids)} run(s), {len(logged.model_ids)} model(s)"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:,.1f} kB"


if __name__ == "__main__":
    raise SystemExit(main(OPTIONS))
