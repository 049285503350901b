"""How fast is a search with one worker? Side by side with what most people write, and the limit.

    python tests/benchmarks/speed.py
    python tests/benchmarks/speed.py --recipe-trials 2 --trials 40 --json speed.json

The study is `speed_study.py`: a small dense network on scikit-learn's digits, 5 folds, 20 epochs a
trial. The ways are in `speed_ways.py`: the recipe (fresh models, `fit`, one `log_metrics` an
epoch), this program with and without XLA, and the hand-written limit that logs nothing.

Each way has a process of its own. They take turns of a few seconds, and whoever has no turn is
stopped (SIGSTOP; POSIX only), background threads included, so that all ways meet the same machine.
Start-up is everything up to the end of a way's first piece of work, less a usual piece: imports,
data, stores, compiling. Ending is what comes after its last piece: what is left to write, the
choice, the fold models.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks import speed_ways
from tests.benchmarks.speed_study import BATCH_SIZE, N_EPOCHS, N_FOLDS
from tests.benchmarks.speed_ways import Piece

LABELS = {
    "recipe": "the plain recipe",
    "plain": "this program, plain",
    "xla": "this program, XLA",
    "limit": "hand-written limit",
}

TOLERANCE = 0.25
"""Of the mean validation loss, relative: the ways begin at other weights and shuffle otherwise."""

N_ROWS = 1797
UPDATES_PER_TRIAL = N_EPOCHS * N_FOLDS * -(-(N_ROWS * (N_FOLDS - 1) // N_FOLDS) // BATCH_SIZE)
LIBRARIES = ("tensorflow", "keras", "optuna", "mlflow", "scikit-learn", "numpy")


@dataclass
class Timed:
    """What one way did: its first piece, in which it started up, and the others."""

    first: Piece
    others: list[Piece] = field(default_factory=list)
    ending_secs: float = 0.0
    n_logged: int = 0

    @property
    def secs(self) -> list[float]:
        """Seconds per fold-epoch of each piece after the first."""
        return [piece.seconds / piece.n_fold_epochs for piece in self.others]

    @property
    def start_up_secs(self) -> float:
        """What the first piece took longer than a usual one."""
        return self.first.seconds - statistics.median(self.secs) * self.first.n_fold_epochs

    def first_trial(self) -> list[Piece]:
        """Return the pieces of the first trial: one, or one a fold."""
        pieces = [self.first, *self.others]
        return pieces[: N_FOLDS * N_EPOCHS // self.first.n_fold_epochs]


class Worker:
    """A way's process, stopped whenever it is not its turn."""

    def __init__(self, name: str, folder: Path, n_trials: int, learning_rate: float) -> None:
        folder.mkdir()
        self._connection, other = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=speed_ways.run,
            args=(name, other, time.time(), folder, n_trials, learning_rate),
            daemon=True,
        )
        self._process.start()
        other.close()
        self.timed = Timed(self._connection.recv())
        self._stop()

    def train(self, n_pieces: int) -> None:
        """Give it a turn of so many pieces."""
        if n_pieces == 0:
            return
        self._go_on()
        for _ in range(n_pieces):
            self._connection.send("go on")
            self.timed.others.append(self._connection.recv())
        self._stop()

    def end(self) -> None:
        """Let it end after its last piece."""
        self._go_on()
        self._connection.send("end")
        self.timed.ending_secs, self.timed.n_logged = self._connection.recv()
        self._process.join()

    def kill(self) -> None:
        """End it at once, in whatever state it is."""
        self._process.kill()

    def _stop(self) -> None:
        os.kill(self._process.pid or 0, signal.SIGSTOP)

    def _go_on(self) -> None:
        os.kill(self._process.pid or 0, signal.SIGCONT)


