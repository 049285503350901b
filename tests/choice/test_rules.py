"""One contract for every rule in RULES, on hand-made curves; then what each rule is for.

Values are dyadic, so that means, shifts and scalings are exact.
"""

import dataclasses

import numpy as np
import pytest

from pipeline.choice import RULES, BestOfMean, EpochChoice, OneStandardError, Rule
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput
from pipeline.objective import Objective

LOSS = Objective()
ACCURACY = Objective("val_accuracy", "maximize")
NEEDS_A_STANDARD_ERROR = {"one-standard-error"}

every_rule = pytest.mark.parametrize("rule", [kind() for kind in RULES.values()], ids=list(RULES))


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


def picks(choice: EpochChoice) -> tuple[int, tuple[int, ...]]:
    return choice.n_epochs, choice.equivalent_epochs


def test_rules_are_listed_under_their_names():
    assert all(RULES[name].name == name for name in RULES)
    assert set(RULES) == {"best", "one-standard-error"}


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
    assert {choice.n_epochs, curves.best_n_epochs} <= set(choice.equivalent_epochs)


@every_rule
def test_equivalent_epochs_are_those_within_one_standard_error_of_the_best(rule: Rule):
    curves = curves_around([5.0, 1.5, 1.0, 1.25, 1.75], spread=0.5)
    assert rule.choose(curves, 5).equivalent_epochs == (2, 3, 4)


@every_rule
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_flat_curve_chooses_the_first_epoch(rule: Rule, spread: float):
    choice = rule.choose(curves_around([2.0] * 6, spread), horizon=6)
    assert picks(choice) == (1, (1, 2, 3, 4, 5, 6))


@every_rule
def test_first_of_equal_bests_is_chosen(rule: Rule):
    assert rule.choose(curves_around([3.0, 1.0, 2.0, 1.0], 0.0), 4).n_epochs == 2


@every_rule
def test_last_epoch_can_be_chosen(rule: Rule):
    choice = rule.choose(curves_around([4.0, 3.0, 2.0, 1.0], 0.25), horizon=4)
    assert picks(choice) == (4, (4,))


@every_rule
def test_one_epoch_is_the_choice(rule: Rule):
    assert picks(rule.choose(curves_around([2.0], 0.5), horizon=1)) == (1, (1,))


@every_rule
def test_one_fold_is_answered_without_an_error_bar_or_refused(rule: Rule):
    curves = FoldCurves(np.array([[3.0, 1.0, 2.0]]), LOSS)
    if rule.name in NEEDS_A_STANDARD_ERROR:
        with pytest.raises(BadInput, match=f"'{rule.name}' needs at least 2 folds.*got 1"):
            rule.choose(curves, 3)
    else:
        choice = rule.choose(curves, 3)
        assert picks(choice) == (2, (2,))
        assert choice.standard_error is None


@every_rule
@pytest.mark.parametrize("seed", range(5))
def test_maximising_is_minimising_mirrored(rule: Rule, seed: int):
    values = noisy(seed)
    down = rule.choose(FoldCurves(values, LOSS), 24)
    up = rule.choose(FoldCurves(-values, ACCURACY), 24)
    assert picks(up) == picks(down)
    assert (up.score, up.standard_error) == (-down.score, down.standard_error)


@every_rule
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 8.0), (1.0, -32.0), (4.0, 0.0), (0.125, 0.0)])
def test_choice_does_not_depend_on_the_metrics_origin_or_unit(rule, seed, scale, shift):
    values = noisy(seed)
    before = rule.choose(FoldCurves(values, LOSS), 24)
    after = rule.choose(FoldCurves(values * scale + shift, LOSS), 24)
    assert picks(after) == picks(before)


@every_rule
@pytest.mark.parametrize("seed", range(5))
def test_choice_does_not_depend_on_the_order_of_folds(rule: Rule, seed: int):
    values = noisy(seed)
    before = rule.choose(FoldCurves(values, LOSS), 24)
    after = rule.choose(FoldCurves(values[::-1], LOSS), 24)
    assert picks(after) == picks(before)


def test_best_takes_the_minimum_of_the_mean_not_the_mean_of_the_minima():
    curves = FoldCurves(np.array([[0.0, 2.0, 2.0, 4.0], [8.0, 8.0, 5.0, 4.0]]), LOSS)
    assert BestOfMean().choose(curves, 4).n_epochs == 3  # the folds' own bests are 1 and 4


def test_one_standard_error_starts_where_the_run_around_the_best_starts():
    curves = curves_around([3.0, 1.5, 1.25, 1.0, 2.0], spread=0.5)
    assert OneStandardError().choose(curves, 5).n_epochs == 2  # exactly on the line counts


def test_one_standard_error_does_not_choose_an_isolated_dip():
    curves = curves_around([3.0, 1.25, 3.0, 1.25, 1.0, 2.0], spread=0.5)
    choice = OneStandardError().choose(curves, 6)
    assert picks(choice) == (4, (2, 4, 5))


def test_one_standard_error_measures_the_error_at_the_best_epoch():
    mean, spread = np.array([2.0, 1.5, 1.0, 2.0]), np.array([9.0, 9.0, 0.25, 9.0])
    curves = FoldCurves(np.stack([mean - spread, mean + spread]), LOSS)
    assert picks(OneStandardError().choose(curves, 4)) == (3, (3,))


@pytest.mark.parametrize("n_epochs", [0, -1, 6])
def test_a_choice_outside_its_horizon_cannot_exist(n_epochs):
    choice = BestOfMean().choose(curves_around([1.0, 2.0], 0.0), horizon=5)
    with pytest.raises(ValueError, match=f"must lie in 1..5 .its horizon., got {n_epochs}"):
        dataclasses.replace(choice, n_epochs=n_epochs)
