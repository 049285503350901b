import math

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.space import largest, middle, n_values, values


@pytest.mark.parametrize(
    ("dimension", "ends", "mid", "n"),
    [
        (IntDistribution(10, 60), (10, 60), 35, 51),
        (IntDistribution(1, 9, step=4), (1, 9), 5, 3),
        (FloatDistribution(1e-4, 1e-2, log=True), (1e-4, 1e-2), 1e-3, math.inf),
        (FloatDistribution(0.0, 0.5), (0.0, 0.5), 0.25, math.inf),
        (CategoricalDistribution([8, 32, 16]), (8, 32, 16), 32, 3),
    ],
)
def test_a_distribution_has_ends_a_middle_and_a_number_of_values(dimension, ends, mid, n):
    assert values(dimension) == ends
    assert largest(dimension) == max(ends)
    assert middle(dimension) == pytest.approx(mid)
    assert n_values(dimension) == n


def test_a_fixed_value_is_its_own_largest():
    assert largest(40) == 40
