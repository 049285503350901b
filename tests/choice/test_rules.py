"""One contract for every rule in RULES, on hand-made curves; then what each rule is for.

Values are dyadic, so that means, shifts and scalings are exact.
"""

import dataclasses

import numpy as np
import pytest

from pipeline.choice import (
    RULES,
    BestOfMean,
    Fixed,
    Grid,
    MedianOfFoldBests,
    OneStandardError,
    PairedOneStandardError,
    PatientBest,
    Plateau,
    Rule,
    SmoothedMean,
    rule_named,
)
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput
from pipeline.objective import Objective

LOSS = Objective()
ACCURACY = Objective("val_accuracy", "maximize")
NEEDS_A_STANDARD_ERROR = {"one-standard-error", "paired-one-standard-error"}

# Every rule, with arguments that apply to curves of one epoch as well.
INSTANCES: dict[str, Rule] = {
    **{name: kind() for name, kind in RULES.items() if name not in ("fixed", "grid")},
    "fixed": Fixed(1),
    "grid": Grid((1, 2, 4, 8)),
}
LOOKS_FOR_THE_BEST = ("best", "one-standard-error", "paired-one-standard-error")

every_rule = pytest.mark.parametrize("rule", INSTANCES.values(), ids=list(INSTANCES))
best_seeking_rule = pytest.mark.parametrize(
    "rule", [INSTANCES[name] for name in LOOKS_FOR_THE_BEST], ids=LOOKS_FOR_THE_BEST
)


def curves_around(mean: list[float], spread: float, objective: Objective = LOSS) -> FoldCurves:
    """Return two folds at mean ± spread: the standard error is `spread` at every epoch."""
    middle = np.array(mean)
    return FoldCurves(np.stack([middle - spread, middle + spread]), objective)


def noisy(seed: int) -> np.ndarray:
    """Return a U-shaped curve of four folds in steps of 1/64, [4, 24]."""
    epochs = np.arange(24.0)
    rng = np.random.default_rng(seed)
    values = (epochs - 12) ** 2 / 64 + rng.normal(0, 0.5, (4, 24))
    return np.round(values * 64) / 64


def test_rules_are_listed_under_their_names():
    assert all(RULES[name].name == name for name in RULES)
    assert set(RULES) == set(INSTANCES)


@every_rule
@pytest.mark.parametrize("seed", range(5))
def test_choice_lies_in_the_trained_epochs_and_describes_them(rule: Rule, seed: int):
    curves = FoldCurves(noisy(seed), LOSS)
    choice = rule.choose(curves, horizon=100)
    assert 1 <= choice.n_epochs <= curves.n_epochs
    assert choice.horizon == 100
    assert choice.rule == rule.name
    assert choice.reason
    assert choice.score == curves.mean[choice.n_epochs - 1]
    assert choice.standard_error == curves.standard_error_after(choice.n_epochs)


@every_rule
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_flat_curve_chooses_the_first_epoch(rule: Rule, spread: float):
    choice = rule.choose(curves_around([2.0] * 6, spread), horizon=6)
    assert choice.n_epochs == 1


@best_seeking_rule
def test_first_of_equal_bests_is_chosen(rule: Rule):
    assert rule.choose(curves_around([3.0, 1.0, 2.0, 1.0], 0.0), 4).n_epochs == 2


@best_seeking_rule
def test_last_epoch_can_be_chosen(rule: Rule):
    choice = rule.choose(curves_around([4.0, 3.0, 2.0, 1.0], 0.25), horizon=4)
    assert choice.n_epochs == 4


@every_rule
def test_one_epoch_is_the_choice(rule: Rule):
    assert rule.choose(curves_around([2.0], 0.5), horizon=1).n_epochs == 1


@every_rule
def test_one_fold_is_answered_without_an_error_bar_or_refused(rule: Rule):
    curves = FoldCurves(np.array([[3.0, 1.0, 2.0]]), LOSS)
    if rule.name in NEEDS_A_STANDARD_ERROR:
        with pytest.raises(BadInput, match=f"'{rule.name}' needs at least 2 folds.*got 1"):
            rule.choose(curves, 3)
    else:
        assert rule.choose(curves, 3).standard_error is None


