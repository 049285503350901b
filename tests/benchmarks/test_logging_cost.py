"""The benchmark of logging logs all of it."""

from tests.benchmarks.logging_cost import cost_of


def test_every_value_is_stored():
    cost = cost_of(n_trials=2, n_epochs=3, n_metrics=5)
    assert cost.n_stored == 2 * 3 * 5
    assert 0 < cost.caller_secs <= cost.secs
