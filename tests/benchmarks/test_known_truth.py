"""The simulator knows the truth, and both simulations run. Nothing depends on what they find."""

import dataclasses

import numpy as np
import pytest

from tests.benchmarks import coverage, optimism
from tests.benchmarks.known_truth import (
    SCENARIOS,
    CrossValidated,
    Scenario,
    cross_validate,
    draw,
    simulate,
    table,
)

TINY = Scenario("tiny", 24, 4, 0.5, 0.5, (0.02, 0.1), 6, batch_size=8)


def validated(scenario: Scenario, n_folds: int, n_replicates: int) -> CrossValidated:
    return CrossValidated.joined(block for _, _, block in simulate(scenario, n_folds, n_replicates))


def test_the_loss_of_new_rows_is_the_risk_on_average():
    found = validated(TINY, 4, 800)
    expected = found.expected_risks
    assert found.row_losses.shape == (800, 4, 6, 2, 6)
    assert found.fold_losses.mean(axis=(0, 1)) == pytest.approx(expected, rel=0.03)
    assert (np.diff(expected[0]) < 0).all()


def test_a_fold_never_trains_on_the_rows_that_it_validates():
    """A row of another kind changes the models of the other folds, not of its own."""
    x, y = draw(TINY, 1, np.random.default_rng(0))
    one = cross_validate(TINY, x, y, 3, np.random.default_rng(1))
    y[0, 0] += 100  # the first row: validated by the first fold
    other = cross_validate(TINY, x, y, 3, np.random.default_rng(1))
    assert (other.risks[0, 0] == one.risks[0, 0]).all()
    assert (other.risks[0, 1:] != one.risks[0, 1:]).all()


def test_rows_left_over_are_only_trained_on():
    x, y = draw(TINY, 2, np.random.default_rng(0))
    assert cross_validate(TINY, x, y, 5, np.random.default_rng(1)).row_losses.shape[2] == 4


def test_a_plain_descent_step_is_what_is_trained():
    """One batch, one epoch, from zero: w = 2 · learning rate · mean of x·y."""
    scenario = dataclasses.replace(TINY, n_epochs=1, batch_size=100)
    x, y = draw(scenario, 1, np.random.default_rng(0))
    found = cross_validate(scenario, x, y, 2, np.random.default_rng(1))
    weights = 2 * 0.02 * (x[0, 12:] * y[0, 12:, None]).mean(axis=0)
    assert found.row_losses[0, 0, :, 0, 0] == pytest.approx((x[0, :12] @ weights - y[0, :12]) ** 2)


def test_the_scenarios_differ_in_where_the_best_epoch_lies():
    sharp, flat, edge = (
        np.ptp(np.log(found[found.min(axis=1).argmin(), -20:]))
        for found in (validated(scenario, 5, 10).expected_risks for scenario in SCENARIOS)
    )
    assert flat < min(sharp, edge) / 5


def test_a_table_has_means_and_their_errors():
    lines = table({"K = 2": {"covers": [True, False], "size": [30, 40]}}).splitlines()
    assert lines[0] == "| | covers | size |"
    assert lines[2] == "| K = 2 | 0.500 ± 0.500 | 35.0 ± 5.0 |"


@pytest.mark.parametrize("simulation", [coverage, optimism])
def test_a_simulation_prints_its_tables(simulation, monkeypatch, capsys):
    monkeypatch.setattr(simulation, "SCENARIOS", (TINY,))
    simulation.main(["--replicates", "3", "--resamples", "10", "--folds", "3", "4"])
    printed = capsys.readouterr().out
    assert printed.startswith("## tiny: 24 rows")
    assert "\n| K = 3 |" in printed
    assert "\n| K = 4 |" in printed
    assert "nan" not in printed
