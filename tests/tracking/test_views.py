import json

import numpy as np
import pytest

from pipeline.objective import Objective
from pipeline.tracking.records import epoch_metrics, trial_summary
from pipeline.tracking.views import VIEW_TAG, Views

ACCURACY = Objective("val_accuracy", "maximize")
TRIALS, LATEST = f"{VIEW_TAG}trials-val_loss", f"{VIEW_TAG}latest-val_loss"


@pytest.fixture
def views(objective):
    return Views(objective, n_folds=2)


def state_of(view):
    return json.loads(json.loads(view)["state"])


def tags_of(store, study):
    return store.client.get_experiment(study.experiment_id).tags


def test_the_columns_of_the_view_are_what_trials_log(trial_result, objective, views):
    metrics, tags = trial_summary(trial_result(), objective)
    view = views.of_experiment("1", now_ms=5)[TRIALS]
    assert (json.loads(view)["createdAt"], json.loads(view)["updatedAt"]) == (5, 5)
    state = state_of(view)
    there = {f"metrics.`{key}`" for key in metrics} | {f"tags.`{key}`" for key in tags}
    there |= {f"params.`{key}`" for key in trial_result().params}
    assert set(state["selectedColumns"]) <= there
    assert set(state["selectedColumns"]) < set(state["columnOrder"]) == set(state["columnWidths"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_val_loss`", True)


def test_the_charts_are_of_what_epochs_log_the_mean_before_the_folds(views):
    state = state_of(views.of_latest("abc", now_ms=0)[LATEST])
    there = set(epoch_metrics(["loss", "val_loss"], np.ones((2, 2)), 0.1))
    charts = [(each["metricSectionId"], each["metricKey"]) for each in state["compareRunCharts"]]
    assert {metric for _, metric in charts} <= there
    sections = [section["uuid"] for section in state["compareRunSections"]]
    assert sections == ["Mean over folds", "val_loss by fold"]
    assert charts[0] == ("Mean over folds", "val_loss_mean")
    assert [metric for section, metric in charts if section == sections[1]] == [
        "fold_0/val_loss", "fold_1/val_loss",
    ]  # fmt: skip


def test_a_view_of_many_folds_is_short_enough_for_every_store():
    views = Views(Objective("val_mean_absolute_percentage_error"), n_folds=100)
    assert all(len(tag) <= 5000 for tag in views.of_experiment("1", now_ms=10**12).values())
    assert all(len(tag) <= 5000 for tag in views.of_latest("a" * 32, now_ms=10**12).values())


def test_the_best_trial_is_first_in_either_direction():
    view = Views(ACCURACY, 2).of_experiment("1", now_ms=0)[f"{VIEW_TAG}trials-val_accuracy"]
    assert state_of(view)["orderByAsc"] is False


def test_a_view_of_all_searches_and_a_text_that_somebody_changed_stay(store, open_study, views):
    study = open_study(views=views)
    assert study.trials_url == (
        f"http://127.0.0.1:5000/#/experiments/{study.experiment_id}/runs"
        "?viewStateShareKey=latest-val_loss&workflowType=machine_learning"
    )
    assert study.trials_url.partition("/#/")[2] in tags_of(store, study)["mlflow.note.content"]
    for key in (TRIALS, "mlflow.note.content"):
        store.client.set_experiment_tag(study.experiment_id, key, "mine")
    open_study(views=views)
    assert {tags_of(store, study)[key] for key in (TRIALS, "mlflow.note.content")} == {"mine"}


def test_the_views_find_all_trials_and_those_of_the_latest_search(
    store, open_study, writer, trial_result, objective, views
):
    for number, signature in enumerate(("first", "second")):
        study = open_study(signature=signature, views=views)
        study.start_trial(number, {"learning_rate": 0.1}).end(trial_result(), objective)
        writer.flush()
    found = {
        name: store.client.search_runs(
            [study.experiment_id], state_of(tags_of(store, study)[name])["searchFilter"]
        )
        for name in (TRIALS, LATEST)
    }
    names = {name: sorted(run.info.run_name for run in runs) for name, runs in found.items()}
    assert names == {TRIALS: ["trial 000", "trial 001"], LATEST: ["trial 001"]}
