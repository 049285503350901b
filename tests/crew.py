"""Real commands in real processes, several of them at one study, that tests watch and kill."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.optimization import begun, read_study

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
COMMAND = ("-m", "pipeline.search")


@contextlib.contextmanager
def searching(
    study: Path, *arguments: str, start: Sequence[str] = COMMAND
) -> Iterator[subprocess.Popen[str]]:
    """Start the command; end it with the block."""
    with subprocess.Popen(
        [sys.executable, *start, str(study), "--json", *arguments],
        cwd=study.parent, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """Return what it told at its end, and what it said until then."""
    told, said = process.communicate(timeout=240)
    assert "Traceback" not in said, said
    return json.loads(told), said


def until(holds: Callable[[], Any], secs: float = 240) -> Any:
    deadline = time.monotonic() + secs
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def stored(study: Path, question: Callable[[Any], Any]) -> Callable[[], Any]:
    """Return a function that asks Optuna's study something, once it is there."""

    def ask() -> Any:
        for journal in study.parents[1].glob("mlruns/studies/*/journal.log"):
            with contextlib.suppress(Exception):  # it is being made
                return question(read_study(journal, journal.parent.name))
        return None

    return ask


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed if b"pipeline.worker" in command_of(int(child))]


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def claimed(home: Path) -> list[Path]:
    """Return the locks of the trials that somebody is at."""
    return list(home.glob("mlruns/studies/*/claims/trial_*.lock"))


def is_being_trained(study: Any) -> list[int]:
    """Return the numbers of trials that have been trained for some epochs and go on."""
    return [trial.number for trial in begun(study) if len(trial.intermediate_values) > 5]


@contextlib.contextmanager
def two_at_once(study: Path) -> Iterator[list[subprocess.Popen[str]]]:
    with (
        searching(study, "--if-running", "join") as one,
        searching(study, "--if-running", "join") as other,
    ):
        until(lambda: len(claimed(study.parents[1])) == 2)
        yield [one, other]
