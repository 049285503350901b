"""Real commands on nodes that share no folder, each in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

from pipeline.errors import ExitCode
from pipeline.optimization import begun, read_study
from pipeline.search import search
from pipeline.study_file import load_study
from tests.postgres import PASSWORD
from tests.server import ENVIRONMENT
from tests.test_workers import N_TRIALS, study_in

PATIENCE_SECS = 2.0


def folder_of(home: Path, name: str) -> Path:
    """Return a folder of a node's own."""
    folder = home / name
    folder.mkdir()
    return folder


def start(study, storage, *arguments, tracking=None, code=""):
    """Start the command on a node that gives up after `PATIENCE_SECS`.

    code: that does so instead of the module
    """
    command = ["-c", code] if code else ["-m", "pipeline.search"]
    uri = [] if tracking is None else ["--tracking-uri", tracking]
    return subprocess.Popen(
        [
            sys.executable, *command, str(study), "--json",
            "--store-patience", f"{PATIENCE_SECS}s", *uri, *arguments,
        ],
        env={**ENVIRONMENT, "OPTUNA_STORAGE": storage}, text=True, cwd=study.parents[1],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process):
    out, said = process.communicate(timeout=400)
    assert "Traceback" not in said, said
    assert PASSWORD not in said + out
    return json.loads(out), said


def decided(told):
    """Return what must not depend on the nodes."""
    decision = told["decision"]
    return [decision[key] for key in ("trials", "learning_rate", "n_epochs", "score", "trial")]


def searched_alone(home):
    """Return the decision of a search in a journal, its trials' curves, and its signature."""
    result = search(load_study(study_in(home)))
    decision = json.loads(result.decision_path.read_text())
    trials = {t.number: t.curves.values.tolist() for t in result.trials}
    return decided({"decision": decision}), trials, result.signature


def assert_as_alone(told, alone, storage):
    decision, curves, signature = alone
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), told["error"]
    assert decided(told) == decision
    study = read_study(storage, f"tiny-{signature}")
    assert [trial.number for trial in study.trials] == list(range(N_TRIALS))
    stored = {t.number: t.user_attrs["result"]["curves"] for t in study.trials}
    assert stored == curves


def begun_in(database, signature):
    """Return the trials that are trained at once."""
    with contextlib.suppress(Exception):  # it is being made
        return begun(read_study(database, f"tiny-{signature}"))
    return []
