import math
import time
from dataclasses import replace

import numpy as np
import pytest

from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.results import Outcome
from pipeline.tracking.records import epoch_metrics
from pipeline.tracking.runs import StudyRun
from pipeline.tracking.unsent import Unsent
from pipeline.tracking.updates import LOCAL, LOCAL_ID_TAG, NewRun
from pipeline.tracking.writer import MetricWriter


def _epoch(value: float) -> dict[str, float]:
    return epoch_metrics(["val_loss"], np.array([[value], [value + 1]]), 0.01)


def _steps(store, run_id: str, key: str = "val_loss_mean") -> list[int]:
    return [point.step for point in store.client.get_metric_history(run_id, key)]


def test_a_study_is_an_experiment_and_a_run_with_its_signature(store, open_study, home):
    study = open_study()
    run = store.client.get_run(study.run_id)
    experiment = store.client.get_experiment(run.info.experiment_id)
    assert experiment.name == "digits"
    assert experiment.experiment_id != "0"
    assert experiment.artifact_location == str(home / "mlruns" / "artifacts")
    assert run.info.run_name == "digits 0a1b2c3d4e5f"
    assert run.info.status == "RUNNING"
    assert run.data.params == {"seed": "0", "budget": "Budget(n_trials=2)"}
    assert run.data.tags["pipeline.signature"] == "0a1b2c3d4e5f"
    assert run.data.tags["git.commit"] == "abc"
    assert run.data.tags["mlflow.user"]
    assert run.data.tags["mlflow.source.name"]
    assert study.mended == 0
    assert study.url == (
        f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs/{study.run_id}"
        "?workflowType=machine_learning"
    )
    assert study.trials_url == ""


def test_the_same_signature_continues_its_run(store, open_study):
    first = open_study()
    first.end("KILLED")
    assert store.client.get_run(first.run_id).info.status == "KILLED"
    second = open_study(tags={"git.commit": "def"})
    assert second.run_id == first.run_id
    run = store.client.get_run(first.run_id)
    assert run.info.status == "RUNNING"
    assert run.data.tags["git.commit"] == "def"


def test_another_signature_is_another_run_of_the_same_experiment(open_study):
    first, second = open_study(), open_study(signature="ffffffffffff")
    assert first.experiment_id == second.experiment_id
    assert first.run_id != second.run_id


def test_a_parameter_that_changed_between_sessions_becomes_a_tag(store, open_study):
    study = open_study()
    open_study(params={"seed": "0", "budget": "Budget(n_trials=9)", "rule": "BestOfMean()"})
    run = store.client.get_run(study.run_id)
    assert run.data.params["budget"] == "Budget(n_trials=2)"
    assert run.data.params["rule"] == "BestOfMean()"
    latest = {k: v for k, v in run.data.tags.items() if k.startswith("latest.")}
    assert latest == {"latest.budget": "Budget(n_trials=9)"}

    # Back to the first value: the tag must not keep the second.
    open_study()
    assert store.client.get_run(study.run_id).data.tags["latest.budget"] == "Budget(n_trials=2)"


def test_many_and_long_parameters_are_stored_and_recognised(store, open_study):
    params = {f"space.x{i}": "1" for i in range(150)} | {"layers (dense)": "1", "long": "x" * 9000}
    study = open_study(params=params)
    open_study(params=params)
    run = store.client.get_run(study.run_id)
    assert len(run.data.params) == 152
    assert run.data.params["layers _dense_"] == "1"
    assert len(run.data.params["long"]) == 6000
    assert not [key for key in run.data.tags if key.startswith("latest.")]


def test_a_deleted_experiment_is_a_clear_error(store, open_study):
    study = open_study()
    store.client.delete_experiment(study.experiment_id)
    with pytest.raises(BadInput, match=f"restore --experiment-id {study.experiment_id}"):
        open_study()


def test_a_deleted_run_is_begun_anew(store, open_study):
    study = open_study()
    store.client.delete_run(study.run_id)
    assert open_study().run_id != study.run_id


def test_mlflows_default_experiment_is_not_used(open_study):
    with pytest.raises(BadInput, match="a name of its own"):
        open_study(experiment="Default")


