import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from pipeline.errors import BadInput, StoreUnavailable
from pipeline.tracking.store import mask_password, open_store, reason_of


def test_the_default_store_lies_in_the_project_whatever_the_working_directory(
    home, tmp_path_factory, monkeypatch
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    store = open_store(None, home)
    database = home / "mlruns" / "mlflow.db"
    assert store.uri == f"sqlite:///{database}"
    assert store.artifact_location == str(home / "mlruns" / "artifacts")
    assert (
        store.ui_command == f"mlflow ui --backend-store-uri sqlite:///{database} --host 127.0.0.1"
    )
    assert not list(elsewhere.iterdir())


def test_a_relative_database_is_relative_to_the_project(home, monkeypatch):
    monkeypatch.chdir("/")
    (home / "runs").mkdir()
    shutil.copy(home / "mlruns" / "mlflow.db", home / "runs" / "own.db")
    store = open_store("sqlite:///runs/own.db", home)
    assert store.uri == f"sqlite:///{home}/runs/own.db"
    assert store.artifact_location == f"{home}/runs/artifacts"


@pytest.mark.parametrize("name", ["my project #1", "100%", "a&b=c@d:e", "café"])
def test_a_project_may_have_almost_any_name(tmp_path, migrated_database, name):
    home = tmp_path / name
    (home / "mlruns").mkdir(parents=True)
    shutil.copy(migrated_database, home / "mlruns" / "mlflow.db")
    store = open_store(None, home)
    experiment_id = store.client.create_experiment("digits", store.artifact_location)
    run = store.client.create_run(experiment_id)
    store.client.log_text(run.info.run_id, "text", "note.txt")
    note = home / "mlruns" / "artifacts" / run.info.run_id / "artifacts" / "note.txt"
    assert note.read_text() == "text"
    with closing(sqlite3.connect(home / "mlruns" / "mlflow.db")) as database:
        assert database.execute("select count(*) from runs").fetchone() == (1,)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a%20b", "what?"])
def test_a_path_that_names_another_file_in_a_uri_is_refused(tmp_path, name):
    with pytest.raises(StoreUnavailable, match="must not have"):
        open_store(None, tmp_path / name)
    assert not list(tmp_path.iterdir())


OPEN = """
import sys
from pathlib import Path
from pipeline.tracking.store import open_store
store = open_store(None, Path(sys.argv[1]))
experiment_id = store.client.create_experiment(sys.argv[2], store.artifact_location)
store.client.create_run(experiment_id)
"""


def test_two_processes_may_open_a_fresh_store_at_once(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path), name], stderr=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    names = {
        experiment.name for experiment in open_store(None, tmp_path).client.search_experiments()
    }
    assert {"one", "two"} <= names
    left = {path.name for path in (tmp_path / "mlruns").iterdir()}
    assert left <= {"mlflow.db", "mlflow.db.lock"}


def test_a_kill_while_the_store_is_created_leaves_nothing_in_the_way(tmp_path):
    killed = f"import os; Path.replace = lambda *_: os.kill(os.getpid(), 9)\n{OPEN}"
    subprocess.run([sys.executable, "-c", f"from pathlib import Path; {killed}", tmp_path, "one"])
    mlruns = tmp_path / "mlruns"
    assert list(mlruns.glob(".mlflow.db.new.*"))
    assert not (mlruns / "mlflow.db").exists()
    open_store(None, tmp_path)
    assert {path.name for path in mlruns.iterdir()} == {"mlflow.db", "mlflow.db.lock"}


def contents(database: Path) -> dict[str, tuple[list[str], list[tuple]]]:
    """Return each table's and index's definition, by line, and a table's rows."""
    with closing(sqlite3.connect(database)) as opened:
        listed = opened.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
        return {
            # A table's constraints come in another order each time, from MLflow's migrations too.
            name: (
                sorted(line.strip(" ,\t") for line in (sql or "").splitlines()),
                list(opened.execute(f'SELECT * FROM "{name}"')) if kind == "table" else [],
            )
            for kind, name, sql in listed
        }


def test_a_new_database_is_the_one_that_mlflow_makes(tmp_path, migrated_database):
    SqlAlchemyStore(f"sqlite:///{tmp_path / 'mlflow.db'}", str(tmp_path))
    ours, mlflows = contents(migrated_database), contents(tmp_path / "mlflow.db")
    for each in (ours, mlflows):
        columns, ((number, name, _, stage, *_),) = each.pop("experiments")
        assert (number, name, stage) == (0, "Default", "active")  # the rest is place and time
        each["columns of experiments"] = (columns, [])
    assert len(ours["runs"][0]) > 10
    assert len(ours["alembic_version"][1]) == 1
    assert ours == mlflows


def test_an_empty_file_is_made_a_database(tmp_path, monkeypatch, migrated_database):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    monkeypatch.setattr(
        "pipeline.tracking.store._create", lambda path: shutil.copy(migrated_database, path)
    )
    open_store(None, tmp_path)
    assert (tmp_path / "mlruns" / "mlflow.db").stat().st_size > 0


