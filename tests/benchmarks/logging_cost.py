"""What does it take to log 10,000 epochs of 20 metrics?

    python tests/benchmarks/logging_cost.py
    python tests/benchmarks/logging_cost.py --way log_batch
    python tests/benchmarks/logging_cost.py --way each-epoch --trials 10
    python tests/benchmarks/logging_cost.py --tracking-uri http://127.0.0.1:5000 --trials 10
    python tests/benchmarks/logging_cost.py --table

Trials of made-up metrics go into a new SQLite store, or with `--tracking-uri` into a new experiment
of a server, as fast as they are handed over: nothing is trained. `program` is this program's
writer. `log_batch` is the same with all of them given to MLflow's `log_batch`, as where the store
is no SQLite file. `each-epoch` is a call of it after every epoch, while the search waits. `caller`
is what of that the search's own thread spends, `processor` what all threads of this process do. The
last figure is what is in the store at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from uuid import uuid4

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline import tracking
from pipeline.objective import Objective
from pipeline.results import Outcome, TrialResult
from pipeline.tracking import together
from pipeline.tracking.store import Store

WAYS = ("program", "log_batch", "each-epoch")
SIZES: list[tuple[str, int, int, int]] = [
    ("program", 100, 100, 5),
    ("program", 100, 100, 20),
    ("program", 100, 100, 60),
    ("program", 10, 1000, 20),
    ("program", 500, 20, 20),
    ("log_batch", 100, 100, 20),
    ("each-epoch", 10, 100, 20),
]
"""Of the table: the way, trials, epochs of a trial, metrics of an epoch."""

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


def logged(
    store: Store, experiment: str, epochs: Sequence[dict[str, float]], n_trials: int
) -> float:
    """Log as a search does; return the seconds of the calling thread, when all is stored."""
    caller_secs = 0.0
    with tracking.MetricWriter(store.client) as writer:
        study = tracking.StudyRun.open(
            store, writer, experiment=experiment, signature="0a1b2c3d4e5f", tags={}, params={}
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


def logged_after_each(
    store: Store, experiment: str, epochs: Sequence[dict[str, float]], n_trials: int
) -> float:
    """Log as most people do, one call an epoch; return the seconds, all of the calling thread."""
    from mlflow.entities import Metric

    experiment_id, start = store.client.create_experiment(experiment), time.perf_counter()
    for _ in range(n_trials):
        run_id = store.client.create_run(experiment_id).info.run_id
        for n_epochs, metrics in enumerate(epochs, start=1):
            now_ms = int(1000 * time.time())
            points = [Metric(key, value, now_ms, n_epochs) for key, value in metrics.items()]
            store.client.log_batch(run_id, metrics=points)
        store.client.set_terminated(run_id)
    return time.perf_counter() - start


def cost_of(
    n_trials: int,
    n_epochs: int,
    n_metrics: int,
    way: str = "program",
    tracking_uri: str | None = None,
) -> Cost:
    """Log so many epochs a trial; return what it took.

    way: one of WAYS
    tracking_uri: of a server; None is a new SQLite file
    """
    experiment = f"cost {uuid4().hex}"
    random = np.random.default_rng(0)
    keys = [f"fold_{i // 4}/metric_{i % 4}" for i in range(n_metrics)]
    epochs = [dict(zip(keys, row, strict=True)) for row in random.random((n_epochs, n_metrics))]
    with tempfile.TemporaryDirectory() as folder:
        store = tracking.open_store(tracking_uri, Path(folder))
        start, processor = time.perf_counter(), time.process_time()
        if way == "each-epoch":
            caller_secs = logged_after_each(store, experiment, epochs, n_trials)
        elif way == "log_batch":
            with mock.patch.object(together, "_database_of", return_value=None):
                caller_secs = logged(store, experiment, epochs, n_trials)
        else:
            caller_secs = logged(store, experiment, epochs, n_trials)
        secs, processor_secs = time.perf_counter() - start, time.process_time() - processor
        return Cost(secs, caller_secs, processor_secs, n_stored(store, experiment))


def n_stored(store: Store, experiment: str) -> int:
    """Return how many values of the epochs' metrics are in the store."""
    client = store.client
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return sum(
        len(client.get_metric_history(run.info.run_id, key))
        for run in client.search_runs([found.experiment_id])
        for key in run.data.metrics
        if "/metric_" in key
    )


def main() -> int:
    """Measure, print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100, help="of a trial")
    parser.add_argument("--metrics", type=int, default=20, help="of an epoch")
    parser.add_argument("--tracking-uri", metavar="URI", help="of a server that runs")
    parser.add_argument("--way", choices=WAYS, default=WAYS[0])
    parser.add_argument("--table", action="store_true", help="all of the sizes and ways of SIZES")
    options = parser.parse_args()
    if options.table:
        print("way         trials  epochs  metrics   values   seconds  caller  processor")
        for way, n_trials, n_epochs, n_metrics in SIZES:
            each = cost_of(n_trials, n_epochs, n_metrics, way)
            assert each.n_stored == n_trials * n_epochs * n_metrics, each
            print(
                f"{way:<10}  {n_trials:>6}  {n_epochs:>6}  {n_metrics:>7}  {each.n_stored:>7,}  "
                f"{each.secs:>8.1f}  {each.caller_secs:>6.1f}  {each.processor_secs:>9.1f}"
            )
        return 0
    size = (options.trials, options.epochs, options.metrics)
    if min(size) < 1:
        parser.error("--trials, --epochs and --metrics must be ≥ 1")
    cost = cost_of(*size, way=options.way, tracking_uri=options.tracking_uri)
    print(f"{options.trials} trials of {options.epochs} epochs of {options.metrics} metrics:")
    print(cost.in_words())
    return int(cost.n_stored != np.prod(size))


if __name__ == "__main__":
    raise SystemExit(main())