def test_trials_that_a_dead_process_left_running_are_mended(store, open_study, writer):
    study = open_study()
    trials = [study.start_trial(number, {}) for number in range(3)]
    other = open_study(signature="ffffffffffff").start_trial(0, {})
    writer.flush()
    continued = open_study(keep_running=[trials[1].run_id])
    assert continued.mended == 2
    statuses = [store.client.get_run(trial.run_id).info.status for trial in trials]
    assert statuses == ["KILLED", "RUNNING", "KILLED"]
    assert "died" in store.client.get_run(trials[0].run_id).data.tags["reason"]
    assert store.client.get_run(other.run_id).info.status == "RUNNING"
    assert open_study(keep_running=[trials[1].run_id]).mended == 0


def test_mending_reads_every_page(store, open_study, monkeypatch):
    study = open_study()
    for number in range(5):
        study.start_trial(number, {})
    search = type(store.client).search_runs
    monkeypatch.setattr(
        type(store.client),
        "search_runs",
        lambda self, *args, **kwargs: search(self, *args, **{**kwargs, "max_results": 2}),
    )
    assert open_study().mended == 5


def test_a_trial_is_a_child_with_its_parameters_epochs_and_end(
    store, open_study, writer, trial_result, objective
):
    study = open_study()
    trial = study.start_trial(7, {"learning_rate": 0.01, "units": 64, "bias": True})
    for n_epochs in (1, 2, 3):
        trial.log_epoch(n_epochs, _epoch(4.0 - n_epochs))
    trial.end(trial_result(), objective)
    writer.flush()
    run = store.client.get_run(trial.run_id)
    assert run.info.run_name == "trial 007"
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert run.data.tags["mlflow.parentRunId"] == study.run_id
    assert run.data.tags["outcome"] == "completed"
    assert run.data.tags["trial"] == "7"
    assert run.data.tags["mlflow.user"]
    assert run.data.params == {"learning_rate": "0.01", "units": "64", "bias": "True"}
    assert run.data.metrics["best_val_loss"] == 1.5
    assert run.data.metrics["trained_epochs"] == 3
    assert run.data.metrics["fold_1/val_loss"] == 2.0
    assert _steps(store, trial.run_id) == [1, 2, 3]
    assert _steps(store, trial.run_id, "learning_rate") == [1, 2, 3]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(Outcome.PRUNED, "FINISHED"), (Outcome.FAILED, "FAILED"), (Outcome.INTERRUPTED, "KILLED")],
)
def test_the_status_follows_the_outcome(
    store, open_study, writer, trial_result, objective, outcome, status
):
    trial = open_study().start_trial(0, {})
    trial.end(trial_result(outcome), objective)
    writer.flush()
    assert store.client.get_run(trial.run_id).info.status == status


def test_the_end_of_a_trial_is_when_it_ended(
    store, writer, open_study, trial_result, objective, monkeypatch
):
    trial = open_study().start_trial(0, {})
    terminate, hold = store.client.set_terminated, [True]

    def late(*arguments: object) -> None:
        if hold:
            hold.clear()
            raise ConnectionError
        terminate(*arguments)

    monkeypatch.setattr(store.client, "set_terminated", late)
    trial.end(trial_result(), objective)
    ended = int(time.time() * 1000)
    writer.flush()
    assert store.client.get_run(trial.run_id).info.end_time <= ended


def test_a_resumed_trial_logs_no_epoch_twice(store, open_study, writer, trial_result, objective):
    trial = open_study().start_trial(0, {"learning_rate": 0.1})
    for n_epochs in (1, 2, 3):
        trial.log_epoch(n_epochs, _epoch(1.0))
    trial.end(trial_result(Outcome.INTERRUPTED), objective)
    writer.flush()

    # Another process: it knows only the run's id, and its snapshot is two epochs behind.
    with MetricWriter(store.client) as second_writer:
        study = StudyRun.open(
            store, second_writer, experiment="digits", signature="0a1b2c3d4e5f", tags={}, params={}
        )
        resumed = study.start_trial(0, {"learning_rate": 0.1}, run_id=trial.run_id)
        assert resumed.run_id == trial.run_id
        assert resumed.last_epoch == 3
        second_writer.flush()
        assert store.client.get_run(trial.run_id).info.status == "RUNNING"
        for n_epochs in (2, 3, 4):
            resumed.log_epoch(n_epochs, _epoch(1.0))
        resumed.end(trial_result(), objective)
    assert _steps(store, trial.run_id) == [1, 2, 3, 4]
    assert store.client.get_run(trial.run_id).info.status == "FINISHED"


