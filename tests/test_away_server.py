"""A real tracking server that stops in the middle of a search, and is started again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.errors import ExitCode
from tests.server import ENVIRONMENT, Server
from tests.tiny_study import write_study


@pytest.fixture
def server(home):
    server = Server(home)
    server.start()
    yield server
    server.stop()


@pytest.mark.long
def test_the_answer_is_given_without_the_server_and_sent_when_it_is_back(home, server):
    study = write_study(home, fields="dict(test_size=0.2, budget=Budget(n_trials=6))")
    command = [
        sys.executable, "-m", "pipeline.search", str(study), "--json",
        "--tracking-uri", server.url, "--store-patience", "3s",
    ]  # fmt: skip
    running = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    while not running.stderr.readline().startswith("trial   1"):
        assert running.poll() is None
    server.stop()
    out, err = running.communicate(timeout=200)
    told = json.loads(out)
    assert running.returncode == told["exit_code"] == ExitCode.STORE_UNAVAILABLE, err
    assert "refused" in told["error"]
    assert "unsent.jsonl" in told["unsent"]
    decision = told["decision"]
    assert sum(decision["trials"].values()) == 6
    assert Path(decision["refit"]["model_uri"], "MLmodel").exists()
    assert "Traceback" not in err
    (unsent,) = home.glob("mlruns/studies/*/unsent.jsonl")

    server.start()
    again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=200)
    told = json.loads(again.stdout)
    assert told["outcome"] in ("success", "undetermined"), again.stderr
    assert told["decision"]["n_epochs"] == decision["n_epochs"]
    assert not unsent.exists()
    client = MlflowClient(server.url)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(run.info.run_name for run in trials) == [f"trial {n:03d}" for n in range(6)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in trials:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "val_loss_mean")]
        assert steps == list(range(1, len(steps) + 1))
    assert len(client.search_logged_models([experiment.experiment_id])) == 1
