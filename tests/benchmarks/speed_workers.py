"""How much faster are several workers than one?

    python tests/benchmarks/speed_workers.py
    python tests/benchmarks/speed_workers.py --workers 1 2 --trials 60 --rounds 3

Each search is the command itself, in a project of its own, on the study of `speed_study.py`; the
numbers of workers take turns, round by round. The steady rate is what was trained from when every
worker had ended its first trial (it compiles in that) until the last trial began, by the times that
Optuna notes. What the whole command took has start-up and answer in it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.optimization import read_study
from tests.benchmarks.speed_study import N_EPOCHS, N_FOLDS

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Time the searches and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=["engine='xla'"], metavar="FIELD=VALUE")
    options = parser.parse_args()
    rates: dict[int, list[float]] = {n: [] for n in options.workers}
    seconds: dict[int, list[float]] = {n: [] for n in options.workers}
    for _ in range(options.rounds):
        for n_workers in options.workers:
            rate, secs = timed(n_workers, options.trials, options.set)
            rates[n_workers].append(rate)
            seconds[n_workers].append(secs)
            print(f"{n_workers} worker(s): {rate:.1f} fold-epochs/s, {secs:.1f} s in all")
    one = options.workers[0]
    print(f"\nworkers  fold-epochs/s  ratio (each round)  whole command, ratio   {options.set}")
    for n_workers in options.workers:
        ratios = [b / a for a, b in zip(rates[one], rates[n_workers], strict=True)]
        whole = [a / b for a, b in zip(seconds[one], seconds[n_workers], strict=True)]
        print(
            f"{n_workers:>7}  {statistics.median(rates[n_workers]):>13.1f}  "
            f"{statistics.median(ratios):.2f} ({', '.join(f'{r:.2f}' for r in ratios)})  "
            f"{statistics.median(whole):.2f}"
        )


def timed(n_workers: int, n_trials: int, changes: list[str]) -> tuple[float, float]:
    """Return the steady fold-epochs a second of one search, and the seconds of its command."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "studies" / "digits.py"
        study.parent.mkdir()
        shutil.copy(ROOT / "tests" / "benchmarks" / "speed_study.py", study)
        start = time.monotonic()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pipeline.search", str(study), "--quiet"),
                *(f"--workers={n_workers}", f"--trials={n_trials}"),
                *(f"--set={change}" for change in changes),
            ],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        secs = time.monotonic() - start
        if done.returncode not in (0, 4):  # 4: more epochs may be better, which is true of these
            raise SystemExit(done.stderr)
        return steady_rate(Path(folder), n_workers), secs


def steady_rate(home: Path, n_workers: int) -> float:
    """Return fold-epochs a second while all workers were at trials that need no compiling."""
    (journal,) = home.glob("mlruns/studies/*/journal.log")
    trials = read_study(journal, journal.parent.name).trials
    spans = [
        (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
        for trial in trials
        if trial.datetime_start and trial.datetime_complete
    ]
    begin = max(end for _, end in spans[:n_workers])  # the first trials, one of each worker
    last = max(start for start, _ in spans)
    share = sum(
        max(0.0, min(end, last) - max(start, begin)) / (end - start) for start, end in spans
    )
    return share * N_FOLDS * N_EPOCHS / (last - begin)


if __name__ == "__main__":
    main()
