"""Real searches in real processes, killed at a stated point; and what must be true afterwards."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.curves import FoldCurves
from pipeline.optimization import begun, finished, read_study
from pipeline.results import Outcome
from pipeline.study_file import load_study
from tests.tiny_study import client, runs_of

CONTEXT = multiprocessing.get_context("forkserver")
"""Processes start from one that has TensorFlow imported, and has never used it."""
CONTEXT.set_forkserver_preload(["pipeline.search", "tests.kill"])

FIELDS = "dict(test_size=0.2, budget=Budget(n_trials=3))"
"""Of the study that is killed."""

VOLATILE = {
    "command", "seconds", "wall_seconds", "mlflow_run", "mlflow_trials", "mlflow_ui", "run_id",
    "fold_models",
}  # fmt: skip

POINTS = {
    "start": ("pipeline.optimization.storage", "_opened", "after"),
    "ask": ("pipeline.session", "optimization.next_proposal", "after"),
    "run created": ("pipeline.tracking.runs", "StudyRun.start_trial", "after"),
    "epoch": ("pipeline.training.lockstep", "LockstepTraining.advance", "before"),
    "middle of an epoch": ("pipeline.training.resident", "ResidentProgram.run_epoch", "after"),
    "before report": ("pipeline.optimization.trials", "Proposal.report", "before"),
    "report": ("pipeline.optimization.trials", "Proposal.report", "after"),
    "snapshot": ("pipeline.snapshots", "write_whole", "half"),
    "journal line": ("optuna.storages.journal", "JournalFileBackend.append_logs", "torn"),
    "logging": ("pipeline.tracking.writer", "MetricWriter._write", "before"),
    "row losses": ("pipeline.out_of_fold", "write_whole", "half"),
    "before tell": ("pipeline.optimization.trials", "Proposal.tell", "before"),
    "after tell": ("pipeline.optimization.trials", "Proposal.tell", "after"),
    "winner": ("pipeline.winner", "_advance", "before"),
    "winner's curve": ("pipeline.winner", "_save", "before"),
    "decision": ("pipeline.decision", "write_whole", "half"),
    "fold models": ("pipeline.refit", "keep_fold_models", "before"),
    "refit": ("pipeline.refit", "fit", "after"),
    "registration": ("pipeline.tracking", "log_fitted_model", "after"),
    "last words": ("pipeline.tracking.runs", "StudyRun.end", "before"),
}
"""Name → module, function, and when to die: before it, after it, or with half of a file written."""


PAUSING_POINTS = {
    "step": ("pipeline.optimization.climbs", "Climbs.next_step", "after"),
    "begun": ("pipeline.optimization.climbs", "Climbs.proposal", "after"),
    "before pause": ("pipeline.optimization.trials", "Proposal.pause", "before"),
    "after pause": ("pipeline.optimization.trials", "Proposal.pause", "after"),
    "line up": ("pipeline.optimization.climbs", "Climbs.in_line", "after"),
    "end of paused": ("pipeline.optimization.climbs", "Climbs.end", "after"),
}
"""As `POINTS`, of a search whose trials pause."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def search_and_die(study: Path, point: str, call: int) -> None:
    """Search, and kill this process at the `call`-th call (from 1) of a point."""
    keep_every_epoch()
    when = {**POINTS, **PAUSING_POINTS}[point][2]
    wrap(point, lambda function: _dying(function, when, call))
    run(study)


def keep_every_epoch() -> None:
    """Write a snapshot after every epoch."""
    from pipeline.snapshots import Snapshots

    assert Snapshots.__init__.__kwdefaults__ is not None
    Snapshots.__init__.__kwdefaults__["every_secs"] = 0.0


def wrap(point: str, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put what `wrapped` makes of a point's function in its place."""
    module, path, _ = {**POINTS, **PAUSING_POINTS}[point]
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, wrapped(getattr(owner, name)))


def run(study: Path) -> None:
    """Search to the end."""
    from pipeline.search import search

    search(load_study(study))


