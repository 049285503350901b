"""Nodes that share PostgreSQL, a tracking server and an S3 store, which go away and come back."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from uuid import uuid4

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sqlalchemy import NullPool, create_engine, inspect, text

from pipeline.answers import found
from pipeline.errors import ExitCode
from pipeline.optimization import read_study
from pipeline.search import search
from pipeline.study_file import load_study
from tests.crew import COMMAND, until
from tests.nodes import decided, folder_of
from tests.object_store import BUCKET, SECRET, ObjectStore, running_object_store
from tests.postgres import PASSWORD, Postgres
from tests.server import ENVIRONMENT, Server
from tests.test_workers import study_in

BY_SERVER = ("--artifacts-destination", f"s3://{BUCKET}/mlflow")
BY_NODES = ("--default-artifact-root", f"s3://{BUCKET}/mlflow", "--no-serve-artifacts")
"""Who sends files to the object store."""

TOKEN = "hunt3r2"
"""The password in the tracking server's address."""

PATIENCE_SECS = 15
AWAY_SECS = 65

SLOW = (
    "-c",
    "import time; from pipeline import cli, ending, evaluation; ends = evaluation.is_over; "
    "evaluation.is_over = lambda *given, **named: time.sleep(0.5) or ends(*given, **named); "
    "ending.end_process('pipeline.search', cli.search_options())",
)
"""The same command on a machine that takes half a second for an epoch."""