def test_a_trial_resumed_before_its_end_is_written_ends_running(
    store, open_study, writer, trial_result, objective
):
    study = open_study()
    trial = study.start_trial(0, {})
    trial.log_epoch(1, _epoch(1.0))
    trial.end(trial_result(Outcome.INTERRUPTED), objective)
    again = study.start_trial(0, {}, run_id=trial.run_id)
    again.log_epoch(1, _epoch(9.0))
    again.log_epoch(2, _epoch(1.0))
    writer.flush()
    assert store.client.get_run(trial.run_id).info.status == "RUNNING"
    assert _steps(store, trial.run_id) == [1, 2]


def test_the_last_summary_is_the_one_shown(store, open_study, writer, trial_result, objective):
    """A trial interrupted at epoch 3 and resumed from an older snapshot may end at epoch 1."""
    study = open_study()
    trial = study.start_trial(0, {})
    trial.end(trial_result(Outcome.INTERRUPTED, n_updates=60), objective)
    writer.flush()
    time.sleep(0.002)
    study.start_trial(0, {}, run_id=trial.run_id).end(
        trial_result(Outcome.PRUNED, n_updates=20, curves=FoldCurves(np.ones((2, 1)), objective)),
        objective,
    )
    writer.flush()
    assert store.client.get_run(trial.run_id).data.metrics["updates"] == 20


@pytest.mark.parametrize("deleted", [True, False])
def test_a_trial_whose_run_is_gone_gets_a_new_one(store, open_study, writer, deleted):
    run_id = "0" * 32
    if deleted:
        run_id = open_study().start_trial(0, {}).run_id
        writer.flush()
        store.client.delete_run(run_id)
    trial = open_study().start_trial(0, {"a": 1}, run_id=run_id)
    assert trial.run_id != run_id
    writer.flush()
    assert store.client.get_run(trial.run_id).data.params == {"a": "1"}


def test_what_is_not_finite_is_stored_as_nan(store, open_study):
    study = open_study()
    study.log_metrics({"score": math.inf})
    study.end("FINISHED")
    assert math.isnan(store.client.get_run(study.run_id).data.metrics["score"])


def test_the_end_of_a_study_writes_everything_first(store, open_study):
    study = open_study()
    trial = study.start_trial(0, {})
    trial.log_epoch(1, _epoch(1.0))
    study.set_tags({"chosen": "trial 0, " + "x" * 9000})
    study.log_metrics({"chosen_n_epochs": 1})
    study.end("FAILED")
    run = store.client.get_run(study.run_id)
    assert run.info.status == "FAILED"
    assert len(run.data.tags["chosen"]) == 8000
    assert run.data.metrics["chosen_n_epochs"] == 1
    assert _steps(store, trial.run_id) == [1]


def test_artifacts_lie_under_the_projects_store(store, open_study, home, tmp_path):
    study = open_study()
    (tmp_path / "decision.json").write_text("{}")
    study.log_artifact(tmp_path / "decision.json", "report")
    folder = home / "mlruns" / "artifacts" / study.run_id / "artifacts"
    assert (folder / "report" / "decision.json").read_text() == "{}"


def test_an_artifact_that_is_missing_is_a_readable_error(open_study, tmp_path):
    with pytest.raises(StoreUnavailable, match=r"decision\.json cannot be stored in sqlite"):
        open_study().log_artifact(tmp_path / "decision.json")


@pytest.mark.parametrize("kind", ["array", "frame"])
def test_the_data_set_is_named_and_fingerprinted(store, open_study, kind):
    x = np.arange(12.0).reshape(4, 3)
    if kind == "frame":
        import pandas as pd

        x = pd.DataFrame(x, columns=["a", "b", "c"])
    study = open_study()
    for _ in range(2):  # Each session logs it.
        study.log_dataset(x, np.array([0, 1, 0, 1]), name="digits", fingerprint="ab" * 32)
    study.writer.flush()
    (entry,) = store.client.get_run(study.run_id).inputs.dataset_inputs
    assert entry.dataset.name == "digits"
    assert entry.dataset.digest == "ab" * 6
    assert '"features_shape": [4, 3]' in entry.dataset.profile
    tags = {tag.key: tag.value for tag in entry.tags}
    assert tags == {"mlflow.data.context": "development", "fingerprint": "ab" * 32}


