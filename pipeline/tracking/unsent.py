"""What could not be sent to the tracking store, kept in the study's folder until it can be.

`unsent.jsonl` has one JSON object a line. `{"format": 1, "store": ADDRESS}` says where the lines
after it belong. Every other one is an update, in the order in which they are to be sent:

    {"kind": "new_run", "run_id": "local-…", "experiment_id", "name", "tags", "start_time_ms"}
    {"kind": "metrics", "run_id", "values": {KEY: VALUE}, "step", "timestamp_ms"}
    {"kind": "texts", "run_id", "params": {…}, "tags": {…}}
    {"kind": "status", "run_id", "status", "end_time_ms"}        null: the run is going on
    {"kind": "dataset", "run_id", "dataset": {…}, "tags": {…}}
    {"kind": "artifact", "run_id", "path", "folder"}
    {"kind": "model", "run_id", "path", "name", "experiment_id", "n_epochs", "params"}

A run id that begins with `local-` is that of the `new_run` before it. null among metrics is NaN.
Paths are relative to the file; files that would not have lasted were copied to `unsent/`. Metrics
keep their timestamps, so sending a line twice stores it once. Lines that the store refused for good
(a run that was deleted) are in `refused.jsonl`, and are not sent again.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipeline.errors import StoreUnavailable
from pipeline.files import json_text, write_whole
from pipeline.tracking.updates import Artifact, Model, Update, of_plain

FORMAT = 1
WORKERS = "workers"


class Unsent:
    """The file of one study.

    folder: the study's
    store: the tracking store's address, without its password
    """

    def __init__(self, folder: Path, store: str) -> None:
        self._folder = folder
        self._adopted: list[Path] = []
        self.path = folder / "unsent.jsonl"
        self.refused = folder / "refused.jsonl"
        self.models = folder / "models"
        self._copies = folder / "unsent"
        self._store = store

    @classmethod
    def of_worker(cls, folder: Path, store: str) -> Unsent:
        """Return the file of a worker that joined the study: this process, from now to its end."""
        unsent = cls(folder / WORKERS / f"{platform.node()}-{os.getpid()}", store)
        unsent.refused = folder / unsent.refused.name
        return unsent

    def read(self) -> list[Update]:
        """Return what an earlier session left for this store, in order.

        Raises StoreUnavailable for a file that a newer version wrote, or that is broken.
        """
        return [
            self._with_path(of_plain(plain), absolute=True)
            for store, plain in self._lines()
            if store == self._store
        ]

    def adopt(self) -> list[Update]:
        """Return what workers left behind when they ended, from now on this file's to keep."""
        updates: list[Update] = []
        for path in sorted(self._folder.glob(f"{WORKERS}/*/unsent.jsonl")):
            left = Unsent(path.parent, self._store).read()
            if left and path.parent not in self._adopted:  # else it is for another store
                self._adopted.append(path.parent)
                updates += left
        return updates

    def write(self, updates: Sequence[Update]) -> None:
        """Keep these, and nothing else, for this store; without any, its file and copies go."""
        others = [(store, plain) for store, plain in self._lines() if store != self._store]
        mine = [(self._store, self._with_path(each).as_plain()) for each in updates]
        if others or mine:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, _text([*others, *mine]).encode())
        else:
            self.path.unlink(missing_ok=True)
            shutil.rmtree(self._copies, ignore_errors=True)
        for folder in self._adopted:
            shutil.rmtree(folder, ignore_errors=True)

    def note_refused(self, updates: Sequence[Update]) -> None:
        """Add what the store refuses for good to a file of its own."""
        if updates:
            with self.refused.open("a", encoding="utf-8") as file:
                file.write(_text([(self._store, each.as_plain()) for each in updates]))

    def copied(self, path: Path) -> Path:
        """Return where a file or a folder lasts until it is sent: where it is, or in a copy."""
        if path.resolve().is_relative_to(self.path.parent.resolve()):
            return path
        copy = self._copies / uuid4().hex / path.name
        copy.parent.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, copy)
        else:
            shutil.copy2(path, copy)
        return copy

    @property
    def addresses(self) -> set[str]:
        """The stores that something in the file is for."""
        return {store for store, _ in self._lines()}

    def _lines(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield (store, update) for every update in the file, whichever store it is for."""
        if not self.path.exists():
            return
        store = ""
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                plain = json.loads(line)
                if "kind" in plain:
                    yield store, plain
                    continue
                is_known, store = plain["format"] == FORMAT, plain["store"]
            except (ValueError, TypeError, KeyError):
                is_known = False
            if not is_known:
                raise StoreUnavailable(
                    f"{self.path}, line {number}, must be an update of format {FORMAT}; move the "
                    "file away to go on without what it holds"
                )

    def _with_path(self, update: Update, *, absolute: bool = False) -> Update:
        """Return an update whose path, if it has one, is relative to the file, or absolute."""
        if not isinstance(update, Artifact | Model):
            return update
        home = self.path.parent.resolve()
        path = home / update.path
        return replace(update, path=str(path if absolute else path.resolve().relative_to(home)))


def _text(lines: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    texts, before = [], None
    for store, plain in lines:
        if store != before:
            texts.append(json_text({"format": FORMAT, "store": store}))
            before = store
        texts.append(json_text(plain))
    return "".join(f"{text}\n" for text in texts)