def _dying(function: Callable[..., Any], when: str, call: int) -> Callable[..., Any]:
    n_calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls < call:
            return function(*args, **kwargs)
        if when == "half":
            path, content = args
            path.with_name(f"{path.name}.tmp").write_bytes(content[: len(content) // 2])
        if when == "torn":
            backend, logs = args
            text = json.dumps(logs[0])
            with Path(backend._file_path).open("ab") as file:
                file.write(text[: len(text) // 2].encode())
        if when == "after":
            function(*args, **kwargs)
        return die()

    return wrapped


def killed(study: Path, point: str, call: int) -> bool:
    """Run a search that is to die at a point; return whether it got there before its end."""
    process = CONTEXT.Process(target=search_and_die, args=(study, point, call))
    process.start()
    process.join(timeout=180)
    assert process.exitcode in (0, -signal.SIGKILL), f"{point}, call {call}: {process.exitcode}"
    return process.exitcode != 0


def finish(study: Path) -> None:
    process = CONTEXT.Process(target=run, args=(study,))
    process.start()
    process.join(timeout=180)
    assert process.exitcode == 0


def curves_in(home: Path) -> dict[int, tuple[dict[str, Any], Outcome, FoldCurves]]:
    """Return each trial's parameters, outcome and curves; every trial has ended, with curves."""
    (journal,) = home.glob("mlruns/studies/tiny-*/journal.log")
    spec = load_study(home / "studies" / "tiny.py")
    study = read_study(journal, journal.parent.name)
    assert not begun(study)
    trials = finished(study, spec)
    assert [trial.number for trial in trials] == list(range(len(study.get_trials())))
    assert all(trial.curves for trial in trials)
    return {t.number: (dict(t.params), t.outcome, t.curves) for t in trials if t.curves}


def answer_and_epochs(home: Path) -> tuple[dict[str, Any], dict[int, int]]:
    """Return the decision, and how many epochs of each trial are in MLflow."""
    _, runs = runs_of(home)
    n_epochs = {int(r.data.tags["trial"]): int(r.data.metrics["trained_epochs"]) for r in runs}
    return answer_in(home), n_epochs


def answer_in(home: Path) -> dict[str, Any]:
    """Return the decision, without what tells one run from another."""
    (path,) = home.glob("mlruns/studies/tiny-*/decision.json")
    values = json.loads(path.read_text())
    values["refit"] = {**values["refit"], "model_uri": ""}
    return {key: value for key, value in values.items() if key not in VOLATILE}


def assert_mlflow_tells_the_truth(home: Path, n_epochs: dict[int, int]) -> None:
    """Every trial has one finished run with every epoch once; nothing is left RUNNING.

    n_epochs: trained, by trial. A run whose process died before Optuna knew of it is KILLED, empty.
    """
    store, (parent, children) = client(home), runs_of(home)
    assert parent.info.status == "FINISHED"
    finished = {int(r.data.tags["trial"]): r for r in children if r.info.status == "FINISHED"}
    killed = [run for run in children if run.info.status != "FINISHED"]
    assert set(finished) == set(n_epochs)
    assert len(finished) + len(killed) == len(children)
    for run in killed:
        assert run.info.status == "KILLED"
        assert "val_loss_mean" not in run.data.metrics
    for number, run in finished.items():
        logged = store.get_metric_history(run.info.run_id, "val_loss_mean")
        assert [metric.step for metric in logged] == list(range(1, n_epochs[number] + 1))
        assert run.data.tags["outcome"]
        assert run.data.metrics["best_val_loss"]


def assert_mlflow_has(
    home: Path, curves: dict[int, tuple[dict[str, Any], Outcome, FoldCurves]]
) -> None:
    """Every trial has one finished run, which has every fold's every epoch once; the best has more.

    A trial of one fold has no mean.
    """
    store, (parent, children) = client(home), runs_of(home)
    assert parent.info.status == "FINISHED"
    assert {run.info.status for run in children} <= {"FINISHED", "KILLED"}
    finished = [run for run in children if run.info.status == "FINISHED"]
    assert sorted(int(run.data.tags["trial"]) for run in finished) == sorted(curves)
    for run in children:
        if run not in finished:
            assert "fold_0/val_loss" not in run.data.metrics
    for run in finished:
        _, outcome, expected = curves[int(run.data.tags["trial"])]
        assert run.data.tags["outcome"] == outcome.label
        for fold, row in zip(expected.folds, expected.values, strict=True):
            logged = store.get_metric_history(run.info.run_id, f"fold_{fold}/val_loss")
            assert [point.step for point in logged] == list(range(1, len(logged) + 1))
            assert [point.value for point in logged[: len(row)]] == row.tolist()
            assert len(logged) == len(row) or outcome.has_value
        means = store.get_metric_history(run.info.run_id, "val_loss_mean")
        assert [point.step for point in means] == list(range(1, len(means) + 1))
        assert bool(means) == (len(expected.folds) > 1)


def search_slowly(study: Path, n_epochs: int, grace_secs: float) -> None:
    """Search with an epoch that never ends after so many of the first trial."""
    import time

    from pipeline.batch import StopRequest
    from pipeline.optimization import Proposal
    from pipeline.training import LockstepTraining

    advance, reported = LockstepTraining.advance, []
    report = Proposal.report

    def watched(*args: Any, **kwargs: Any) -> bool:
        reported.append(args)
        return report(*args, **kwargs)

    def stuck(training: LockstepTraining) -> Any:
        if len(reported) == n_epochs:
            (study.parent / "stuck").touch()
            time.sleep(1000)
        return advance(training)

    setattr(Proposal, "report", watched)  # noqa: B010 - a method is not assigned to
    setattr(LockstepTraining, "advance", stuck)  # noqa: B010
    assert StopRequest.__init__.__defaults__ is not None
    StopRequest.__init__.__defaults__ = (grace_secs,)
    run(study)
