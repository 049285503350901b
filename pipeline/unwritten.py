"""Epochs that may not have reached MLflow: the writer's queue dies with its process.

A trial's epochs are kept here before Optuna is told that the trial is over, until MLflow has them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.files import write_whole

Epochs = Mapping[int, Mapping[str, float]]
"""Number of epochs → what is logged after it."""


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
        return {int(n): metrics for n, metrics in json.loads(path.read_bytes()).items()}

    def clear(self) -> None:
        """Forget all: MLflow has them."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
