"""Files of a study's folder that another node goes on from, where nodes do not share the folder.

They lie among the artifacts of the study's run, under `handover/`, as they lie in the folder. A
writer of their own sends them, so that a large one does not hold up metrics; while the store is
away they wait in it. One that never arrives costs training it again, so it ends nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import StoreUnavailable
from pipeline.retry import is_passing, patiently
from pipeline.tracking.artifacts import artifacts_of
from pipeline.tracking.store import reason_of
from pipeline.tracking.updates import Update
from pipeline.tracking.writer import MetricWriter

if TYPE_CHECKING:
    from pipeline.tracking.runs import StudyRun

FOLDER = "handover"
WAITING = "files for other nodes wait here"
NOT_FETCHED = "files of other nodes could not be fetched"


class Handover:
    """One node's.

    run: the study's; None where all workers share the folder: then nothing is sent or fetched
    folder: the study's
    say: gets a line when the store does not take or give a file
    """

    def __init__(
        self,
        run: StudyRun | None,
        folder: Path,
        *,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._run = run if run is not None and run.store.is_server else None
        self._folder, self._say = folder, say
        self._told: set[str] = set()  # what it is told of once as long as it stays so
        self._waiting: set[Path] = set()
        self._artifacts: Any = None
        self._patience_secs = self._run.writer.patience_secs if self._run else 0.0
        self._writer: MetricWriter | None = None
        if self._run is not None:
            self._writer = MetricWriter(
                self._run.store.client, interval_secs=0.0, patience_secs=self._patience_secs
            )

    @property
    def is_needed(self) -> bool:
        """Whether there are other nodes, without the folder."""
        return self._run is not None

    def give(self, path: Path) -> None:
        """Send a file of the folder, as it is when its turn comes."""
        if path not in self._waiting:
            self._waiting.add(path)
            self._do(lambda: self._send(path))

    def take_back(self, path: Path) -> None:
        """Remove what was sent of a file."""
        self._do(lambda: self._remove(self._name(path)))

    def take_back_all(self, folder: str) -> None:
        """Remove what was sent of a folder's files, by any node."""
        self._do(lambda: self._remove(f"{FOLDER}/{folder}"))

    def flush(self) -> None:
        """Wait until everything has arrived, or the store is away for too long: that is said."""
        if self._writer is None or self._run is None:
            return
        if self._run.writer.is_away:  # it has had its patience; what waits here is tried again
            return
        try:
            self._writer.flush()
            self._told.discard(WAITING)
        except StoreUnavailable:
            self._tell(WAITING, self._writer.problem or "the store does not answer")

    def fetch(self, *paths: Path, is_better: Callable[[Path], bool] = lambda file: True) -> None:
        """Bring files into the folder, those of them that another node has sent.

        is_better: than the one that lies there, given where the other one lies for now
        """
        if self._run is None or not paths:
            return
        self.flush()  # or what this node itself has removed comes back
        try:
            there = self._patiently(partial(self._sent, {self._name(path) for path in paths}))
            for path in paths:
                if self._name(path) in there:
                    self._patiently(partial(self._bring, path, is_better))
            self._told.discard(NOT_FETCHED)
        except Exception as error:
            self._tell(NOT_FETCHED, reason_of(error))

    def _sent(self, names: set[str]) -> set[str]:
        """Return those of the files that are there: of one that is not, no store says just that."""
        folders = {name.rpartition("/")[0] for name in names}
        listed = (self._repository().list_artifacts(folder) for folder in folders)
        return names & {file.path for files in listed for file in files}

    def _bring(self, path: Path, is_better: Callable[[Path], bool]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place: it is renamed.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".handover-") as scratch:
            file = Path(self._repository().download_artifacts(self._name(path), scratch))
            if is_better(file):
                file.replace(path)

    def _patiently(self, action: Callable[[], Any]) -> Any:
        assert self._run is not None
        # One that is known to be away has had its patience.
        patience_secs = 0.0 if self._run.writer.is_away else self._patience_secs
        return patiently(action, patience_secs=patience_secs)

    def _tell(self, what: str, why: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._say(f"{what}: {why}")

    def _name(self, path: Path) -> str:
        return f"{FOLDER}/{path.relative_to(self._folder).as_posix()}"

    def _repository(self) -> Any:
        assert self._run is not None
        if self._artifacts is None:
            self._artifacts = artifacts_of(self._run.store, self._run.run_id)
        return self._artifacts

    def _do(self, action: Callable[[], None]) -> None:
        if self._writer is not None and self._run is not None:
            self._writer.update(_Doing(self._run.run_id, action))

    # What follows runs in the writer's thread.

    def _send(self, path: Path) -> None:
        self._waiting.discard(path)  # from now on it may change again
        try:
            self._repository().log_artifact(str(path), self._name(path).rpartition("/")[0])
        except FileNotFoundError:  # dropped meanwhile
            return
        except Exception as error:
            if is_passing(error):
                self._waiting.add(path)
                raise
            self._say(f"{path.name} could not be given to other nodes: {reason_of(error)}")

    def _remove(self, name: str) -> None:
        with suppress(Exception):  # at worst it lies there unused
            self._repository().delete_artifacts(name)


@dataclass(frozen=True)
class _Doing(Update):
    """Something to be done to the files of a run, which is kept nowhere."""

    kind = "doing"
    action: Callable[[], None] = field(repr=False)

    def send(self, client: Any, run_id: str) -> None:
        """Do it."""
        self.action()
