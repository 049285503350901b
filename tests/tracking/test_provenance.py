import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from pipeline.tracking.provenance import provenance


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return answer.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    _git(tmp_path, "init", "-q")
    (tmp_path / "study.py").write_text("study = 1\n")
    _git(tmp_path, "add", "study.py")
    _git(tmp_path, "commit", "-q", "-m", "a study")
    return tmp_path


def test_the_commit_is_the_whole_one_even_where_it_has_a_tag(checkout):
    _git(checkout, "tag", "-a", "v1", "-m", "v1")
    assert provenance(checkout)["git.commit"] == _git(checkout, "rev-parse", "HEAD")


def test_a_changed_file_makes_the_commit_dirty(checkout):
    (checkout / "study.py").write_text("study = 2\n")
    assert provenance(checkout)["git.commit"] == _git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_git_hook_of_another_repository_does_not_lend_its_commit(checkout, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_DIR", str(checkout / ".git"))
        patch.setenv("GIT_CEILING_DIRECTORIES", "/")
        assert "git.commit" not in provenance(tmp_path_factory.mktemp("elsewhere"))


def test_without_git_there_is_no_commit_and_no_error(tmp_path, monkeypatch):
    assert "git.commit" not in provenance(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git.commit" not in provenance(tmp_path)


def test_versions_are_those_installed(tmp_path):
    tags = provenance(tmp_path)
    assert tags["version.mlflow"] == importlib.metadata.version("mlflow")
    assert tags["version.numpy"] == importlib.metadata.version("numpy")
    assert int(tags["host.cpus"]) >= 1


def test_no_environment_variable_gets_in(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2-secret")
    assert "hunter2-secret" not in str(provenance(tmp_path))
