"""What does it take to log 10,000 epochs of 20 metrics?

    python tests/benchmarks/logging_cost.py

Trials of made-up metrics go through this program's writer into a new SQLite store as fast as they
are handed over: nothing is trained. `caller` is what of that the search's own thread spends,
`processor` what all threads do. The last figure is what is in the store at the end.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline import tracking
from pipeline.objective import Objective
from pipeline.results import Outcome, TrialResult
from pipeline.tracking.store import Store

PARAMS = {"learning_rate": 1e-3, "max_epochs": 100}


@dataclass(frozen=True)
class Cost:
    """Seconds from the first trial's beginning until all is in the store.

    caller_secs: of the thread that hands over; processor_secs: of all threads together
    n_stored: values of metrics in the store
    """

    secs: float
    caller_secs: float
    processor_secs: float
    n_stored: int

    def in_words(self) -> str:
        """Return it as a line."""
        return (
            f"{self.secs:.1f} s (caller {self.caller_secs:.1f} s, processor "
            f"{self.processor_secs:.1f} s), {self.n_stored} values stored"
        )


def logged(store: Store, epochs: Sequence[dict[str, float]], n_trials: int) -> float:
    """Log as a search does; return the seconds of the calling thread, when all is stored."""
    caller_secs = 0.0
    with tracking.MetricWriter(store.client) as writer:
        study = tracking.StudyRun.open(
            store, writer, experiment="cost", signature="0a1b2c3d4e5f", tags={}, params={}
        )
        for number in range(n_trials):
            start = time.perf_counter()
            trial = study.start_trial(number, PARAMS)
            for n_epochs, metrics in enumerate(epochs, start=1):
                trial.log_epoch(n_epochs, metrics)
            trial.end(TrialResult(number, PARAMS, Outcome.FAILED, None, 0.0, 0), Objective())
            caller_secs += time.perf_counter() - start
        study.end("FINISHED")
    return caller_secs


def cost_of(n_trials: int, n_epochs: int, n_metrics: int) -> Cost:
    """Log so many epochs a trial in a new store; return what it took."""
    random = np.random.default_rng(0)
    keys = [f"fold_{i // 4}/metric_{i % 4}" for i in range(n_metrics)]
    epochs = [dict(zip(keys, row, strict=True)) for row in random.random((n_epochs, n_metrics))]
    with tempfile.TemporaryDirectory() as folder:
        store = tracking.open_store(None, Path(folder))
        start, processor = time.perf_counter(), time.process_time()
        caller_secs = logged(store, epochs, n_trials)
        secs, processor_secs = time.perf_counter() - start, time.process_time() - processor
        return Cost(secs, caller_secs, processor_secs, n_stored(store))


def n_stored(store: Store) -> int:
    """Return how many values of the epochs' metrics are in the store."""
    with closing(sqlite3.connect(store.uri.removeprefix("sqlite:///"))) as database:
        query = "SELECT count(*) FROM metrics WHERE key LIKE 'fold_%/metric_%'"
        return int(database.execute(query).fetchone()[0])


def main() -> int:
    """Measure, print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100, help="of a trial")
    parser.add_argument("--metrics", type=int, default=20, help="of an epoch")
    options = parser.parse_args()
    size = (options.trials, options.epochs, options.metrics)
    if min(size) < 1:
        parser.error("--trials, --epochs and --metrics must be ≥ 1")
    cost = cost_of(*size)
    print(f"{options.trials} trials of {options.epochs} epochs of {options.metrics} metrics:")
    print(cost.in_words())
    return int(cost.n_stored != np.prod(size))


if __name__ == "__main__":
    raise SystemExit(main())
