"""The benchmark of logging logs all of it."""

import pytest

from tests.benchmarks.logging_cost import WAYS, cost_of


@pytest.mark.parametrize("way", WAYS)
def test_every_value_is_stored(way):
    cost = cost_of(n_trials=2, n_epochs=3, n_metrics=5, way=way)
    assert cost.n_stored == 2 * 3 * 5
    assert 0 < cost.caller_secs <= cost.secs
