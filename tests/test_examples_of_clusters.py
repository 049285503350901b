"""The files of studies/cluster: what they start is started, as far as it goes without an engine."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import botocore.session
import mlflow
import psycopg
import pytest
import yaml

from pipeline.addresses import storage_of, tracking_uri_of
from pipeline.cli import search_options
from pipeline.errors import ExitCode
from pipeline.study_file import find_study
from tests.crew import until
from tests.object_store import ENVIRONMENT as ENVIRONMENT_OF_STORE
from tests.object_store import running_object_store
from tests.postgres import PASSWORD, free_port, running_server
from tests.server import ENVIRONMENT

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "studies" / "cluster"
HOME = "/srv/epochs"
"""The project's folder in the image."""

COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
"""With this environment's programs first, as in the image."""

IMAGES_OWN = {
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"},
    "versity/versitygw": {"ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"},
}
"""Variables that only other programs' images read, by their documentation."""


def lines_of_examples() -> list[str]:
    """Return every search that an example starts."""
    commands = (service.get("command", "") for service in COMPOSE["services"].values())
    return [each for each in commands if isinstance(each, str) and "pipeline.search" in each]


def assert_is_search(line: str) -> None:
    """Hold a line to start a search of a study in the image, with options that there are."""
    python, flag, module, *arguments = shlex.split(line)
    assert (python, flag, module) == ("python", "-m", "pipeline.search")
    study = search_options(arguments).study
    assert find_study(study.replace(HOME, str(ROOT))).is_file()


def secrets() -> dict[str, str]:
    lines = (FOLDER / "secrets.example.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def variables() -> set[str]:
    services = COMPOSE["services"].values()
    return set(secrets()).union(*(service.get("environment", {}) for service in services))


def known_variables(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return those that this program, MLflow, PostgreSQL's client and the S3 client read."""
    own = {"OPTUNA_STORAGE": storage_of, "MLFLOW_TRACKING_URI": tracking_uri_of}
    for name, read in own.items():
        monkeypatch.setenv(name, "here")
        assert read(None) == "here"
    known = {*own, *(name for names in IMAGES_OWN.values() for name in names)}
    sources = Path(mlflow.__file__).parent
    for name in ("cli/__init__.py", "environment_variables.py"):  # importing the former takes long
        known |= set(re.findall(r'"(MLFLOW_\w+)"', (sources / name).read_text()))
    known |= {each.envvar.decode() for each in psycopg.pq.Conninfo.get_defaults() if each.envvar}
    s3 = botocore.session.Session().session_var_map.values()
    known |= {
        name for _, names, *_ in s3 for name in (names if isinstance(names, list) else [names])
    }
    return known | {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.parametrize("line", lines_of_examples())
def test_what_an_example_starts_is_a_search_of_a_study_that_is_there(line):
    assert_is_search(line)


def test_every_variable_is_one_that_somebody_reads(monkeypatch):
    assert variables() <= known_variables(monkeypatch)


def test_the_examples_hold_no_secret():
    filled = {name for name, value in secrets().items() if value}
    assert not [name for name in filled if re.search("PASSWORD|SECRET", name)]
    text = "".join(path.read_text() for path in FOLDER.iterdir() if path.suffix == ".yaml")
    assert not re.search(r"://\w*:\w+@", text)
    assert not re.search(r"(?i)^\s*[\w-]*(password|secret)\w*: *\S", text, re.MULTILINE)
    ignored = ["git", "check-ignore", "-q", str(FOLDER / "secrets.env")]
    assert subprocess.run(ignored, cwd=ROOT).returncode == 0


def test_services_name_each_other():
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for address in service.get("environment", {}).values():
            host = re.search(r"(?:postgresql|http)://(?:\w+@)?([a-z]+)", address)
            assert host is None or host[1] in services


def test_the_image_is_made_of_what_is_there():
    text = (FOLDER / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split()[:-1])
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    files = (path.read_text() for path in FOLDER.iterdir())
    given = re.findall(r"EXTRAS=([\w,]+)", "".join(files))
    assert {name for names in given for name in names.split(",")} <= set(extras)
    for service in COMPOSE["services"].values():
        if build := service.get("build"):
            assert (
                FOLDER / build["context"] / build["dockerfile"]
            ).resolve() == FOLDER / "Dockerfile"


class Services:
    """The services that are this program's image, on this machine: addresses are changed for it."""

    def __init__(self, addresses: dict[str, str], secrets: dict[str, str]) -> None:
        self._addresses, self._secrets = addresses, secrets

    def started(self, name: str, *options: str, cwd: Path) -> subprocess.Popen[str]:
        service = COMPOSE["services"][name]
        command = service["command"]
        words = shlex.split(command) if isinstance(command, str) else command
        given = {key: self._here(value) for key, value in service["environment"].items()}
        return subprocess.Popen(
            [*(self._here(word) for word in words), *options],
            cwd=cwd, env={**ENVIRONMENT, "PATH": PATH, **self._secrets, **given}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def is_healthy(self, name: str) -> bool:
        test = self._here(COMPOSE["services"][name]["healthcheck"]["test"])
        return (
            subprocess.run(test, shell=True, env={"PATH": PATH}, capture_output=True).returncode
            == 0
        )

    def _here(self, text: str) -> str:
        for there, here in self._addresses.items():
            text = text.replace(there, here)
        return text


def test_the_bucket_is_made_once(tmp_path):
    with running_object_store() as store:
        services = Services({"http://objects:7070": store.url}, ENVIRONMENT_OF_STORE)
        for _ in range(2):  # each time that the services are started
            assert services.started("bucket", cwd=tmp_path).wait(60) == 0
        names = [bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]]
    assert "mlflow" in names


@pytest.mark.long
def test_the_services_find_an_answer_together(tmp_path):
    with running_server() as database, running_object_store() as store:
        database.execute("CREATE DATABASE optuna")
        database.execute(COMPOSE["configs"]["databases"]["content"])
        port = str(free_port())
        addresses = {
            "@database/": f"@127.0.0.1:{database.port}/",
            "http://objects:7070": store.url,
            "tracking:5000": f"127.0.0.1:{port}",
            "5000": port,
        }
        services = Services(addresses, {**ENVIRONMENT_OF_STORE, "PGPASSWORD": PASSWORD})
        assert services.started("bucket", cwd=tmp_path).wait(60) == 0
        tracking = services.started("tracking", cwd=tmp_path)
        try:
            until(lambda: services.is_healthy("tracking"))
            workers = []
            for name in ("one", "two"):
                shutil.copytree(ROOT / "studies", tmp_path / name / "studies")
                workers.append(services.started("worker", "--trials", "4", cwd=tmp_path / name))
            ended = [(*worker.communicate(timeout=400), worker.returncode) for worker in workers]
        finally:
            os.killpg(tracking.pid, signal.SIGKILL)
            tracking.communicate()
        for _, said, code in ended:
            assert code in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), said
        answers = [answer.splitlines()[0] for answer, _, _ in ended]
        assert answers[0] == answers[1]
        assert answers[0].startswith("Train with learning rate")
        assert any(key.endswith("report.html") for key in store.objects("mlflow"))
