"""How fast is a search? Side by side with what most people write, other tools, and the limit.

    python tests/benchmarks/speed.py
    python tests/benchmarks/speed.py --recipe-trials 3 --trials 300 --json speed.json
    python tests/benchmarks/speed.py --model cnn
    python tests/benchmarks/speed.py --model wide                 # against `fit`, on large layers
    python tests/benchmarks/speed.py --ways xla unlogged --trials 40     # what logging costs
    python tests/benchmarks/speed.py --ways recipe xla in-turn           # what lanes are worth

The models are the studies in `speed_studies/`: a small dense network, two small convolutions, and a
wide dense network; 5 folds each, nothing pruned. `speed_ways.py` lists the ways. Those of other
tools need `pip install -e '.[bench]'`; a way that cannot be run here is skipped, with the reason.

Each way has a process of its own. They take turns of a few seconds, and whoever has no turn is
stopped (SIGSTOP; Linux only), with its threads and its workers, so that all ways meet the same
machine and have all of it. Start-up is everything up to the end of a way's first piece of work,
less a usual piece: imports, data, stores, compiling. Ending is what comes after its last piece:
what is left to write, the choice, the fold models. Outside is the share of the time that is not
spent training epochs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.machine import n_cores
from pipeline.space import middle
from tests.benchmarks import speed_table, speed_ways
from tests.benchmarks.speed_turns import Job, Runner, Timed, Work, study_of
from tests.benchmarks.speed_ways import MODELS, WAYS

LIBRARIES = ("tensorflow", "keras", "optuna", "mlflow", "scikit-learn", "numpy")
PEERS = tuple(way.extra for way in WAYS.values() if way.extra)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    names: of ways
    recipe_trials: of each way that trains a fresh model a fold; its first fold counts as start-up
    n_trials: timed trials of every other way, after a first one
    """

    model: str
    names: Sequence[str]
    recipe_trials: int
    n_trials: int
    n_workers: int


def measure(plan: Plan) -> tuple[dict[str, Timed], dict[str, str]]:
    """Run the ways in turns. Returns what they did, and why others were skipped."""
    work = Work.of(study_of(plan.model))
    counts = (plan.recipe_trials, plan.n_trials)
    n_pieces = {name: WAYS[name].n_pieces(work, *counts) for name in plan.names}
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, runners() as all_:
        learning_rate = middle(study_of(plan.model).space["learning_rate"])
        for name in sorted(plan.names, key=lambda name: not WAYS[name].samples):
            all_[name] = Runner(speed_ways.run, name, job_of(name, plan, folder, learning_rate))
            if all_[name].skipped:
                skipped[name] = all_.pop(name).skipped
                del n_pieces[name]
            elif WAYS[name].samples:
                # The first trial's: the others train theirs at the same one.
                learning_rate = all_[name].timed.first.learning_rate
        n_rounds = min(n_pieces.values(), default=0)
        turns = {name: lengths(n, n_rounds) for name, n in n_pieces.items()}
        for i in range(n_rounds):
            for name, runner in all_.items():
                runner.train(turns[name][i])
        for runner in all_.values():
            runner.end()
        return {name: all_[name].timed for name in WAYS if name in all_}, skipped


def lengths(n: int, n_parts: int) -> list[int]:
    """Return the lengths of parts that are as equal as can be."""
    return [len(part) for part in np.array_split(np.arange(n), n_parts)]


def job_of(name: str, plan: Plan, folder: str, learning_rate: float) -> Job:
    """Return what a way has to do, in a new folder of its own."""
    own = Path(folder, name)
    own.mkdir()
    n_trials = plan.recipe_trials if WAYS[name].piece == "fold" else plan.n_trials + 1
    if name == "workers":
        # Their first piece is more than a trial, and so is what is left when one runs out of them.
        n_trials += 2 * plan.n_workers
    return Job(plan.model, own, n_trials, learning_rate, plan.n_workers)


@contextmanager
def runners() -> Iterator[dict[str, Runner]]:
    """Give a dict for runners, none of which outlives the block."""
    all_: dict[str, Runner] = {}
    try:
        yield all_
    finally:
        for runner in all_.values():
            runner.kill()


def machine() -> dict[str, Any]:
    """Name the processor, its cores, and the libraries' versions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return {
        "cpu": cpu,
        "cores": n_cores(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        **dict(versions_of(PEERS)),
    }


def versions_of(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the versions of those that are installed."""
    for name in names:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def planned() -> tuple[Plan, Path | None]:
    """Return what the command line asks for, and the file for its timings."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--ways", nargs="+", choices=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument(
        "--recipe-trials", type=int, default=1, help="of ways that train a fresh model a fold"
    )
    parser.add_argument("--trials", type=int, help="timed trials of the other ways")
    parser.add_argument("--workers", type=int, default=max(2, n_cores()), help="of that way")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every timing there")
    options = parser.parse_args()
    model = MODELS[options.model]
    n_trials = model.n_trials if options.trials is None else options.trials
    if min(options.recipe_trials, n_trials) < 1:
        parser.error("--recipe-trials and --trials must be ≥ 1")
    if options.workers < 2:
        parser.error("--workers must be ≥ 2")
    names = options.ways or model.ways
    if "limit" in names and options.model != "mlp":
        parser.error("the limit is written for --model mlp")
    plan = Plan(options.model, names, options.recipe_trials, n_trials, options.workers)
    return plan, options.json


def main() -> int:
    """Measure, print the table, check that the work was the same."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    plan, file = planned()
    where = machine()
    ways, skipped = measure(plan)
    if not ways:
        print("\n".join(f"{name} skipped: {reason}" for name, reason in skipped.items()))
        return 1
    study = study_of(plan.model)
    work = Work.of(study)
    logging_adds = speed_table.cost_of_logging(ways, study.engine)
    problems = speed_table.disagreements(ways, work)
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    print(f"\n{speed_table.table(ways, skipped, plan.n_workers)}\n")
    print(speed_table.account(ways, work))
    print(speed_table.in_words(logging_adds), end="")
    print("\n".join(problems) if problems else "all ways did the same work")
    if file:
        record = {
            "machine": where,
            "plan": asdict(plan),
            "engine": study.engine,
            "ways": {name: speed_table.record(way) for name, way in ways.items()},
            "skipped": skipped,
            "logging_adds": logging_adds,
            "disagreements": problems,
        }
        file.write_text(json.dumps(record, indent=1), encoding="utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