@every_rule
@pytest.mark.parametrize("seed", range(5))
def test_maximising_is_minimising_mirrored(rule: Rule, seed: int):
    values = noisy(seed)
    down = rule.choose(FoldCurves(values, LOSS), 24)
    up = rule.choose(FoldCurves(-values, ACCURACY), 24)
    assert up.n_epochs == down.n_epochs
    assert (up.score, up.standard_error) == (-down.score, down.standard_error)


@every_rule
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 8.0), (1.0, -32.0), (4.0, 0.0), (0.125, 0.0)])
def test_choice_does_not_depend_on_the_metrics_origin_or_unit(rule, seed, scale, shift):
    values = noisy(seed)
    before = rule.choose(FoldCurves(values, LOSS), 24)
    after = rule.choose(FoldCurves(values * scale + shift, LOSS), 24)
    assert after.n_epochs == before.n_epochs


@every_rule
@pytest.mark.parametrize("seed", range(5))
def test_choice_does_not_depend_on_the_order_of_folds(rule: Rule, seed: int):
    values = noisy(seed)
    before = rule.choose(FoldCurves(values, LOSS), 24)
    after = rule.choose(FoldCurves(values[::-1], LOSS), 24)
    assert after.n_epochs == before.n_epochs


def test_best_takes_the_minimum_of_the_mean_not_the_mean_of_the_minima():
    curves = FoldCurves(np.array([[0.0, 2.0, 2.0, 4.0], [8.0, 8.0, 5.0, 4.0]]), LOSS)
    assert BestOfMean().choose(curves, 4).n_epochs == 3  # the folds' own bests are 1 and 4


def test_one_standard_error_starts_where_the_run_around_the_best_starts():
    curves = curves_around([3.0, 1.5, 1.25, 1.0, 2.0], spread=0.5)
    assert OneStandardError().choose(curves, 5).n_epochs == 2  # exactly on the line counts


def test_one_standard_error_does_not_choose_an_isolated_dip():
    curves = curves_around([3.0, 1.25, 3.0, 1.25, 1.0, 2.0], spread=0.5)
    choice = OneStandardError().choose(curves, 6)
    assert choice.n_epochs == 4


def test_one_standard_error_measures_the_error_at_the_best_epoch():
    mean, spread = np.array([2.0, 1.5, 1.0, 2.0]), np.array([9.0, 9.0, 0.25, 9.0])
    curves = FoldCurves(np.stack([mean - spread, mean + spread]), LOSS)
    assert OneStandardError().choose(curves, 4).n_epochs == 3


@pytest.mark.parametrize("n_epochs", [0, -1, 6])
def test_a_choice_outside_its_horizon_cannot_exist(n_epochs):
    choice = BestOfMean().choose(curves_around([1.0, 2.0], 0.0), horizon=5)
    with pytest.raises(ValueError, match=f"must lie in 1..5 .its horizon., got {n_epochs}"):
        dataclasses.replace(choice, n_epochs=n_epochs)


def test_smoothing_prefers_a_wide_valley_to_a_lucky_epoch():
    curves = curves_around([5.0, 1.0, 5.0, 2.0, 1.5, 2.0, 5.0], 0.0)
    assert SmoothedMean(window=3).choose(curves, 7).n_epochs == 5
    assert SmoothedMean(window=1).choose(curves, 7).n_epochs == 2


def test_smoothing_averages_what_there_is_at_the_ends():
    assert SmoothedMean(window=5).choose(curves_around([4.0, 3.0, 2.0, 1.0], 0.0), 4).n_epochs == 4


def test_the_paired_rule_sees_what_differences_between_folds_hide():
    """Folds at 0 and 8: unpaired, everything is within the error of the mean; paired, nothing."""
    values = np.array([[2.0, 1.0, 0.0, 1.0], [10.0, 9.0, 8.0, 9.0]])
    curves = FoldCurves(values, LOSS)
    assert OneStandardError().choose(curves, 4).n_epochs == 1
    assert PairedOneStandardError().choose(curves, 4).n_epochs == 3