@dataclass
class Cluster:
    """Everything that nodes share.

    optuna, mlflow: URLs of databases
    environment: of a node
    """

    objects: ObjectStore
    tracking: Server
    optuna: str
    mlflow: str
    environment: dict[str, str]

    @property
    def tracking_uri(self) -> str:
        return self.tracking.url.replace("://", f"://search:{TOKEN}@")

    def search(
        self, study: Path, *options: str, start: Sequence[str] = COMMAND
    ) -> subprocess.Popen[str]:
        """Start a node's search, in a folder that is not its project."""
        command = [
            sys.executable, *start, str(study), "--json", "--if-running", "join",
            "--log-file", str(study.parents[1] / "log"), *options,
        ]  # fmt: skip
        return subprocess.Popen(
            command, cwd=study.parents[2], env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, module: str, *options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run another command to its end."""
        command = [sys.executable, "-m", module, *options]
        return subprocess.run(
            command, cwd=cwd, env=self.environment, text=True, capture_output=True, timeout=200
        )

    def client(self) -> MlflowClient:
        return MlflowClient(self.tracking.url)

    def trials(self) -> dict[int, list[int]]:
        """Return the steps that each trial's mean has, one run a trial."""
        client = self.client()
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert {run.info.status for run in runs} == {"FINISHED"}
        trials = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        numbers = [int(run.data.tags["trial"]) for run in trials]
        assert sorted(numbers) == list(range(len(numbers)))
        return {
            number: [
                point.step for point in client.get_metric_history(run.info.run_id, "val_loss_mean")
            ]
            for number, run in zip(numbers, trials, strict=True)
        }


@contextmanager
def cluster_of(home: Path, postgres: Postgres, who_sends: Sequence[str]):
    with ExitStack() as stack:
        objects = stack.enter_context(running_object_store())
        stack.enter_context(mock.patch.dict(os.environ, objects.environment))
        optuna, database = (
            postgres.new_database(f"{name}_{uuid4().hex}") for name in ("optuna", "mlflow")
        )
        tracking = Server(folder_of(home, "server"), database, who_sends, objects.environment)
        tracking.start()
        stack.callback(tracking.stop)
        cluster = Cluster(objects, tracking, optuna, database, {})
        cluster.environment = {
            **ENVIRONMENT,
            **(objects.environment if who_sends == BY_NODES else {}),
            "OPTUNA_STORAGE": optuna,
            "MLFLOW_TRACKING_URI": cluster.tracking_uri,
        }
        yield cluster


@pytest.fixture(params=[BY_SERVER, BY_NODES], ids=["by-server", "by-nodes"])
def cluster(request, tmp_path, postgres):
    with cluster_of(tmp_path, postgres, request.param) as cluster:
        yield cluster


@pytest.fixture
def cluster_by_server(tmp_path, postgres):
    with cluster_of(tmp_path, postgres, BY_SERVER) as cluster:
        yield cluster


def ended(process, *codes):
    told, said = process.communicate(timeout=400)
    assert "Traceback" not in said, said
    assert "Retrying" not in said, said
    end = json.loads(told)
    assert end["exit_code"] in (codes or (ExitCode.SUCCESS, ExitCode.UNDETERMINED)), said
    return end, said


@pytest.fixture(scope="module")
def alone(make_home):
    """Return the decision of a search in a folder, and how many epochs each trial has in MLflow."""
    result = search(load_study(study_in(make_home("alone"))))
    n_epochs = {t.number: list(range(1, t.curves.n_epochs + 1)) for t in result.trials}
    n_epochs[result.best.number] = list(range(1, result.best.curves.n_epochs + 1))
    return json.loads(result.decision_path.read_text()), n_epochs


def texts_in(url: str) -> str:
    """Return everything in a database."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        names = inspect(engine).get_table_names()
        return "".join(
            str(connection.execute(text(f'SELECT * FROM "{name}"')).all()) for name in names
        )


def assert_no_secret(cluster: Cluster, home: Path, *said: str) -> None:
    """Nothing that anybody reads holds a password: databases, files, logs, what was printed."""
    files = [path for path in home.rglob("*") if path.is_file() and path.suffix != ".py"]
    assert len(files) > 20
    everything = [
        *(path.read_bytes() for path in files),
        *cluster.objects.objects().values(),
        *(text.encode() for text in (texts_in(cluster.optuna), texts_in(cluster.mlflow), *said)),
    ]
    for secret in (PASSWORD, SECRET, TOKEN):
        assert not [each for each in everything if secret.encode() in each]


@pytest.mark.long
def test_all_that_two_nodes_make_is_in_the_servers(tmp_path, cluster, alone, monkeypatch):
    studies = [study_in(folder_of(tmp_path, name)) for name in ("one", "two")]
    options = ("--register", "--keep-checkpoints", "2")
    nodes = [cluster.search(study, *options) for study in studies]
    (one, said), (two, said_too) = (ended(node) for node in nodes)
    decision, n_epochs = alone
    assert decided(one) == decided(two) == decided({"decision": decision})
    assert cluster.trials() == n_epochs
    assert (said + said_too).count("refit on ") == 1
    assert_no_secret(cluster, tmp_path, said, said_too, json.dumps([one, two]))

    client, run_id = cluster.client(), one["decision"]["run_id"]
    files = {file.path for file in client.list_artifacts(run_id)}
    assert {"report.html", "decision.json", "curves.png", "map.png", "folds"} <= files
    assert "written_before_training.txt" not in files
    assert not client.list_artifacts(run_id, "handover/snapshots")
    mlflow.set_tracking_uri(cluster.tracking.url)
    served = mlflow.pyfunc.load_model("models:/tiny@champion")
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # it takes that, too
    assert served.predict(np.zeros((2, 3))).shape == (2, 1)
    models = client.search_logged_models([client.get_run(run_id).info.experiment_id])
    assert sum(model.name == "model" for model in models) == 1
    assert sum(model.name.startswith("trial_") for model in models) == 2

    monkeypatch.chdir(folder_of(tmp_path, "elsewhere"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", cluster.tracking_uri)
    assert found(run_id).values == one["decision"]
    clean = cluster.run(
        "pipeline.maintain", "clean", "--keep", "1", "--project", "one", cwd=tmp_path
    )
    assert "would remove 0 of 1 studies" in clean.stdout, clean.stderr
    assert (
        cluster.run("pipeline.maintain", "upload", "--project", "two", cwd=tmp_path).returncode == 0
    )


def begun_nodes(cluster: Cluster, home: Path) -> list[subprocess.Popen[str]]:
    """Start two nodes, and wait until they have finished three trials."""
    studies = [study_in(folder_of(home, name)) for name in ("one", "two")]
    patience = ("--store-patience", f"{PATIENCE_SECS}s")
    nodes = [cluster.search(study, *patience, start=SLOW) for study in studies]

    def n_finished() -> int:
        with contextlib.suppress(Exception):  # it is being made
            (name,) = {folder.name for folder in home.glob("*/mlruns/studies/tiny-*")}
            return sum(t.state.is_finished() for t in read_study(cluster.optuna, name).trials)
        return 0

    until(lambda: n_finished() >= 3)
    return nodes


@pytest.mark.long
@pytest.mark.parametrize("which", ["tracking", "objects"])
def test_a_store_that_is_gone_for_a_minute_loses_nothing(which, tmp_path, cluster_by_server, alone):
    """Longer than it is waited for: trials go on meanwhile, from one node to the other."""
    cluster = cluster_by_server
    nodes = begun_nodes(cluster, tmp_path)
    getattr(cluster, which).stop()
    time.sleep(AWAY_SECS)
    assert all(node.poll() is None for node in nodes)
    getattr(cluster, which).start()
    (one, said), (two, said_too) = (ended(node) for node in nodes)
    decision, n_epochs = alone
    assert decided(one) == decided(two) == decided({"decision": decision})
    for told in (one, two):  # it takes every trial's row losses, wherever that was trained
        assert told["decision"]["evidence"] == decision["evidence"]
        assert not told["unsent"]
    assert cluster.trials() == n_epochs
    assert_no_secret(cluster, tmp_path, said, said_too, json.dumps([one, two]))


@pytest.mark.long
def test_what_each_node_kept_of_a_server_that_never_came_back_is_sent_by_each(
    tmp_path, cluster_by_server, alone
):
    cluster = cluster_by_server
    nodes = begun_nodes(cluster, tmp_path)
    cluster.tracking.stop()
    (one, said), (two, said_too) = (ended(node, ExitCode.STORE_UNAVAILABLE) for node in nodes)
    decision, n_epochs = alone
    answers = [told for told in (one, two) if told["decision"]]
    assert answers
    for line in (said, said_too):
        assert "unsent.jsonl; the same command sends it" in line
    for told in answers:
        assert decided(told) == decided({"decision": decision})
    assert list(tmp_path.glob("one/mlruns/studies/*/**/unsent.jsonl"))
    assert list(tmp_path.glob("two/mlruns/studies/*/**/unsent.jsonl"))
    cluster.tracking.start()
    for name in ("one", "two"):
        sent = cluster.run("pipeline.maintain", "upload", "--project", name, cwd=tmp_path)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert "update(s) sent to" in sent.stdout
    assert cluster.trials() == n_epochs
    assert_no_secret(cluster, tmp_path, said, said_too, json.dumps([one, two]))
