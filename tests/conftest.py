import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.tracking.store import open_store
from tests.kill import FIELDS, answer_and_epochs, finish
from tests.mysql import MySQL
from tests.postgres import Database, running_server
from tests.server import Server
from tests.tiny_study import write_study

for variable in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", "RAY_ADDRESS"):
    os.environ.pop(variable, None)  # of whoever runs the tests: they have their own stores
os.environ["RAY_AUTH_MODE"] = "disabled"  # or a token would be written into their home


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory) -> Path:
    """Create one database for the whole session: creating it takes a second or two."""
    home = tmp_path_factory.mktemp("migrated")
    open_store(None, home)
    return home / "mlruns" / "mlflow.db"


@pytest.fixture(scope="session")
def make_home(tmp_path_factory, migrated_database) -> Callable[[str], Path]:
    """Return a function that makes a project with an empty store, for tests that share it."""

    def make(name: str) -> Path:
        return with_store(tmp_path_factory.mktemp(name), migrated_database)

    return make


def with_store(home: Path, migrated_database: Path) -> Path:
    (home / "mlruns").mkdir()
    shutil.copy(migrated_database, home / "mlruns" / "mlflow.db")
    return home


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """Return a PostgreSQL server for all tests of the session that do not stop it."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def mysql() -> Iterator[Database]:
    """Return the same of MySQL's kind."""
    with running_server(MySQL) as server:
        yield server


@pytest.fixture(params=["postgres", pytest.param("mysql", marks=pytest.mark.long)])
def server(request) -> Database:
    """Return each of the servers."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def database(server) -> str:
    """Return the URL of an empty database."""
    return server.new_database()


@pytest.fixture
def tracking_server(tmp_path_factory, postgres) -> Iterator[Server]:
    """Return MLflow's server, on a database of its own."""
    folder, address = tmp_path_factory.mktemp("server"), postgres.new_database()
    server = Server(folder, backend=address)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def home(tmp_path: Path, migrated_database: Path) -> Path:
    """Return a project with an empty store."""
    return with_store(tmp_path, migrated_database)


@pytest.fixture(scope="session")
def uninterrupted(make_home):
    """Return the answer of a search that nothing happened to, and each trial's epochs in MLflow."""
    home = make_home("uninterrupted")
    finish(write_study(home, fields=FIELDS))
    return answer_and_epochs(home)


@pytest.fixture(scope="session")
def alone(make_home):
    """Return the same of the study that several workers are at, searched by one process."""
    from tests.test_workers import study_in

    home = make_home("alone")
    finish(study_in(home))
    return answer_and_epochs(home)
