"""Files of a study's folder that another node goes on from, where nodes do not share the folder.

They lie among the artifacts of the study's run, under `handover/`, as they lie in the folder. They
are sent in the background; one that does not arrive costs training it again, so it ends nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tracking.store import reason_of

if TYPE_CHECKING:
    from pipeline.tracking.runs import StudyRun

FOLDER = "handover"
ANSWER_SECS = 30.0
"""How long a node waits for what it has sent to arrive, before it goes on."""


class Handover:
    """One node's.

    run: the study's; None where all workers share the folder: then nothing is sent or fetched
    folder: the study's
    say: gets a line when the store does not take a file
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
        self._waiting: set[Path] = set()
        self._last: Future[None] | None = None
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="handover")
        self._artifacts: Any = None

    @property
    def is_needed(self) -> bool:
        """Whether there are other nodes, without the folder."""
        return self._run is not None

    def give(self, path: Path) -> None:
        """Send a file of the folder, as it is when its turn comes."""
        if self._run is not None and path not in self._waiting:
            self._waiting.add(path)
            self._last = self._sender.submit(self._send, path)

    def take_back(self, path: Path) -> None:
        """Remove what was sent of a file."""
        if self._run is not None:
            self._last = self._sender.submit(self._remove, self._name(path))

    def take_back_all(self, folder: str) -> None:
        """Remove what was sent of a folder's files, by any node."""
        if self._run is not None:
            self._last = self._sender.submit(self._remove, f"{FOLDER}/{folder}")

    def flush(self) -> None:
        """Wait until everything has arrived, or the store is silent for too long."""
        if self._last is not None:
            wait([self._last], timeout=ANSWER_SECS)

    def fetch(self, path: Path, *, is_better: Callable[[Path], bool] = lambda file: True) -> None:
        """Bring a file into the folder, if another node has sent it.

        is_better: than the one that lies there, given where the other one lies for now
        """
        if self._run is None or self._run.writer.is_away:
            return
        self.flush()  # or what this node itself has removed comes back
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place: it is renamed.
        with (
            tempfile.TemporaryDirectory(dir=path.parent, prefix=".handover-") as scratch,
            suppress(Exception),  # mostly since there is none
        ):
            file = Path(self._repository().download_artifacts(self._name(path), scratch))
            if file.is_file() and is_better(file):
                file.replace(path)

    def _name(self, path: Path) -> str:
        return f"{FOLDER}/{path.relative_to(self._folder).as_posix()}"

    def _repository(self) -> Any:
        """Return MLflow's repository of the run's artifacts."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        assert self._run is not None
        if self._artifacts is None:
            store = self._run.store
            uri = store.client.get_run(self._run.run_id).info.artifact_uri
            self._artifacts = get_artifact_repository(uri, tracking_uri=store.uri)
        return self._artifacts

    # What follows runs in the thread.

    def _send(self, path: Path) -> None:
        self._waiting.discard(path)
        name = self._name(path)
        try:
            self._repository().log_artifact(str(path), name.rpartition("/")[0])
        except FileNotFoundError:  # dropped meanwhile
            return
        except Exception as error:
            self._say(f"{path.name} could not be given to other nodes: {reason_of(error)}")

    def _remove(self, name: str) -> None:
        with suppress(Exception):  # at worst it lies there unused
            self._repository().delete_artifacts(name)