def test_early_stopping_does_not_see_what_comes_after_its_patience():
    curves = curves_around([5.0, 3.0, 4.0, 4.0, 4.0, 1.0], 0.0)
    choice = PatientBest(patience=3).choose(curves, 6)
    assert choice.n_epochs == 2
    assert "stopped after epoch 5" in choice.reason
    choice = PatientBest(patience=4).choose(curves, 6)
    assert choice.n_epochs == 6
    assert "not run out" in choice.reason


def test_early_stopping_wants_an_improvement_by_min_delta():
    curves = curves_around([5.0, 4.75, 4.5, 4.25, 4.0], 0.0)
    assert PatientBest(patience=2, min_delta=0.5).choose(curves, 5).n_epochs == 1
    assert PatientBest(patience=2, min_delta=0.125).choose(curves, 5).n_epochs == 5


def test_a_plateau_begins_where_the_window_ahead_gains_too_little():
    mean = [8.0, 4.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    curves = curves_around(mean, 0.0)
    assert Plateau(share=0.05, window=3).choose(curves, 8).n_epochs == 4
    choice = Plateau(share=0.05, window=4).choose(curves, 8)  # its window sees the late fall
    assert choice.n_epochs == 8
    assert "no 4 epochs are level" in choice.reason


@pytest.mark.parametrize(
    ("n_epochs", "trend"), [(1, "still falling"), (2, "flat"), (3, "flat"), (5, "rising")]
)
def test_a_fixed_count_says_what_the_mean_does_there(n_epochs, trend):
    curves = curves_around([4.0, 1.5, 1.25, 1.0, 3.0], 0.5)
    choice = Fixed(n_epochs).choose(curves, 5)
    assert choice.n_epochs == n_epochs
    assert trend in choice.reason


def test_what_was_not_trained_cannot_be_chosen():
    curves = curves_around([2.0, 1.0], 0.0)
    with pytest.raises(BadInput, match="got 3 and a curve of 2 epochs"):
        Fixed(3).choose(curves, 5)
    with pytest.raises(BadInput, match=r"got \(5, 10\) and a curve of 2 epochs"):
        Grid((5, 10)).choose(curves, 5)


def test_a_grid_takes_its_best_count_and_says_which_were_not_trained():
    choice = Grid((1, 3, 50)).choose(curves_around([4.0, 1.0, 2.0], 0.0), 60)
    assert choice.n_epochs == 3
    assert "not trained: 50" in choice.reason


def test_the_median_of_fold_bests_is_one_of_them():
    values = np.array([[0.0, 2.0, 2.0, 4.0], [8.0, 8.0, 5.0, 4.0]])
    assert MedianOfFoldBests().choose(FoldCurves(values, LOSS), 4).n_epochs == 1
    three = np.vstack([values, [3.0, 1.0, 2.0, 2.0]])
    assert MedianOfFoldBests().choose(FoldCurves(three, LOSS), 4).n_epochs == 2


def test_a_rule_is_named_with_its_arguments():
    assert rule_named("best") == BestOfMean()
    assert rule_named("fixed(n_epochs=40)") == Fixed(40)
    assert rule_named("grid(counts=(10, 20))") == Grid((10, 20))
    assert rule_named("plateau(share=0.1)") == Plateau(share=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bestt", "did you mean 'best'"),
        ("fixed", "n_epochs"),
        ("fixed(40)", "by name"),
        ("fixed(epochs=40)", "epochs"),
        ("fixed(n_epochs=0)", "must be ≥ 1"),
        ("fixed(n_epochs=open('x'))", "must be a name with its arguments"),
        ("grid(counts=", "must be a name with its arguments"),
        ("smoothed(window=4)", "odd"),
        ("early-stopping(patience=0)", "≥ 1"),
        ("plateau(share=2)", "0..1"),
    ],
)
def test_a_rule_that_cannot_be_made_is_refused(text, message):
    with pytest.raises(BadInput, match=message):
        rule_named(text)