def test_a_store_that_fails_at_the_start_of_a_trial_is_a_readable_error(
    store, open_study, monkeypatch
):
    from mlflow.exceptions import MlflowException

    study = open_study()

    def fail(*_: object, **__: object) -> None:
        raise MlflowException("http://ann:hunter2@host is away")

    monkeypatch.setattr(type(store.client), "create_run", fail)
    with pytest.raises(StoreUnavailable, match=r"trial 3 .*ann:\*\*\*@host is away"):
        study.start_trial(3, {})


def test_an_experiment_that_another_process_made_meanwhile_is_used(store, open_study, monkeypatch):
    kind = type(store.client)
    look_up = kind.get_experiment_by_name
    answers = iter([None])
    monkeypatch.setattr(
        kind, "get_experiment_by_name", lambda self, name: next(answers, look_up(self, name))
    )
    experiment_id = store.client.create_experiment("digits", store.artifact_location)
    assert open_study().experiment_id == experiment_id


def test_runs_that_pause_or_were_interrupted_have_not_ended(open_study, trial_result, objective):
    """Another process may have gone on with them, and MLflow not know yet."""
    study, left = open_study(), set()
    ends = (Outcome.COMPLETED, Outcome.FAILED, Outcome.PAUSED, Outcome.INTERRUPTED, None)
    for number, outcome in enumerate(ends):
        trial = study.start_trial(number, {})
        if outcome is not None:
            trial.end(trial_result(outcome), objective)
        if outcome in (Outcome.COMPLETED, Outcome.FAILED):
            ended = trial.run_id
        else:
            left.add(trial.run_id)
    study.flush()
    assert study.unended([*left, ended]) == left
    client = study.store.client
    left = {client.get_run(each).data.tags[LOCAL_ID_TAG] for each in left}
    assert study.unended([*left, ended]) == left  # by their local ids


def test_a_run_that_a_dead_process_did_not_create_is_created_once(store, open_study):
    """The store was away when its trial ended. Were the process alive, it would send the same."""
    study, local_id = open_study(), f"{LOCAL}0"
    queued = NewRun(local_id, study.experiment_id, "trial 000", {"trial": "0"}, 1)
    assert study.unended([local_id]) == {local_id}
    run_id = study.start_trial(0, {}, run_id=local_id).run_id
    assert queued.send(store.client, local_id) == run_id
    study.end_all_but([])
    assert study.unended([local_id]) == {local_id}  # it was killed
    store.client.delete_run(run_id)
    assert not study.unended([local_id])  # whoever deleted it does not want it back


def test_a_run_that_is_known_by_its_local_id_is_not_taken_for_a_dead_ones(store, open_study):
    """Another node noted it with Optuna while the store was away, and sends it now."""
    study = open_study()
    client = store.client
    ids = [study.start_trial(number, {}).run_id for number in (0, 1)]
    local_id = client.get_run(ids[0]).data.tags[LOCAL_ID_TAG]
    study.end_all_but([local_id])
    assert [client.get_run(each).info.status for each in ids] == ["RUNNING", "KILLED"]


def test_another_nodes_run_goes_on_while_the_store_is_away(store, open_study, tmp_path):
    """The winner was trained there. It has one run, and each epoch once."""
    with MetricWriter(store.client, unsent=Unsent(tmp_path, store.address)) as writer:
        there = replace(open_study(), writer=writer)
        run_id = log_epochs(there.start_trial(0, {}), 1, 2)
        there.flush()
        here = replace(there, _trials={})
        writer.is_away = True
        assert log_epochs(here.start_trial(0, {}, run_id=run_id, n_logged=2), 1, 2, 3) == run_id
    history = store.client.get_metric_history(run_id, "val_loss_mean")
    assert [point.step for point in history] == [1, 2, 3]


def log_epochs(trial, *numbers):
    for number in numbers:
        trial.log_epoch(number, epoch_metrics(["val_loss"], np.array([[1.0]]), 0.01))
    return trial.run_id
