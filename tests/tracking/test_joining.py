"""Several processes at one study's run, and what one of them leaves to another."""

from typing import Any

import numpy as np
import pytest

from pipeline.tracking import together
from pipeline.tracking.records import alone, epoch_metrics
from pipeline.tracking.runs import StudyRun
from pipeline.tracking.together import Point
from pipeline.tracking.unsent import Unsent
from pipeline.tracking.updates import Metrics, Texts
from pipeline.tracking.writer import MetricWriter

NAMES: Any = {"experiment": "digits", "signature": "0a1b2c3d4e5f"}


def epoch(value: float) -> dict[str, float]:
    return epoch_metrics(["val_loss"], np.array([[value], [value + 1]]), 0.01)


def test_a_run_can_be_joined_once_it_is_open_and_is_left_open(store, open_study, writer):
    assert StudyRun.join(store, writer, **NAMES) is None
    study = open_study()
    joined = StudyRun.join(store, writer, **NAMES)
    assert joined is not None
    assert (joined.run_id, joined.experiment_id) == (study.run_id, study.experiment_id)
    joined.end("FAILED")
    assert store.client.get_run(study.run_id).info.status == "RUNNING"
    study.end("FINISHED")
    assert store.client.get_run(study.run_id).info.status == "FINISHED"


def test_what_two_processes_log_of_one_epoch_is_one_point(store, open_study, writer):
    """One that died, or seemed to, and the one that completes its run."""
    study = open_study()
    trial = study.start_trial(3, {})
    with MetricWriter(store.client, interval_secs=60) as slow:
        other = StudyRun.join(store, slow, **NAMES)
        assert other is not None
        at_work = other.start_trial(3, {}, run_id=trial.run_id)
        for n_epochs in (1, 2, 3):
            at_work.log_epoch(n_epochs, epoch(1.0 / n_epochs))
        for n_epochs, (timestamp_ms, metrics) in at_work.epochs.items():
            trial.log_epoch(n_epochs, metrics, timestamp_ms=timestamp_ms)
        study.flush()
    found = store.client.get_metric_history(trial.run_id, "val_loss_mean")
    assert [point.step for point in found] == [1, 2, 3]


def test_a_run_that_was_let_go_is_asked_for_what_others_logged_in_it(store, open_study, writer):
    """A trial that pauses goes from one process to the other and back: no epoch is there twice."""
    study = open_study()
    trial = study.start_trial(3, {})
    trial.log_epoch(1, epoch(1.0))
    study.let_go(trial.run_id)
    with MetricWriter(store.client, interval_secs=60) as slow:
        other = StudyRun.join(store, slow, **NAMES)
        assert other is not None
        again = other.start_trial(3, {}, run_id=trial.run_id)
        for n_epochs in (1, 2):
            again.log_epoch(n_epochs, epoch(1.0 / n_epochs))
        other.let_go(trial.run_id)
    back = study.start_trial(3, {}, run_id=trial.run_id)
    for n_epochs in (1, 2, 3):
        back.log_epoch(n_epochs, epoch(1.0 / n_epochs))
    study.flush()
    found = store.client.get_metric_history(trial.run_id, "val_loss_mean")
    assert [point.step for point in found] == [1, 2, 3]


def test_epochs_of_one_fold_that_a_process_stored_as_it_died_are_not_logged_again(
    store, open_study
):
    """Of what is written together all but the last epoch goes into the history first."""
    study = open_study(fold_alone=0)
    run_id = study.start_trial(3, {}).run_id
    metrics = alone(epoch(1.0), 0)
    stored = [Point(key, value, 5, n) for n in (1, 2) for key, value in metrics.items()]
    together._insert(together._database_of(store.client), run_id, stored)
    study.let_go(run_id)
    trial = study.start_trial(3, {}, run_id=run_id)
    for n_epochs in (1, 2, 3):
        trial.log_epoch(n_epochs, metrics)
    study.flush()
    found = store.client.get_metric_history(run_id, "fold_0/val_loss")
    assert [point.step for point in found] == [1, 2, 3]


def test_a_run_that_nobody_knows_of_is_ended(store, open_study, writer):
    study = open_study()
    known, unknown = (study.start_trial(number, {}).run_id for number in (1, 2))
    study.end_all_but([known])
    assert store.client.get_run(known).info.status == "RUNNING"
    assert store.client.get_run(unknown).info.status == "KILLED"


@pytest.fixture
def left(tmp_path):
    """Return a study's folder, in which a worker left something for a store that was away."""
    worker = Unsent.of_worker(tmp_path, "here")
    worker.write([Metrics("run", {"loss": 1.0}, 1, 5)])
    worker.note_refused([Texts("gone", {}, {})])
    return tmp_path


def test_what_a_worker_could_not_send_the_holder_adopts(left):
    holder = Unsent(left, "here")
    (adopted,) = holder.adopt()
    assert adopted == Metrics("run", {"loss": 1.0}, 1, 5)
    assert holder.adopt() == []
    holder.write([adopted])
    assert not list(left.glob("workers/*"))
    assert Unsent(left, "here").read() == [adopted]
    assert "gone" in (left / "refused.jsonl").read_text()


def test_what_is_for_another_store_stays(left):
    elsewhere = Unsent(left, "elsewhere")
    assert elsewhere.adopt() == []
    elsewhere.write([])
    assert len(Unsent(left, "here").adopt()) == 1
