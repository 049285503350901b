"""A store that goes away: nothing is lost, and the next session sends it."""

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from pipeline.errors import StoreUnavailable
from pipeline.tracking.runs import StudyRun
from pipeline.tracking.store import open_store
from pipeline.tracking.unsent import Unsent
from pipeline.tracking.updates import Metrics
from pipeline.tracking.writer import MetricWriter

STUDY: Any = {"experiment": "digits", "signature": "0a1b2c3d4e5f", "tags": {}, "params": {}}
CALLS = (
    "create_run", "get_run", "log_artifact", "log_batch", "log_inputs", "search_runs",
    "set_terminated", "update_run",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "study"
    path.mkdir()
    return path


@pytest.fixture
def unsent(folder, store):
    return Unsent(folder, store.address)


@pytest.fixture
def away(store, monkeypatch):
    """Let the store go away when called."""

    def go() -> None:
        def refuse(*arguments, **options):
            raise ConnectionRefusedError("Connection refused")

        for name in CALLS:
            monkeypatch.setattr(store.client, name, refuse)

    return go


def session(store, unsent, **changes):
    return MetricWriter(store.client, unsent=unsent, **{"patience_secs": 0.0, **changes})


def test_what_is_done_while_the_store_is_away_is_sent_by_the_next_session(
    store, home, folder, unsent, away, trial_result, objective, tmp_path
):
    (folder / "decision.json").write_text("{}")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "weights.h5").write_text("weights")
    with session(store, unsent) as writer:
        study = StudyRun.open(store, writer, **STUDY)
        away()
        trial = study.start_trial(7, {"learning_rate": 0.1})
        trial.log_epoch(1, {"val_loss_mean": 0.5, "nan": math.nan, "learning_rate": 0.1})
        trial.end(trial_result(), objective)
        study.log_dataset(np.ones((4, 3)), np.ones(4), name="digits", fingerprint="ab" * 32)
        study.log_artifact(folder / "decision.json")
        study.log_artifact(tmp_path / "scratch", "folds")
        study.set_tags({"best": "7"})
        with pytest.raises(StoreUnavailable):
            study.end("FINISHED")
    (tmp_path / "scratch" / "weights.h5").unlink()  # as a temporary folder does
    for part in ("Connection refused", "Kept in", str(unsent.path)):
        assert part in writer.left_behind
    lines = [json.loads(line) for line in unsent.path.read_text().splitlines()]
    assert lines[0] == {"format": 1, "store": store.address}
    assert {line["kind"] for line in lines[1:]} == {
        "new_run", "texts", "metrics", "status", "dataset", "artifact",
    }  # fmt: skip

    again = open_store(None, home)
    with session(again, unsent) as second:
        assert second.n_left == len(lines) - 1
        second.flush()
        # The trial is found by the id that it was given.
        reopened = StudyRun.open(again, second, **STUDY).start_trial(7, {}, run_id=trial.run_id)
        assert not reopened.run_id.startswith("local-")
        assert reopened.last_epoch == 1
        reopened.end(trial_result(), objective)
    assert not unsent.path.exists()
    assert not (folder / "unsent").exists()
    run = again.client.get_run(reopened.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == study.run_id
    assert run.data.tags["outcome"] == "completed"
    assert run.data.params == {"learning_rate": "0.1"}
    assert math.isnan(run.data.metrics["nan"])
    parent = again.client.get_run(study.run_id)
    assert parent.data.tags["best"] == "7"
    assert parent.inputs.dataset_inputs[0].dataset.name == "digits"
    names = {file.path for file in again.client.list_artifacts(study.run_id)}
    assert names == {"decision.json", "folds"}


def test_sending_twice_stores_once(store, folder, unsent):
    experiment_id = store.client.create_experiment("digits", store.artifact_location)
    run_id = store.client.create_run(experiment_id).info.run_id
    unsent.write([Metrics(run_id, {"loss": 1.0, "nan": None}, 1, 1000)])
    kept = unsent.path.read_text()
    for _ in range(2):
        unsent.path.write_text(kept)
        with session(store, unsent):
            pass
    assert len(store.client.get_metric_history(run_id, "loss")) == 1
    assert len(store.client.get_metric_history(run_id, "nan")) == 1


def test_what_is_for_another_store_stays(store, folder, unsent):
    other = Unsent(folder, "http://elsewhere")
    other.write([Metrics("a", {"loss": 1.0}, 1, 1000)])
    with session(store, unsent) as writer:
        assert writer.n_left == 0
    assert len(other.read()) == 1


def test_what_the_store_refuses_for_good_is_kept_apart(store, unsent):
    with session(store, unsent) as writer:
        writer.put("0" * 32, {"loss": 1.0}, 1)
    assert "refused.jsonl" in writer.left_behind
    assert not unsent.path.exists()
    assert '"loss"' in unsent.refused.read_text()
    with session(store, unsent) as second:
        assert second.n_left == 0
    assert second.left_behind == ""


@pytest.mark.parametrize("text", ["broken", '{"format": 2, "store": "x"}', "[]"])
def test_a_file_that_cannot_be_read_is_refused_and_left_alone(store, unsent, text):
    unsent.path.write_text(f"{text}\n")
    with pytest.raises(StoreUnavailable, match=r"unsent\.jsonl, line 1, must be an update of"):
        session(store, unsent)
    assert unsent.path.read_text() == f"{text}\n"


def test_a_session_that_sends_half_leaves_the_other_half(store, unsent, away, trial_result):
    with session(store, unsent) as writer:
        study = StudyRun.open(store, writer, **STUDY)
        writer.is_away = True  # for the moment in which the trial begins
        trial = study.start_trial(0, {})
        writer.flush()
        away()
        trial.log_epoch(1, {"learning_rate": 0.1})
    (left,) = unsent.read()
    assert not left.run_id.startswith("local-")


HOLD = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1])
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def holding(path, secs):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(secs)], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    return process


def test_a_store_that_another_process_locks_is_waited_for(home, monkeypatch):
    monkeypatch.setattr("pipeline.tracking.store.PROBE_TIMEOUT_SECS", 0.1)
    said: list[str] = []
    with holding(home / "mlruns" / "mlflow.db", 2):
        open_store(None, home, patience_secs=20, say=said.append)
    assert len(said) == 1
    assert "database is locked" in said[0]


def test_a_search_database_that_another_process_locks_is_waited_for(tmp_path):
    from pipeline.optimization import next_proposal, open_study
    from pipeline.spec import StudySpec

    spec = StudySpec(
        name="named",
        load_data=lambda: None,
        build_model=lambda params: params,
        space={"learning_rate": 0.1, "max_epochs": 8},
    )
    path = tmp_path / "optuna.db"
    study = open_study(f"sqlite:///{path}?timeout=0.1", "s", spec, patience_secs=20)
    with holding(path, 2):
        next_proposal(study, spec).write_note("kept", 1)
    study = open_study(f"sqlite:///{path}?timeout=0.1", "s", spec, patience_secs=0)
    assert study.trials[0].user_attrs == {"kept": 1}
    with holding(path, 60) as holder:
        with pytest.raises(StoreUnavailable, match=r"locked; .*finished trials are kept"):
            next_proposal(study, spec).write_note("kept", 2)
        holder.kill()
