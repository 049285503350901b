"""The files of a run, wherever its server keeps them: on its disk, or in an object store."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput
from pipeline.retry import is_passing, patiently
from pipeline.tracking.lookup import find_trial
from pipeline.tracking.store import Store, readable_errors, reason_of

if TYPE_CHECKING:
    from pipeline.tracking.runs import StudyRun

CHECK_FILE = "written_before_training.txt"
"""Is among a run's artifacts for a moment."""


def artifacts_of(store: Store, run_id: str) -> Any:
    """Return MLflow's repository of a run's artifacts: its client can do less with them."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = store.client.get_run(run_id).info.artifact_uri
    return get_artifact_repository(uri, tracking_uri=store.uri)


def bring_files(store: Store, run_id: str, names: Sequence[str], folder: Path) -> None:
    """Copy those of a run's files into a folder that it has; an unknown run has none.

    Raises StoreUnavailable when the store fails.
    """
    with readable_errors(f"the files of run {run_id} in {store.address} cannot be read"):
        if find_trial(store.client, "", run_id) is None:
            return
        files = artifacts_of(store, run_id)
        there = {file.path for file in files.list_artifacts()}
        for name in there.intersection(names):
            folder.mkdir(parents=True, exist_ok=True)
            files.download_artifacts(name, str(folder))


def check_files(run: StudyRun) -> None:
    """Write a file to a server's artifacts and remove it: whether that works is told now.

    Where nodes send files to an object store themselves, that takes a package and credentials.
    Raises BadInput when files cannot be stored, StoreUnavailable when their store is away.
    """
    store = run.store
    if not store.is_server:
        return
    files = f"the files of runs in {store.address}"
    send = partial(store.client.log_text, run.run_id, "", CHECK_FILE)
    with readable_errors(f"{files} cannot be stored"):
        try:
            patiently(send, patience_secs=run.writer.patience_secs)
        except Exception as error:
            if is_passing(error):
                raise
            raise BadInput(
                f"{files} must be writable from {platform.node()}, got {reason_of(error)}"
            ) from error
    with suppress(Exception):  # who may write need not be one who may remove
        artifacts_of(store, run.run_id).delete_artifacts(CHECK_FILE)
