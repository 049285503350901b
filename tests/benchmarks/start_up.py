"""How long does a search take from the command to its first trained epoch?

    python tests/benchmarks/start_up.py
    python tests/benchmarks/start_up.py --checkouts . ../before --rounds 5

The command itself is started on `studies/digits.py`: in a new project (cold: MLflow's database has
to be made), then on another seed in the same project (warm: a new study, the stores are there), and
both with two workers. An epoch has been trained when Optuna's journal has its report; then the
search is stopped. Checkouts take turns, round by round; the medians are printed. What this checkout
spends the time on is told by `start_up_phases.py`, by libraries and functions.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PHASES = Path(__file__).with_name("start_up_phases.py")
REPORT = b'"op_code":7,'
"""Optuna's journal: a trial's intermediate value."""

TIMEOUT_SECS = 180.0
TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Time starts and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkouts", type=Path, nargs="+", default=[ROOT], metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    options = parser.parse_args()
    checkouts = [path.resolve() for path in options.checkouts]
    situations = [(n, stores) for n in options.workers for stores in ("cold", "warm")]
    times: dict[tuple, list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for n_workers in options.workers:
            for checkout in checkouts:
                with project() as home:
                    for seed, stores in enumerate(("cold", "warm")):
                        told = [f"--seed={seed}", f"--workers={n_workers}"]
                        told += [f"--set={change}" for change in options.set]
                        wall_cpu = first_epoch(checkout, home, told)
                        times.setdefault((checkout, n_workers, stores), []).append(wall_cpu)
    print("seconds to the first trained epoch (all rounds), and of all processes' CPUs until then")
    for checkout in checkouts:
        for n_workers, stores in situations:
            walls, cpus = zip(*times[checkout, n_workers, stores], strict=True)
            print(
                f"{checkout.name:<12} {n_workers} worker(s)  {stores}  "
                f"{statistics.median(walls):5.1f} ({', '.join(f'{w:.1f}' for w in walls)})  "
                f"CPU {statistics.median(cpus):5.1f}"
            )
    with project() as home:
        for seed, stores in enumerate(("cold", "warm")):
            print(f"\n{stores}, one process: seconds on the wall, of CPUs; what for", flush=True)
            told = ["digits", "--quiet", f"--seed={seed}", *(f"--set={c}" for c in options.set)]
            started = f"--started={time.monotonic()}"
            subprocess.run(
                [sys.executable, PHASES, started, *told], cwd=home, env=environment(ROOT)
            )


@contextmanager
def project() -> Iterator[Path]:
    """Make a project with the study in it, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        shutil.copy(ROOT / "studies" / "digits.py", studies)
        yield studies.parent


def environment(checkout: Path) -> dict[str, str]:
    """Return this process's, for programs of a checkout, which may keep their bytecode."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(checkout)}


def first_epoch(checkout: Path, home: Path, arguments: list[str]) -> tuple[float, float]:
    """Return seconds from the command to the first report, and of processors until then."""
    before = set(home.glob("mlruns/studies/*/journal.log"))
    command = [sys.executable, "-m", "pipeline.search", "digits", "--quiet", *arguments]
    start = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=home,
        env=environment(checkout),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as search:
        try:
            while not any(
                REPORT in journal.read_bytes()
                for journal in set(home.glob("mlruns/studies/*/journal.log")) - before
            ):
                if search.poll() is not None or time.monotonic() - start > TIMEOUT_SECS:
                    raise SystemExit(f"{' '.join(command)} trained nothing")
                time.sleep(0.02)
            return time.monotonic() - start, cpu_secs(search.pid)
        finally:
            search.terminate()


def cpu_secs(pid: int) -> float:
    """Return what a process and its children have used so far."""
    total = 0
    for each in [pid, *children(pid)]:
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(ticks) for ticks in fields[11:15])  # its own, and of ended children
    return total / TICKS_PER_SEC


def children(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started, and those that these have."""
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in listed.read_text().split():
            yield int(child)
            yield from children(int(child))


if __name__ == "__main__":
    main()
