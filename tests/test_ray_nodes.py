"""Nodes of a Ray cluster that share no folder, each like a machine of its own."""

import platform
import re
import shutil
from collections import Counter
from contextlib import ExitStack

import pytest
from mlflow import MlflowClient

from pipeline.errors import ExitCode
from pipeline.tracking.handover import FOLDER
from tests import crew
from tests.crew import until
from tests.kill import assert_mlflow_tells_the_truth
from tests.nodes import PATIENCE_SECS, decided, ended
from tests.postgres import PASSWORD
from tests.ray_cluster import add_node, node_apart, running_cluster
from tests.test_room import NEEDS
from tests.test_workers import N_TRIALS, study_in
from tests.tiny_study import write_study


@pytest.mark.long
@pytest.mark.parametrize(
    ("there", "code", "reason"),
    [
        ({"PGPASSWORD": "wr0ng"}, ExitCode.BAD_INPUT, "authentication failed"),
        ({"PGPASSWORD": ""}, ExitCode.BAD_INPUT, "no password supplied"),
        ({"PGHOST": "nowhere.invalid"}, ExitCode.BAD_INPUT, "failed to resolve host"),
        ({"PGPORT": "1"}, ExitCode.STORE_UNAVAILABLE, "Connection refused"),
        ({"PGUSER": "crowded"}, ExitCode.STORE_UNAVAILABLE, "too many connections"),
        (
            {"PYTHONPATH": "driverless"},
            ExitCode.BAD_INPUT,
            "pip install 'epoch-pipeline[postgres]'",
        ),
    ],
    ids=["wrong password", "no password", "no such host", "away", "full", "no driver"],
)
def test_a_node_that_cannot_use_the_database_is_named_before_the_data_are_loaded(
    there, code, reason, home, postgres, monkeypatch
):
    study = write_study(home)
    study.write_text(study.read_text().replace("def load_data():", "def load_data():\n    1 / 0"))
    name = postgres.new_database().rpartition("/")[2]
    here = {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGUSER": "search"}
    here["PGPASSWORD"] = PASSWORD
    if "PGUSER" in there:
        there = {"PGUSER": f"crowded_{name}"}
        postgres.execute(
            f"CREATE ROLE crowded_{name} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 0"
        )
    if "PYTHONPATH" in there:
        driver = home / "driverless" / "psycopg" / "__init__.py"
        driver.parent.mkdir(parents=True)
        driver.write_text("raise ImportError('none here')")
        there = {"PYTHONPATH": f"{driver.parents[1]}:{crew.ROOT}"}
    for variable, value in here.items():
        monkeypatch.setitem(crew.ENVIRONMENT, variable, value)
    storage = ["--storage", f"postgresql:///{name}", "--store-patience", f"{PATIENCE_SECS}s"]
    with running_cluster() as cluster:
        add_node(cluster, 1, env_vars=here)
        with (
            node_apart(cluster, "node-two", {**here, **there}),
            crew.searching(study, *storage, "--ray", cluster.address) as search,
        ):
            told, _ = ended(search)
    assert told["exit_code"] == code
    assert told["error"].startswith("on node node-two of Ray's cluster: ")
    assert reason in told["error"]
    assert "wr0ng" not in told["error"]


@pytest.mark.long
def test_a_node_that_joins_says_its_name_with_what_is_wrong(home, database):
    arguments = ["--if-running", "join", "--storage", database.replace(PASSWORD, "wr0ng")]
    with crew.searching(write_study(home), *arguments) as search:
        told, said = ended(search)
    assert told["exit_code"] == ExitCode.BAD_INPUT
    assert told["error"].startswith(f"{platform.node()}: the storage ")
    assert f"error: {platform.node()}: the storage " in said


# Trial 0, of 51 epochs, takes a second more in each as long as a file is there.
SLOWLY = """
import time
from pathlib import Path

from pipeline.snapshots import Snapshots

Snapshots.__init__.__kwdefaults__["every_secs"] = 0.5
keep, slow = Snapshots.keep, Path(__file__).with_name("slow")


def slowly(snapshots, name, *args, **options):
    time.sleep(1.0 if name == "trial_000" and slow.exists() else 0.0)
    keep(snapshots, name, *args, **options)


Snapshots.keep = slowly
"""


def slow_study_in(home):
    """Write a study whose first trial is kept, and handed over, again and again."""
    study = study_in(home)
    study.write_text(SLOWLY + study.read_text())
    study.with_name("slow").touch()
    return study


def snapshots_at(server):
    """Return the states of trials that nodes have handed over."""
    client = MlflowClient(server.url)
    runs = client.search_runs([each.experiment_id for each in client.search_experiments()])
    parents = [run.info.run_id for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return [
        file.path for run in parents for file in client.list_artifacts(run, f"{FOLDER}/snapshots")
    ]


def logs_in(home):
    return "".join(path.read_text() for path in home.glob("mlruns/studies/*/workers/[12].log"))


@pytest.mark.long
def test_what_a_lost_node_trained_goes_on_from_its_snapshot_where_no_folder_is_shared(
    home, make_home, postgres, tracking_server, alone
):
    """Each node has a project of its own at the one path, as machines have; one is switched off."""
    study, homes = slow_study_in(home), {name: make_home(name) for name in ("two", "three")}
    for each in homes.values():
        shutil.copytree(study.parent, each / "studies")
    options = ["--storage", postgres.new_database(), "--tracking-uri", tracking_server.url]
    options += ["--workers", "1", "--store-patience", f"{PATIENCE_SECS}s"]
    with running_cluster(0) as cluster, ExitStack() as stack:
        nodes = {
            name: stack.enter_context(node_apart(cluster, name, mounts={home: each}))
            for name, each in homes.items()
        }
        with crew.searching(study, *options, "--ray", cluster.address) as search:
            until(lambda: snapshots_at(tracking_server) or search.poll() is not None)
            (lost,) = (name for name, each in homes.items() if logs_in(each))
            nodes.pop(lost).kill()
            (other,) = nodes
            (homes[other] / "studies" / "slow").unlink()
            told, said = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), told["error"]
    assert f"worker 1 on {lost} was ended by the loss of its process or of its node" in said
    assert re.search(
        r"trial 0 goes on after epoch [1-9]\d*, from its snapshot", logs_in(homes[other])
    )
    assert not logs_in(home)
    assert decided(told) == decided({"decision": alone[0]})
    client = MlflowClient(tracking_server.url)
    (experiment,) = [e for e in client.search_experiments() if e.name == "tiny"]
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in (run for run in runs if "mlflow.parentRunId" in run.data.tags):
        logged = client.get_metric_history(run.info.run_id, "val_loss_mean")
        n_epochs = int(run.data.metrics["trained_epochs"])
        assert [metric.step for metric in logged] == list(range(1, n_epochs + 1))


# A device of 80 MB on the node "large", one of 24 MB elsewhere.
UNEQUAL = """
import platform
import pipeline.work

pipeline.work.own_mb = lambda spec, limit_mb: 80 if platform.node() == "large" else 24
"""


@pytest.mark.long
def test_a_trial_too_large_for_the_nodes_that_are_there_waits_for_the_one_that_comes(home):
    study = study_in(home, NEEDS)
    study.write_text(UNEQUAL + study.read_text())
    with (
        running_cluster(1) as cluster,
        crew.searching(study, "--workers", "2", "--ray", cluster.address) as search,
    ):
        until(lambda: "is left to a worker with a larger device" in logs_in(home))
        with node_apart(cluster, "large"):
            told, _ = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), told["error"]
    assert told["costs"]["trials"]["completed"] == N_TRIALS
    trials = crew.stored(study, lambda found: found.trials)()
    trained = Counter((t.params["large"], t.user_attrs["device_mb"]) for t in trials)
    assert trained[True, 24] == 0
    assert trained[True, 80] > 0


@pytest.mark.long
def test_a_cluster_whose_head_dies_ends_the_search_readably_and_the_same_command_continues(
    home, alone
):
    study = slow_study_in(home)
    with running_cluster(1, 1) as cluster:
        with crew.searching(study, "--workers", "2", "--ray", cluster.address) as search:
            until(crew.stored(study, crew.is_being_trained))
            cluster.head_node.kill_gcs_server()
            told, said = ended(search)
        assert not crew.claimed(home)
    assert told["exit_code"] == ExitCode.STORE_UNAVAILABLE
    assert "Ray's cluster at " in told["error"]
    assert "nothing has answered for 20 s; start it and the same command" in told["error"]
    assert "GCS" not in said
    study.with_name("slow").unlink()
    with (
        running_cluster(1, 1) as cluster,
        crew.searching(study, "--workers", "2", "--ray", cluster.address) as search,
    ):
        told, _ = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), told["error"]
    assert re.search(r"trial 0 goes on after epoch [1-9]\d*, from its snapshot", logs_in(home))
    assert decided(told) == decided({"decision": alone[0]})
    assert_mlflow_tells_the_truth(home, alone[1])
