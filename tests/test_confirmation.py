"""Trials that met again: arithmetic on hand-made scores."""

import json

import numpy as np
import pytest

from pipeline.confirmation import Confirmation, ConfirmedTrial, in_words
from pipeline.errors import BadInput
from pipeline.objective import Objective
from pipeline.uncertainty import VarianceComponents, difference_interval

# score = fold + seed: two splits of two folds each, three seeds, nothing left over
FOLDS = np.array([0.0, 2.0, 0.0, 2.0])
SEEDS = np.array([0.0, 0.5, 1.0])
ADDITIVE = 1.0 + SEEDS[:, None] + FOLDS


def met(*scores: np.ndarray, objective: Objective | None = None, **fields) -> Confirmation:
    """Return trials 7, 6, 5, … after 4 epochs."""
    trials = [ConfirmedTrial(7 - i, 4, 8, each) for i, each in enumerate(scores)]
    given = {"n_new_splits": 2, "n_repeats": 2, "validation_to_training": 1.0, **fields}
    return Confirmation(objective or Objective(), tuple(trials), **given)


def test_the_better_mean_wins_in_the_objectives_direction():
    assert met(ADDITIVE, ADDITIVE - 0.25).winner.number == 6
    accuracy = Objective("val_accuracy", "maximize")
    assert met(ADDITIVE, ADDITIVE - 0.25, objective=accuracy).winner.number == 7


def test_of_equals_the_better_one_of_the_search_wins():
    assert [trial.number for trial in met(ADDITIVE, ADDITIVE).ranked] == [7, 6]


def test_a_trial_that_diverged_cannot_win_and_is_named():
    diverged = np.where(ADDITIVE > 2, -np.inf, ADDITIVE)
    confirmation = met(diverged, ADDITIVE)
    assert confirmation.winner.number == 6
    assert confirmation.diverged == [7]
    assert in_words(confirmation)["diverged again"] == "trial 7"
    assert confirmation.n_fold_epochs == 2 * 12 * 4


def test_scatter_of_seeds_and_folds_is_told_apart():
    components = met(ADDITIVE).components
    assert components.seed.estimate == pytest.approx(0.25)  # variance of 0, ½, 1
    assert components.fold.estimate == pytest.approx(4 / 3)  # of 0, 2, 0, 2
    assert components.residual.estimate == pytest.approx(0.0, abs=1e-12)
    assert list(components.shares) == ["seed", "fold", "residual"]
    assert sum(components.shares.values()) == pytest.approx(1.0)
    assert "seed 16%, sd 0.5 (" in in_words(met(ADDITIVE))["of its variance"]


def test_a_negative_estimate_is_shown_as_zero():
    checkered = 1.0 + np.array([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, -1.0, 1.0]])
    components = met(checkered).components
    assert (components.seed.estimate, components.fold.estimate) == (0.0, 0.0)
    assert "seed 0%, sd 0 (0 to " in in_words(met(checkered))["of its variance"]


def test_where_nothing_varies_every_share_is_zero():
    components = VarianceComponents.of(np.ones((3, 4)))
    assert components.shares == {"seed": 0.0, "fold": 0.0, "residual": 0.0}


def test_a_runner_up_is_compared_fold_by_fold_with_seeds_averaged():
    difference = np.array([0.1, 0.3, 0.2, 0.4])
    # what the seeds add is the other way round: it must not matter
    worse = 1.0 + SEEDS[::-1, None] + FOLDS + difference
    (interval,) = met(worse, ADDITIVE).differences.values()
    expected = difference_interval(
        FOLDS + difference, FOLDS, validation_to_training=1.0, n_repeats=2
    )
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.low + interval.high == pytest.approx(2 * 0.25)


def test_one_fold_has_a_mean_but_no_components_and_no_intervals():
    confirmation = met(np.ones((3, 1)), np.full((3, 1), 2.0), n_new_splits=0, n_repeats=1)
    assert confirmation.components is None
    assert confirmation.differences == {6: None}
    lines = in_words(confirmation)
    assert "of its variance" not in lines
    assert lines["others, less it"] == "trial 6 +1"
    assert "the study's own 1 fold(s): its splitter has no others" in lines["confirmed"]


def test_it_is_plain_json_best_first():
    plain = json.loads(json.dumps(met(ADDITIVE + 1, ADDITIVE).as_plain(), allow_nan=False))
    assert (plain["winner"], plain["n_seeds"], plain["n_folds"]) == (6, 3, 4)
    assert [trial["trial"] for trial in plain["trials"]] == [6, 7]
    assert plain["trials"][0]["less_winner"] is None
    assert plain["trials"][1]["less_winner"]["low"] == pytest.approx(1.0)
    assert plain["variance"]["seed"]["interval"]["confidence"] == 0.95


def test_scores_of_other_seeds_or_folds_are_refused():
    with pytest.raises(BadInput, match=r"got \[\(2, 4\), \(3, 4\)\]"):
        met(ADDITIVE, ADDITIVE[:2])
    with pytest.raises(BadInput, match=r"must be \[n_seeds, n_folds\]"):
        ConfirmedTrial(0, 1, 1, np.ones(3))
