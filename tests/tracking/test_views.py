import json

from pipeline.objective import Objective
from pipeline.tracking.records import trial_summary
from pipeline.tracking.views import VIEW_TAG, experiment_tags

ACCURACY = Objective("val_accuracy", "maximize")


def test_the_columns_of_the_view_are_what_trials_log(trial_result, objective):
    metrics, tags = trial_summary(trial_result(), objective)
    params = trial_result().params
    view = json.loads(experiment_tags(objective, now_ms=5)[f"{VIEW_TAG}trials-val_loss"])
    assert (view["createdAt"], view["updatedAt"]) == (5, 5)
    state = json.loads(view["state"])
    there = {f"metrics.`{key}`" for key in metrics} | {f"params.`{key}`" for key in params}
    assert set(state["selectedColumns"]) <= there | {f"tags.`{key}`" for key in tags}
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_val_loss`", True)


def test_the_best_trial_is_first_in_either_direction():
    view = json.loads(experiment_tags(ACCURACY, now_ms=0)[f"{VIEW_TAG}trials-val_accuracy"])
    assert json.loads(view["state"])["orderByAsc"] is False


def test_a_view_that_somebody_changed_stays(store, open_study, objective):
    tags = experiment_tags(objective, now_ms=0)
    study = open_study(experiment_tags=tags)
    key = f"{VIEW_TAG}trials-val_loss"
    assert store.client.get_experiment(study.experiment_id).tags[key] == tags[key]
    store.client.set_experiment_tag(study.experiment_id, key, "mine")
    open_study(experiment_tags=tags)
    assert store.client.get_experiment(study.experiment_id).tags[key] == "mine"


def test_the_filter_of_the_view_finds_trials_alone(
    store, open_study, writer, trial_result, objective
):
    study = open_study(experiment_tags=experiment_tags(objective, now_ms=0))
    study.start_trial(7, {"learning_rate": 0.1}).end(trial_result(), objective)
    writer.flush()
    view = store.client.get_experiment(study.experiment_id).tags[f"{VIEW_TAG}trials-val_loss"]
    state = json.loads(json.loads(view)["state"])
    found = store.client.search_runs([study.experiment_id], state["searchFilter"])
    assert [run.data.tags["trial"] for run in found] == ["7"]
