import shutil
from pathlib import Path

import pytest

from pipeline.tracking.store import open_store


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory) -> Path:
    """Create one database for the whole session: creating it takes three seconds."""
    home = tmp_path_factory.mktemp("migrated")
    open_store(None, home)
    return home / "mlruns" / "mlflow.db"


@pytest.fixture
def home(tmp_path: Path, migrated_database: Path) -> Path:
    """Return a project with an empty store."""
    (tmp_path / "mlruns").mkdir()
    shutil.copy(migrated_database, tmp_path / "mlruns" / "mlflow.db")
    return tmp_path
