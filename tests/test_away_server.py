"""A real tracking server that stops in the middle of a search, and is started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.errors import ExitCode
from tests.tiny_study import write_study

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


class Server:
    """MLflow's own server on a folder of this machine."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._command = [
            sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port),
            "--backend-store-uri", f"sqlite:///{home / 'mlruns' / 'mlflow.db'}",
            "--artifacts-destination", str(home / "server_artifacts"),
        ]  # fmt: skip
        self._home = home

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._home,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError("the server did not start")

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


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
