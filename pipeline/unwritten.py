"""Epochs that may not have reached MLflow: the writer's queue dies with its process.

A trial's epochs are kept here before Optuna is told that the trial is over, until MLflow has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.files import write_whole

Epochs = Mapping[int, tuple[int, Mapping[str, float]]]
"""Number of epochs → when it was logged, in milliseconds since 1970, and what."""


class Unwritten:
    """One study's, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, epochs: Epochs) -> None:
        """Keep a trial's epochs."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._path(name), json.dumps(epochs).encode())

    def read(self, name: str) -> Epochs:
        """Return a trial's epochs, none if they were not kept."""
        path = self._path(name)
        if not path.exists():
            return {}
        return {int(n): (at, metrics) for n, (at, metrics) in json.loads(path.read_bytes()).items()}

    def forget(self, names: Iterable[str]) -> None:
        """Forget these trials': MLflow has them. Other workers may be keeping theirs."""
        for name in names:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
