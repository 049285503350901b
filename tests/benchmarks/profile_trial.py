"""Where does a trial's time go?

    python tests/benchmarks/profile_trial.py
    python tests/benchmarks/profile_trial.py --json now.json --before before.json
    python tests/benchmarks/profile_trial.py --after 280 --before early.json   # what grows?

Searches with a study of `speed_studies/` and times the parts of the program that a trial passes
through, each without the parts that it calls. "Other" is what no part accounts for. What runs
beside the search's own thread is listed below its time: the lanes, in which folds train (several at
once, so they may add up to more than all), the thread that opens runs, and the writer. The first
trial is left out, since it compiles, or as many as `--after` says. The watching itself costs about
a microsecond a call.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import get_args

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.budget import Budget
from pipeline.spec import EngineMode
from tests.benchmarks.speed import machine
from tests.benchmarks.speed_program import own_study
from tests.benchmarks.speed_turns import study_of
from tests.benchmarks.speed_ways import MODELS
from tests.benchmarks.trial_parts import Functions, Parts

OTHER, IN_ALL = "other", "in all"
BESIDE = "beside: "
WRITER = f"{BESIDE}writer, processor time"


def beside() -> Functions:
    """Return what other threads do meanwhile: a fold's epoch by parts, and a run's beginning."""
    from tensorflow.python.eager.context import Context

    from pipeline.tracking import StudyRun
    from pipeline.training.compiled_epoch import CompiledEpoch
    from pipeline.training.resident import ResidentProgram

    return {
        f"{BESIDE}lanes, the compiled call": [(Context, "call_function")],
        f"{BESIDE}lanes, its arguments in and out": [(CompiledEpoch, "__call__")],
        f"{BESIDE}lanes, batches and scores": [(ResidentProgram, "run_epoch")],
        f"{BESIDE}runs begun": [(StudyRun, "start_trial")],
    }


def functions() -> Functions:
    """Return the parts of a trial in the search's own thread, and their functions."""
    from pipeline import asking, out_of_fold
    from pipeline.optimization import Finished, Proposal
    from pipeline.session import Session
    from pipeline.snapshots import Snapshots
    from pipeline.tracking import TrialRun
    from pipeline.training import LockstepTraining, lockstep
    from pipeline.trial_log import TrialLog
    from pipeline.unwritten import Unwritten

    return {
        "lockstep: waiting for the lanes": [(lockstep, "results")],
        "lockstep: row orders, learning rates": [(LockstepTraining, "advance")],
        "a trial's beginning: program, states": [(Session, "lockstep")],
        "curves": [(Session, "curves_of"), (LockstepTraining, "history")],
        "row losses, kept": [(LockstepTraining, "row_losses"), (out_of_fold, "keep")],
        "Optuna: reports and pruning": [(Proposal, "report")],
        "Optuna: ask, tell, notes": [
            (asking, "next_proposal"),
            (Proposal, "tell"),
            (Proposal, "write_note"),
            (Finished, "all"),
        ],
        "logging: epochs handed over": [(Session, "log_epochs")],
        "logging: waiting for a run to begin": [(TrialLog, "opened")],
        "logging: runs ended": [(TrialRun, "end"), (Unwritten, "keep")],
        "snapshots": [
            (LockstepTraining, "snapshot"),
            (Snapshots, "keep"),
            (Snapshots, "restore"),
            (Snapshots, "trained"),
            (Snapshots, "drop"),
        ],
    }


def profile(
    model: str, engine: EngineMode, n_trials: int, *, after: int = 1, n_epochs: int | None = None
) -> dict[str, float]:
    """Return the mean seconds of a trial by part.

    n_trials: of which the mean is taken; after: so many others
    n_epochs: of a trial; None is the study's
    """
    from pipeline.progress import Display
    from pipeline.results import TrialResult
    from pipeline.search import search
    from pipeline.study_file import load_study
    from pipeline.tracking import MetricWriter

    watched = {**functions(), **beside()}
    parts, writer = Parts(), Parts(time.thread_time)
    marks: list[Counter[str]] = []

    class Note(Display):
        def trial_ended(self, result: TrialResult) -> None:
            marks.append(Counter({IN_ALL: time.perf_counter(), **parts.seconds, **writer.seconds}))

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        spec = load_study(own_study(model, Path(folder)))
        space = {**spec.space, "max_epochs": n_epochs or spec.space["max_epochs"]}
        budget = Budget(n_trials=after + n_trials)
        spec = replace(spec, engine=engine, space=space, budget=budget)
        stack.enter_context(parts.watching(watched))
        stack.enter_context(writer.watching({WRITER: [(MetricWriter, "_write")]}))
        search(spec, display=Note())
    first, last = marks[after - 1], marks[-1]
    return by_part({key: (last[key] - first[key]) / n_trials for key in last}, list(watched))


def by_part(seconds: Mapping[str, float], parts: Sequence[str]) -> dict[str, float]:
    """Return the seconds by part, of what no part accounts for, and in all; then what is beside."""
    of_parts = {part: seconds.get(part, 0.0) for part in [*parts, WRITER]}
    beside = {part: secs for part, secs in of_parts.items() if part.startswith(BESIDE)}
    own = {part: secs for part, secs in of_parts.items() if part not in beside}
    in_all = seconds[IN_ALL]
    return {**own, OTHER: in_all - sum(own.values()), IN_ALL: in_all, **beside}


def table(now: Mapping[str, float], before: Mapping[str, float] | None) -> str:
    """Return milliseconds and share of a trial by part, beside those of an earlier profile."""
    lines = [f"{'part':<50}{'ms':>9}{'share':>9}"]
    if before is not None:
        lines[0] += f"{'before, ms':>13}{'share':>9}"
    for part in dict.fromkeys([*now, *(before or {})]):
        lines.append(f"{part:<50}{of_trial(now, part)}")
        if before is not None:
            lines[-1] += f"    {of_trial(before, part)}"
    return "\n".join(lines)


def of_trial(seconds: Mapping[str, float], part: str) -> str:
    """Return a part's milliseconds and share; blank for one that is not there."""
    if part not in seconds:
        return f"{'':>18}"
    return f"{1e3 * seconds[part]:>9.1f}{100 * seconds[part] / seconds[IN_ALL]:>7.1f} %"


def main() -> None:
    """Profile, print the table, write it if that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--engine", choices=get_args(EngineMode), help="default: the study's")
    parser.add_argument("--trials", type=int, default=20, help="of which the mean is taken")
    parser.add_argument("--after", type=int, default=1, metavar="N", help="N trials before those")
    parser.add_argument("--epochs", type=int, help="of a trial (default: the study's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the seconds there")
    parser.add_argument("--before", type=Path, metavar="FILE", help="such a file, to compare with")
    options = parser.parse_args()
    if min(options.trials, options.after, options.epochs or 1) < 1:
        parser.error("--trials, --after and --epochs must be ≥ 1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    engine = options.engine or study_of(options.model).engine
    before = options.before and json.loads(options.before.read_text(encoding="utf-8"))
    where = machine()
    seconds = profile(
        options.model, engine, options.trials, after=options.after, n_epochs=options.epochs
    )
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    of_which = f"mean of {options.trials} after {options.after}"
    print(f"\na trial of {options.model}.py, engine {engine}, {of_which}:\n")
    print(table(seconds, before and before["seconds"]))
    if options.json:
        record = {
            "machine": where, "model": options.model, "engine": engine,
            "trials": options.trials, "after": options.after, "epochs": options.epochs,
            "seconds": seconds,
        }  # fmt: skip
        options.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