@pytest.fixture
def unprivileged_home(migrated_database) -> Iterator[Path]:
    """Return a project, seen as a user to whom permissions apply: they do not to root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "mlruns").mkdir()
    shutil.copy(migrated_database, folder / "mlruns" / "mlflow.db")
    is_root = os.geteuid() == 0
    if is_root:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, -1)
        os.seteuid(65534)
    yield folder
    if is_root:
        os.seteuid(0)
    for path in (folder, folder / "mlruns"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_a_read_only_folder_is_a_readable_error(unprivileged_home):
    (unprivileged_home / "mlruns").chmod(0o555)
    with pytest.raises(StoreUnavailable, match=r"mlflow\.db cannot be used: .*Permission denied"):
        open_store(None, unprivileged_home)


def test_a_read_only_database_is_a_readable_error(unprivileged_home):
    (unprivileged_home / "mlruns" / "mlflow.db").chmod(0o444)
    with pytest.raises(StoreUnavailable, match=r"readonly database \(it must be writable"):
        open_store(None, unprivileged_home)


def test_a_folder_that_cannot_be_made_is_a_readable_error(tmp_path):
    (tmp_path / "mlruns").write_text("a file")
    with pytest.raises(StoreUnavailable, match=r"cannot be used: .*File exists"):
        open_store(None, tmp_path)


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path):
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_text("notes" * 1000)
    before = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"file is not a database \(move the file away"):
        open_store(None, tmp_path)
    assert time.monotonic() - before < 5
    assert (tmp_path / "mlruns" / "mlflow.db").read_text() == "notes" * 1000


def test_a_locked_database_is_a_readable_error(home, monkeypatch):
    monkeypatch.setattr("pipeline.tracking.store.PROBE_TIMEOUT_SECS", 0.1)
    with closing(sqlite3.connect(home / "mlruns" / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            StoreUnavailable, match=r"database is locked \(another program holds it"
        ):
            open_store(None, home)
    open_store(None, home)


def test_a_half_migrated_database_is_a_readable_error(tmp_path, capfd):
    (tmp_path / "mlruns").mkdir()
    with closing(sqlite3.connect(tmp_path / "mlruns" / "mlflow.db")) as database:
        database.execute("create table logged_models (id text)")
    with pytest.raises(StoreUnavailable, match=r"already exists \(its creation was cut off"):
        open_store(None, tmp_path)
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_absent_server_is_a_readable_error_within_seconds(tmp_path, closed_port, capfd):
    before = time.monotonic()
    with pytest.raises(StoreUnavailable) as caught:
        open_store(f"http://ann:hunter2@127.0.0.1:{closed_port}", tmp_path)
    assert time.monotonic() - before < 10
    message = str(caught.value)
    assert f"http://ann:***@127.0.0.1:{closed_port} cannot be used" in message
    assert "refused" in message
    assert "hunter2" not in message
    assert "hunter2" not in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_silent_server_is_a_readable_error_within_seconds(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = time.monotonic()
        with pytest.raises(StoreUnavailable, match="timed out"):
            open_store(f"http://127.0.0.1:{server.getsockname()[1]}", tmp_path)
        assert time.monotonic() - before < 12


def test_the_timeouts_of_the_probe_end_with_it(tmp_path, closed_port, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    with pytest.raises(StoreUnavailable):
        open_store(f"http://127.0.0.1:{closed_port}", tmp_path)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_mlflow_does_not_print_a_servers_password(tmp_path, closed_port, monkeypatch):
    # With every run that ends it prints the run's address.
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")
    with pytest.raises(StoreUnavailable):
        open_store(f"http://ann:hunter2@127.0.0.1:{closed_port}", tmp_path)
    assert os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] == "true"


def test_a_database_without_its_driver_names_what_is_missing(tmp_path):
    with pytest.raises(
        StoreUnavailable, match=r"mysql\+mysqldb://ann:\*\*\*@host/db .*No module named"
    ):
        open_store("mysql+mysqldb://ann:hunter2@host/db", tmp_path)


@pytest.mark.parametrize(
    "uri", ["mlruns", "file:///tmp/mlruns", "ftp://x", "", "sqlite", "databricks"]
)
def test_another_kind_of_store_is_refused(tmp_path, uri):
    with pytest.raises(BadInput, match=r"must be http://…, https://… or a database \(sqlite://"):
        open_store(uri, tmp_path)


@pytest.mark.parametrize("uri", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_is_refused(tmp_path, uri):
    with pytest.raises(BadInput, match="must name a file"):
        open_store(uri, tmp_path)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("http://host:5000/path", "http://host:5000/path"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("https://ann:pw@host/x", "https://ann:***@host/x"),
        ("https://ann:p/w@x@host/x", "https://ann:***@host/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("mssql://host/db?user=a&password=pw&b=1", "mssql://host/db?user=a&password=***&b=1"),
        ("call to http://a:pw@b failed", "call to http://a:***@b failed"),
    ],
)
def test_passwords_are_masked(url, masked):
    assert mask_password(url) == masked


def test_a_store_does_not_show_its_password(store):
    secret = replace(store, uri="http://ann:hunter2@host/")
    assert "hunter2" not in repr(secret)
    for uri in ("http://ann:hunter2@host", "http://ann:hunter2@host/"):
        address = replace(store, uri=uri).url_of("/experiments/1/runs/abc")
        expected = "http://ann:***@host/#/experiments/1/runs/abc?workflowType=machine_learning"
        assert address == expected


def test_an_error_without_text_has_its_name():
    assert reason_of(TimeoutError()) == "TimeoutError"


def test_a_database_is_created_in_a_folder_with_quotes_in_its_name(tmp_path, monkeypatch):
    home = tmp_path / """it's "so\""""
    home.mkdir()
    monkeypatch.chdir(home)
    store = open_store(None, home)
    (first,) = store.client.search_experiments()
    assert first.artifact_location == str(home / "mlruns" / "artifacts" / "0")
