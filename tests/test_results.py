import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.choice import BestOfMean
from pipeline.curves import FoldCurves
from pipeline.diagnosis import Diagnosis, Fit
from pipeline.objective import Objective
from pipeline.results import Evidence, Outcome, RefitResult, StudyResult, TrialResult
from pipeline.spec import StudySpec

CURVES = FoldCurves(np.array([[3.0, 1.0, 2.0], [3.0, 2.0, 4.0]]), Objective())


def trial(outcome: Outcome, curves: FoldCurves | None = CURVES, **fields: Any) -> TrialResult:
    return TrialResult(
        number=4,
        params={"learning_rate": 0.1, "max_epochs": 20},
        outcome=outcome,
        curves=curves,
        seconds=1.0,
        n_updates=6,
        **fields,
    )


def study(best: TrialResult, refit: RefitResult | None = None) -> StudyResult:
    spec = StudySpec(
        load_data=lambda: None,
        build_model=lambda params: params,
        space={"learning_rate": 0.1, "max_epochs": 20},
    )
    return StudyResult(
        spec=spec,
        signature="0" * 12,
        trials=(best,),
        best=best,
        choice=BestOfMean().choose(CURVES, 20),
        evidence=Evidence((2,), None, None, None, None, None, 80),
        open_end="",
        n_extra_fold_epochs=0,
        n_extra_updates=0,
        fold_models="",
        refit=refit,
        decision_path=Path("decision.json"),
        run_url="",
        ui_command="mlflow ui",
    )


@pytest.mark.parametrize(
    ("outcome", "value"),
    [
        (Outcome.COMPLETED, 1.5),
        (Outcome.STOPPED_EARLY, 1.5),
        (Outcome.PRUNED, None),
        (Outcome.FAILED, None),
        (Outcome.INTERRUPTED, None),
        (Outcome.PAUSED, None),
    ],
)
def test_a_trial_has_a_value_if_and_only_if_it_was_completed_or_stopped_early(outcome, value):
    assert trial(outcome).value == value
    assert outcome.has_value == (value is not None)


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_trial_without_a_value_may_lack_curves(outcome):
    if outcome.has_value:
        with pytest.raises(ValueError, match=f"trial 4 is {outcome.label} but has no curves"):
            trial(outcome, curves=None)
    else:
        assert trial(outcome, curves=None).n_fold_epochs == 0


def test_a_trial_counts_its_epochs_and_knows_its_horizon():
    assert trial(Outcome.PRUNED).n_fold_epochs == 6
    assert trial(Outcome.PRUNED).horizon == 20


def test_training_is_as_long_as_the_curves():
    assert trial(Outcome.COMPLETED, training=np.ones(3)).training.shape == (3,)
    with pytest.raises(ValueError, match=r"training must be \[3 epochs\].*got shape \(2,\)"):
        trial(Outcome.COMPLETED, training=np.ones(2))
    with pytest.raises(ValueError, match=r"training must be \[0 epochs\]"):
        trial(Outcome.FAILED, curves=None, training=np.ones(2))


def test_only_a_failed_trial_can_have_diverged():
    assert trial(Outcome.FAILED, diverged=True).diagnosis == Diagnosis(Fit.DIVERGED)
    with pytest.raises(ValueError, match="trial 4 diverged, but is pruned"):
        trial(Outcome.PRUNED, diverged=True)


def test_a_trial_is_diagnosed_from_its_curves_if_it_has_any():
    curves = trial(Outcome.COMPLETED, training=np.array([3.0, 1.0, 0.5])).diagnosis
    assert (curves.gap, curves.gap_at_end) == (0.5, 2.5)
    assert trial(Outcome.FAILED, curves=None).diagnosis is None


def test_outcomes_are_labelled_in_words():
    assert [outcome.label for outcome in Outcome] == [
        "completed",
        "stopped early",
        "pruned",
        "failed",
        "interrupted",
        "paused",
    ]
    assert all(" " in outcome.value or outcome is Outcome.FAILED for outcome in Outcome)


def test_the_best_trial_has_a_value():
    assert study(trial(Outcome.COMPLETED)).best.value == 1.5
    with pytest.raises(ValueError, match="best must have a value, trial 4 has none"):
        study(trial(Outcome.PRUNED))


def test_results_without_equality_do_not_compare_arrays():
    one: Any = trial(Outcome.COMPLETED)
    assert one == one
    assert one != trial(Outcome.COMPLETED)


def test_an_annealed_trial_counts_at_its_last_epoch():
    free, whole = trial(Outcome.COMPLETED), replace(trial(Outcome.COMPLETED), any_epoch=False)
    assert (free.best_n_epochs, free.value) == (2, 1.5)
    assert (whole.best_n_epochs, whole.value) == (3, 3.0)
    assert trial(Outcome.PRUNED).best_n_epochs is None


def test_a_trial_comes_back_from_plain_values():
    before = trial(Outcome.COMPLETED, training=np.array([3.0, 2.0, 1.0]))
    plain = json.loads(json.dumps(before.as_plain()))
    after = TrialResult.of_plain(4, before.params, plain, study(before).spec)
    assert after.as_plain() == plain
    assert (after.value, after.any_epoch) == (before.value, True)
