"""What the time to the first trained epoch is spent on; started by `start_up.py`.

A search runs in this process, with every import of a library and the functions below timed. What
one does within another counts for the inner one, and what a library imports for that library, so
the lines add up. At the first report to Optuna the process prints them and ends.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

IMPORT, OWN = "import ", "import pipeline"
LEAST_SECS = 0.02
PLACES = {
    "pipeline.search": {
        "load_study": "the study file",
        "engine_of": "engine",
        "complete_runs": "runs of dead processes",
    },
    "pipeline.question": {
        "load": "data",
        "set_test_rows_aside": "splits",
        "split": "splits",
    },
    "pipeline.training": {
        "set_up": "devices",
        "check_model": "model check",
    },
    "pipeline.training.programs": {"baked_in": "engine: what the builder bakes in"},
    "pipeline.training.compiled_epoch": {
        "CompiledEpoch.account_for": "engine: tracing, all variables found",
        "CompiledEpoch.is_taken_by_xla": "engine: can XLA compile it?",
        "CompiledEpoch.__call__": "compiling, and the first epochs",
    },
    "pipeline.tracking.store": {
        "_create": "MLflow's store: made",
        "_connect": "MLflow's store: opened",
    },
    "pipeline.optimization": {
        "open_study": "Optuna's study",
        "next_proposal": "the first proposal",
    },
    "pipeline.recording": {"_opened": "MLflow's run"},
    "pipeline.evaluation": {"train": "the first trial, without compiling"},
}
"""By module, the functions that are timed once it is imported, and what their time counts as."""


class Phases:
    """Seconds of the main thread by what they are for: on the wall, and of the process's CPUs."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._secs = {"Python": [time.monotonic() - started, time.process_time()]}
        self._names = ["everything else"]
        self._since = (time.monotonic(), time.process_time())

    def __call__(self, name: str, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call, and count the time for `name`."""
        if threading.current_thread() is not threading.main_thread():
            return call(*args, **options)
        self._count()
        self._names.append(name)
        try:
            return call(*args, **options)
        finally:
            self._count()
            self._names.pop()

    @property
    def in_a_library(self) -> bool:
        """Whether a library is being imported, so that what it imports is its own."""
        return self._names[-1].startswith(IMPORT) and self._names[-1] != OWN

    def end(self) -> None:
        """Print them, and end the process."""
        self._count()
        total = (time.monotonic() - self._started, time.process_time())
        for name, (wall, cpu) in [*self._secs.items(), ("in all", total)]:
            if wall > LEAST_SECS:
                print(f"{wall:6.2f}  {cpu:6.2f}  {name}", file=OUTPUT, flush=True)
        os._exit(0)

    def _count(self) -> None:
        now = (time.monotonic(), time.process_time())
        secs = self._secs.setdefault(self._names[-1], [0.0, 0.0])
        for kind in (0, 1):
            secs[kind] += now[kind] - self._since[kind]
        self._since = now


def time_imports(phases: Phases) -> None:
    """Count imports by library; time the functions of PLACES where a module of them was loaded."""
    machinery: Any = importlib._bootstrap
    find_and_load = machinery._find_and_load  # called for what is not loaded yet, and only then

    def timed(name: str, import_: Any) -> Any:
        library = name.partition(".")[0]
        if phases.in_a_library or library in sys.stdlib_module_names:
            return find_and_load(name, import_)
        module = phases(IMPORT + library, find_and_load, name, import_)
        for path, what in PLACES.get(name, {}).items():
            _time(sys.modules[name], path, what, phases)
        if name == "pipeline.optimization.trials":
            sys.modules[name].Proposal.report = lambda *args, **options: phases.end()
        return module

    machinery._find_and_load = timed


def _time(module: Any, path: str, what: str, phases: Phases) -> None:
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, module)
    function = getattr(owner, name)

    @functools.wraps(function)
    def timed(*args: Any, **options: Any) -> Any:
        return phases(what, function, *args, **options)

    setattr(owner, name, timed)


if __name__ == "__main__":
    OUTPUT = os.fdopen(os.dup(1), "w")  # a command's standard output is for its answer
    time_imports(Phases(float(sys.argv.pop(1).partition("=")[2])))
    from pipeline.cli import search_options
    from pipeline.ending import end_process

    end_process("pipeline.search", search_options())
