"""Files of runs in an object store, to which nodes send them themselves."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from mlflow.store.artifact.s3_artifact_repo import _cached_get_s3_client

from pipeline.errors import BadInput, StoreUnavailable
from pipeline.tracking import Handover, MetricWriter, Unsent, check_files
from pipeline.tracking.store import Store
from tests.object_store import BUCKET, ENVIRONMENT, SECRET, running_object_store


@pytest.fixture
def objects(monkeypatch):
    """Return an object store, known to this process as to a user's."""
    with running_object_store() as server:
        for name, value in {**ENVIRONMENT, "MLFLOW_S3_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def store(store, objects, monkeypatch):
    monkeypatch.setattr(Store, "is_server", property(lambda store: True))
    return replace(store, artifact_location=f"s3://{BUCKET}/mlflow")


def test_whether_files_can_be_stored_is_known_before_training(open_study, objects):
    check_files(open_study())
    assert not objects.objects()


def without_bucket(objects, monkeypatch):
    objects.client.delete_bucket(Bucket=BUCKET)


def without_credentials(objects, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps those that it has found
    _cached_get_s3_client.cache_clear()


def without_package(objects, monkeypatch):
    def find_spec(name, *_):
        if name == "boto3":
            raise ModuleNotFoundError("No module named 'boto3'")

    monkeypatch.delitem(sys.modules, "boto3")
    monkeypatch.setattr("sys.meta_path", [SimpleNamespace(find_spec=find_spec), *sys.meta_path])
    _cached_get_s3_client.cache_clear()


@pytest.mark.parametrize(
    ("mistake", "reason"),
    [
        (without_bucket, "NoSuchBucket"),
        (without_credentials, "Unable to locate credentials"),
        (without_package, "boto3.*extra s3"),
    ],
)
def test_files_that_cannot_be_stored_are_told_as_the_mistake_that_it_is(
    mistake, reason, open_study, objects, monkeypatch
):
    mistake(objects, monkeypatch)
    with pytest.raises(BadInput, match=f"must be writable from .*, got .*{reason}"):
        check_files(open_study())


def test_files_that_an_object_store_does_not_take_for_now_are_kept_and_sent_later(
    store, open_study, objects, tmp_path
):
    (tmp_path / "report.html").write_text("all is well")
    unsent = Unsent(tmp_path, store.address)
    with MetricWriter(store.client, unsent=unsent, patience_secs=0.0) as writer:
        study = replace(open_study(), writer=writer)
        objects.stop()
        with pytest.raises(StoreUnavailable, match="Could not connect to the endpoint"):
            check_files(study)
        study.log_artifact(tmp_path / "report.html")
    assert "unsent.jsonl" in writer.left_behind
    assert SECRET not in unsent.path.read_text() + writer.left_behind
    objects.start()
    with MetricWriter(store.client, unsent=unsent):
        pass
    assert [content for key, content in objects.objects().items() if "report" in key] == [
        b"all is well"
    ]


def test_nodes_hand_over_files_through_an_object_store(open_study, tmp_path):
    one, two = (Handover(open_study(), tmp_path / name) for name in ("one", "two"))
    here, there = (tmp_path / name / "snapshots" / "trial_000.npz" for name in ("one", "two"))
    here.parent.mkdir(parents=True)
    here.write_bytes(b"state")
    one.give(here)
    one.flush()
    two.fetch(there)
    assert there.read_bytes() == b"state"
    one.take_back(here)
    one.flush()
    there.unlink()
    two.fetch(there)
    assert not there.exists()