def measure(recipe_trials: int, n_trials: int) -> dict[str, Timed]:
    """Run all ways in turns.

    recipe_trials: of the recipe, its first fold counted as start-up
    n_trials: timed trials of every other way, after a first one
    """
    n_rounds = recipe_trials * N_FOLDS - 1
    blocks = [len(block) for block in np.array_split(np.arange(n_trials), n_rounds)]
    with tempfile.TemporaryDirectory() as folder, workers() as all_:
        learning_rate = 0.0
        for name in ("xla", "plain", "recipe", "limit"):
            n = recipe_trials if name == "recipe" else n_trials + 1
            all_[name] = Worker(name, Path(folder, name), n, learning_rate)
            if name == "xla":
                learning_rate = all_[name].timed.first.learning_rate
        for block in blocks:
            for name, worker in all_.items():
                worker.train(1 if name == "recipe" else block)
        for worker in all_.values():
            worker.end()
        return {name: all_[name].timed for name in LABELS}


@contextmanager
def workers() -> Iterator[dict[str, Worker]]:
    """Give a dict for workers, none of which outlives the block."""
    all_: dict[str, Worker] = {}
    try:
        yield all_
    finally:
        for worker in all_.values():
            worker.kill()


def table(ways: dict[str, Timed]) -> str:
    """Return the rates, one line a way."""
    recipe = statistics.median(ways["recipe"].secs)
    header = ("way", "fold-epochs/s", "ratio", "ms median", "ms min", "start-up s", "ending s")
    rows = [header]
    for name, way in ways.items():
        median, least = statistics.median(way.secs), min(way.secs)
        rows.append((
            LABELS[name], f"{1 / median:.1f}", f"{recipe / median:.1f}", f"{1e3 * median:.2f}",
            f"{1e3 * least:.2f}", f"{way.start_up_secs:.1f}", f"{way.ending_secs:.1f}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def disagreements(ways: dict[str, Timed]) -> list[str]:
    """Return how a way did less than the others, or something else; nothing when all agree."""
    found = []
    reference = mean_loss(ways["recipe"])
    for name, way in ways.items():
        pieces = [way.first, *way.others]
        n_fold_epochs = sum(piece.n_fold_epochs for piece in pieces)
        expected = n_fold_epochs * UPDATES_PER_TRIAL // (N_FOLDS * N_EPOCHS)
        updates = sum(piece.n_updates for piece in pieces)
        if updates != expected:
            found.append(f"{LABELS[name]}: {updates} updates, expected {expected}")
        if abs(mean_loss(way) / reference - 1) > TOLERANCE:
            found.append(
                f"{LABELS[name]}: validation loss {mean_loss(way):.4f}, the recipe's is "
                f"{reference:.4f}"
            )
        if way.n_logged != n_fold_epochs and name != "limit":
            found.append(f"{LABELS[name]}: {way.n_logged} of {n_fold_epochs} fold-epochs logged")
    return found


def mean_loss(way: Timed) -> float:
    """Return the mean validation loss over folds at the end of the first trial."""
    return statistics.mean(piece.validation_loss for piece in way.first_trial())


def work(ways: dict[str, Timed]) -> str:
    """Return what every way did in its first trial, which all train at one learning rate."""
    lines = [f"one trial at learning rate {ways['recipe'].first.learning_rate:.3g}:"]
    for name, way in ways.items():
        updates = sum(piece.n_updates for piece in way.first_trial())
        lines.append(
            f"  {LABELS[name]}: {updates} updates, mean validation loss after {N_EPOCHS} epochs "
            f"{mean_loss(way):.4f}, {way.n_logged} fold-epochs in MLflow at the end"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Name the processor, its cores, and the libraries' versions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def main() -> int:
    """Measure, print the table, check that the work was the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe-trials", type=int, default=1, help="of the plain recipe")
    parser.add_argument("--trials", type=int, default=20, help="timed trials of the other ways")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every timing there")
    options = parser.parse_args()
    if min(options.recipe_trials, options.trials) < 1:
        parser.error("--recipe-trials and --trials must be ≥ 1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    where = machine()
    ways = measure(options.recipe_trials, options.trials)
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    print(f"\n{table(ways)}\n\n{work(ways)}")
    problems = disagreements(ways)
    print("\n".join(problems) if problems else "all ways did the same work")
    if options.json:
        record = {
            "machine": where,
            "ways": {
                name: {
                    "fold_epochs_per_second": 1 / statistics.median(way.secs),
                    "start_up_secs": way.start_up_secs,
                    **asdict(way),
                }
                for name, way in ways.items()
            },
            "disagreements": problems,
        }
        options.json.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
