"""Searches whose metric needs whole folds' predictions, and whose folds are uneven."""

import json
import math

import numpy as np
import pytest

from pipeline import wording
from pipeline.errors import BadInput, Interrupted
from pipeline.search import search
from tests.tiny_study import StopAt, bits, client, runs_of, tiny

SCORED = """dict(
    scorers={"roc_auc": "roc_auc", "f": "f1_macro"}, objective=Objective("val_roc_auc"),
    test_size=15, budget=Budget(n_trials=2),
)"""

UNEVEN = """dict(
    splitter=__import__("sklearn.model_selection").model_selection.PredefinedSplit(
        [0] * 10 + [1] * 20 + [2] * 30
    ),
    objective=Objective(mean="rows"), budget=Budget(n_trials=1),
)"""


@pytest.mark.long
def test_a_scorer_is_searched_on_and_a_killed_search_goes_on_the_same(home, tmp_path_factory):
    whole = search(tiny(home, fields=SCORED))
    stopped = tiny(tmp_path_factory.mktemp("stopped"), fields=SCORED)
    with pytest.raises(Interrupted):
        search(stopped, display=StopAt(1, 2))
    assert bits(search(stopped)) == bits(whole)

    assert whole.spec.objective.direction == "maximize"
    best = max(whole.trials, key=lambda trial: -math.inf if trial.value is None else trial.value)
    assert whole.best.number == best.number
    assert best.training is None  # a scorer has no value on training rows
    _, trials = runs_of(home)
    logged = trials[best.number].data.metrics
    assert logged["best_val_roc_auc"] == pytest.approx(whole.best.value)
    assert {"fold_2/val_f", "val_f_mean", "val_roc_auc_mean"} <= logged.keys()
    decided = json.loads(whole.decision_path.read_text())
    scores = decided["refit"]["test_metrics"]
    assert scores.keys() == {"loss", "accuracy", "roc_auc", "f"}
    found = dict(wording.findings(whole))
    assert "roc_auc" in found["test rows"]

    validated = decided["validated"]
    assert validated.keys() == {"val_loss", "val_accuracy", "val_roc_auc", "val_f"}
    score = {"mean": decided["score"], "standard_error": decided["standard_error"]}
    assert validated["val_roc_auc"] == score
    history = client(home).get_metric_history(trials[best.number].info.run_id, "val_f_mean")
    at_choice = next(each for each in history if each.step == whole.choice.n_epochs)
    assert validated["val_f"]["mean"] == pytest.approx(at_choice.value)
    f, error = validated["val_f"].values()
    assert f"val_f {f:.4g} ± {error:.2g}" in found["other metrics"]
    assert search(tiny(home, fields=SCORED)).validated == whole.validated


def test_a_mean_over_rows_and_a_refit_by_updates_are_what_the_answer_says(home):
    result = search(tiny(home, fields=UNEVEN))
    curves, found = result.best.curves, dict(wording.findings(result))
    by_rows = np.average(curves.values, axis=0, weights=[10, 20, 30])
    np.testing.assert_allclose(curves.mean, by_rows)
    assert not np.allclose(by_rows, curves.values.mean(axis=0))
    assert found["val_loss"].split("  ")[1].startswith("over the rows of 3 fold(s) of 10–30 rows")
    assert found["all this about"] == "training on 30 to 50 rows, as the folds do, 40 on average"
    logged = runs_of(home)[1][0].data.metrics
    assert logged["val_loss_mean"] == pytest.approx(curves.mean[-1])
    # 4, 3 and 2 updates of 16 rows in an epoch; 4 in one of all 60 rows.
    assert result.refit.policy == "updates"
    assert result.refit.n_epochs == round(result.choice.n_epochs * 3 / 4)
    assert "as many as a fold had on average" in found["refit"]


def test_a_scorer_without_a_value_in_a_fold_is_refused_before_anything_is_written(home):
    fields = '{"scorers": ["roc_auc"], "splitter": KFold(60)}'
    with pytest.raises(BadInput, match=r"'roc_auc' must have a value on .* rows of fold 0"):
        search(tiny(home, fields=fields))
    assert not (home / "mlruns" / "studies").exists()
