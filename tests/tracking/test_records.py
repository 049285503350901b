import math
import subprocess
import sys

import numpy as np
import pytest

from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.results import Outcome
from pipeline.tracking.records import (
    EPOCH_MARK,
    changed_params,
    epoch_metrics,
    status_of,
    storable_key,
    storable_text,
    trial_summary,
)


def test_an_epoch_has_every_fold_their_mean_and_its_standard_error():
    values = np.array([[1.0, 0.5], [2.0, 0.7], [6.0, 0.9]])
    metrics = epoch_metrics(["val_loss", "val_accuracy"], values, 0.01)
    assert metrics == pytest.approx(
        {
            "fold_0/val_loss": 1.0,
            "fold_0/val_accuracy": 0.5,
            "fold_1/val_loss": 2.0,
            "fold_1/val_accuracy": 0.7,
            "fold_2/val_loss": 6.0,
            "fold_2/val_accuracy": 0.9,
            "val_loss_mean": 3.0,
            "val_loss_standard_error": math.sqrt(7.0 / 3),  # variance (4 + 1 + 9) / 2 of 3 folds
            "val_accuracy_mean": 0.7,
            "val_accuracy_standard_error": 0.2 / math.sqrt(3),
            "learning_rate": 0.01,
        }
    )


def test_one_fold_has_no_standard_error():
    metrics = epoch_metrics(["val_loss"], np.array([[1.0]]), 0.01)
    assert list(metrics) == ["fold_0/val_loss", "val_loss_mean", "learning_rate"]


def test_the_mark_of_a_whole_epoch_is_its_last_metric():
    # An epoch too large for one call is written in order: the mark says that all of it is there.
    assert list(epoch_metrics(["val_loss"], np.ones((5, 1)), 0.01))[-1] == EPOCH_MARK


def test_folds_that_were_added_late_keep_their_numbers():
    metrics = epoch_metrics(["val_loss"], np.array([[1.0], [2.0]]), 0.01, folds=[3, 1])
    assert metrics["fold_3/val_loss"] == 1.0
    assert metrics["fold_1/val_loss"] == 2.0
    assert "fold_0/val_loss" not in metrics


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_nan(value):
    metrics = epoch_metrics(["val_loss"], np.array([[1.0], [value]]), value)
    assert metrics["fold_0/val_loss"] == 1.0
    for key in ("fold_1/val_loss", "val_loss_mean", "val_loss_standard_error", "learning_rate"):
        assert math.isnan(metrics[key]), key


@pytest.mark.parametrize("shape", [(2, 3), (2,), (0, 2)])
def test_values_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="values must be"):
        epoch_metrics(["val_loss", "val_accuracy"], np.ones(shape), 0.01)


def test_metric_names_that_mlflow_refuses_are_mended():
    metrics = epoch_metrics(["val_top@5 (macro)"], np.array([[1.0]]), 0.01)
    assert "fold_0/val_top_5 _macro_" in metrics
    assert storable_key("a/b:c") == "a_b_c"


def test_a_completed_trial_has_its_best_and_what_it_cost(trial_result, objective):
    metrics, tags = trial_summary(trial_result(), objective)
    assert metrics == pytest.approx(
        {
            "best_val_loss": 1.5,
            "best_val_loss_standard_error": 0.5,
            "best_n_epochs": 2,
            "trained_epochs": 3,
            "fold_epochs": 6,
            "updates": 60,
            "seconds": 1.5,
        }
    )
    assert tags["outcome"] == "completed"
    assert tags["trial"] == "7"
    assert tags["reason"] == Outcome.COMPLETED.value


def test_a_trial_is_tagged_with_its_diagnosis_if_it_has_one(trial_result, objective):
    falling = FoldCurves(np.array([np.linspace(2, 1, 20)] * 3), objective)
    for changes, label in (
        ({"curves": falling}, "underfit"),
        ({"outcome": Outcome.FAILED, "diverged": True}, "diverged"),
        ({"outcome": Outcome.FAILED, "curves": None}, None),
    ):
        assert trial_summary(trial_result(**changes), objective)[1].get("diagnosis") == label


def test_the_best_of_a_maximised_metric_is_its_largest(trial_result):
    objective = Objective("val_accuracy", "maximize")
    curves = FoldCurves(np.array([[0.1, 0.2, 0.9, 0.3]]), objective)
    metrics, _ = trial_summary(trial_result(curves=curves), objective)
    assert metrics["best_val_accuracy"] == 0.9
    assert metrics["best_n_epochs"] == 3
    assert "best_val_accuracy_standard_error" not in metrics


@pytest.mark.parametrize("outcome", [Outcome.PRUNED, Outcome.FAILED, Outcome.INTERRUPTED])
def test_a_trial_without_a_value_has_no_best_but_what_it_trained(trial_result, objective, outcome):
    metrics, tags = trial_summary(trial_result(outcome, reason="because"), objective)
    assert not [key for key in metrics if key.startswith("best_")]
    assert metrics["trained_epochs"] == 3
    assert metrics["fold_epochs"] == 6
    assert (tags["outcome"], tags["reason"]) == (outcome.label, "because")


def test_a_trial_that_failed_at_once_trained_nothing(trial_result, objective):
    metrics, _ = trial_summary(trial_result(Outcome.FAILED, curves=None, n_updates=0), objective)
    assert metrics == {"trained_epochs": 0, "fold_epochs": 0, "updates": 0, "seconds": 1.5}


def test_every_outcome_has_a_status():
    assert {outcome.name: status_of(outcome) for outcome in Outcome} == {
        "COMPLETED": "FINISHED",
        "STOPPED_EARLY": "FINISHED",
        "PRUNED": "FINISHED",
        "FAILED": "FAILED",
        "INTERRUPTED": "KILLED",
        "PAUSED": "SCHEDULED",
    }


def test_a_text_that_is_too_long_shows_its_cut():
    assert storable_text("abc", 3) == "abc"
    assert storable_text("abcd", 3) == "ab…"


def test_only_parameters_with_another_value_have_changed():
    assert changed_params({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == {"b": "3"}


def test_records_and_provenance_do_not_import_mlflow():
    code = (
        "import sys, pipeline.tracking.records, pipeline.tracking.provenance, "
        "pipeline.tracking.store, pipeline.tracking.writer, pipeline.tracking.runs; "
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
