"""The benchmark of logging logs all of it."""

import pytest

from tests.benchmarks.logging_cost import by_epoch, by_writer, cost_of


@pytest.mark.parametrize("log", [by_writer, by_epoch])
def test_every_value_is_stored(log):
    cost = cost_of(log, n_trials=2, n_epochs=3, n_metrics=5)
    assert cost.n_stored == 2 * 3 * 5
    assert 0 < cost.caller_secs <= cost.secs
