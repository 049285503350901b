"""Does a long search stay as fast and as small as it began?

    python tests/benchmarks/steady.py
    python tests/benchmarks/steady.py --trials 300 --epochs 4 --json steady.json --plot steady.png

Two searches on the digits study of `speed_studies/mlp.py`, each in a process of its own: one whose
trials share an architecture, and one whose first layer's width is sampled from many, so that nearly
every trial is compiled anew and programs are dropped (`training/programs.py` keeps a few). After
each trial, seconds per fold-epoch from the end of the trial before, everything included, and the
process's resident memory (Linux only) are noted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import get_args

from optuna.distributions import IntDistribution

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.budget import Budget
from pipeline.plots.style import CHOSEN, LARGE, NORMAL, TEXT, VALIDATION, bare, figure, saved
from pipeline.spec import EngineMode
from tests.benchmarks.speed import machine
from tests.benchmarks.speed_program import own_study

ONE, MANY = "one architecture", "architectures vary"
UNITS = IntDistribution(16, 512)
N_ENDS = 50
"""Trials at either end whose times are compared, or a third of all if those are fewer."""

SETTLED_AFTER = 10
"""Trials after which memory counts: the first ones fill caches."""


@dataclass(frozen=True)
class Course:
    """What a search took, trial by trial.

    engine: the mode that was recorded with the study
    secs_per_fold_epoch, memory_mb: [n_trials]
    """

    engine: str
    secs_per_fold_epoch: Sequence[float]
    memory_mb: Sequence[float]

    @property
    def slowdown(self) -> float:
        """Median time of the last trials ÷ that of the first ones after the very first."""
        secs = self.secs_per_fold_epoch[1:]  # the first one starts everything up
        n = max(1, min(N_ENDS, len(secs) // 3))
        return statistics.median(secs[-n:]) / statistics.median(secs[:n])

    @property
    def growth_mb(self) -> float:
        """Memory from when the search had settled to its end."""
        return self.memory_mb[-1] - self.memory_mb[min(SETTLED_AFTER, len(self.memory_mb)) - 1]

    def in_words(self) -> str:
        """Return the line that says how steady it was."""
        n = len(self.memory_mb)
        settled = min(SETTLED_AFTER, n)
        return (
            f"{n} trials, engine {self.engine}: last trials take {self.slowdown:.2f} of the "
            f"first ones' time ({1e3 * statistics.median(self.secs_per_fold_epoch):.1f} ms a "
            f"fold-epoch); memory grew by {self.growth_mb:.0f} MB from trial {settled} to {n}, "
            f"{max(self.memory_mb):.0f} MB at most"
        )


def run(
    connection: Connection, folder: Path, n_trials: int, engine: EngineMode, space: Mapping
) -> None:
    """Search in this process, and send its course: the target of a process."""
    from pipeline.progress import Display
    from pipeline.results import TrialResult
    from pipeline.search import search
    from pipeline.study_file import load_study

    secs: list[float] = []
    memory: list[float] = []
    start = time.perf_counter()

    class Note(Display):
        def trial_ended(self, result: TrialResult) -> None:
            nonlocal start
            now = time.perf_counter()
            secs.append((now - start) / result.n_fold_epochs)
            memory.append(resident_mb())
            start = now

    study = load_study(own_study("mlp", folder))
    study = replace(
        study,
        space={**study.space, **space},
        engine=engine,
        budget=Budget(n_trials=n_trials),
    )
    result = search(study, display=Note())
    decision = json.loads(result.decision_path.read_text(encoding="utf-8"))
    connection.send(Course(decision["engine"]["mode"], secs, memory))


def course_of(n_trials: int, engine: EngineMode, space: Mapping) -> Course:
    """Return the course of a search in a new process. `space`: what to change in the study's."""
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("spawn").Process(
            target=run, args=(theirs, Path(folder), n_trials, engine, space), daemon=True
        )
        process.start()
        theirs.close()
        course = ours.recv()
        process.join()
    return course


def resident_mb() -> float:
    """Return the memory that this process has in use now, without what is swapped out."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def draw(courses: Mapping[str, Course], path: Path) -> None:
    """Draw time and memory by trial, one column a search, as a PNG."""
    picture = figure(height=5)
    axes = picture.subplots(2, len(courses), squeeze=False, sharex="col")
    for column, (title, course) in zip(axes.T, courses.items(), strict=True):
        time_axes, memory_axes = column
        trials = range(1, len(course.memory_mb) + 1)
        time_axes.set_title(
            f"{title}, engine {course.engine}", loc="left", fontsize=LARGE, color=TEXT
        )
        # The first trial starts everything up, and would hide the others.
        milliseconds = [1e3 * secs for secs in course.secs_per_fold_epoch[1:]]
        time_axes.plot(trials[1:], milliseconds, ".", color=VALIDATION, markersize=3)
        memory_axes.plot(trials, course.memory_mb, color=CHOSEN)
        memory_axes.set_xlabel("trial", fontsize=NORMAL, color=TEXT)
        for each in column:
            each.set_ylim(0, 1.1 * each.dataLim.y1)
            bare(each)
    axes[0, 0].set_ylabel("ms a fold-epoch", fontsize=NORMAL, color=TEXT)
    axes[1, 0].set_ylabel("resident memory, MB", fontsize=NORMAL, color=TEXT)
    saved(picture, path)


def main() -> None:
    """Search, print a line for each search, write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=300, help="of one architecture")
    parser.add_argument("--architectures", type=int, default=60, help="trials where they vary")
    parser.add_argument("--epochs", type=int, default=20, help="of each trial")
    parser.add_argument("--engine", choices=get_args(EngineMode), default="xla")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every trial there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw time and memory there")
    options = parser.parse_args()
    if min(options.trials, options.architectures, options.epochs) < 2:
        parser.error("--trials, --architectures and --epochs must be ≥ 2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    shared = {"max_epochs": options.epochs}
    courses = {}
    for title, n_trials, space in (
        (ONE, options.trials, shared),
        (MANY, options.architectures, {**shared, "units": UNITS}),
    ):
        courses[title] = course_of(n_trials, options.engine, space)
        print(f"{title}: {courses[title].in_words()}", flush=True)
    if options.json:
        record = {
            "machine": where,
            "epochs": options.epochs,
            "searches": {
                title: {
                    "slowdown": course.slowdown, "growth_mb": course.growth_mb, **asdict(course)
                }
                for title, course in courses.items()
            },
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=1), encoding="utf-8")
    if options.plot:
        draw(courses, options.plot)


if __name__ == "__main__":
    main()
