"""Nodes of a Ray cluster that share no folder, each like a machine of its own."""

import platform

import pytest

from pipeline.errors import ExitCode
from tests import crew
from tests.nodes import PATIENCE_SECS, ended
from tests.postgres import PASSWORD
from tests.ray_cluster import add_node, node_apart, running_cluster
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
