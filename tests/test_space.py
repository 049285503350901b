import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.errors import BadInput
from pipeline.space import check_space, largest, middle, n_values, values


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


@pytest.mark.parametrize("choices", [list(2 ** np.arange(3)), [(64,), (64, 32)]])
def test_choices_that_a_storage_would_change_are_refused(choices):
    with pytest.warns(UserWarning, match="persistent storage"):
        width = CategoricalDistribution(choices)
    with pytest.raises(BadInput, match=r"space\['width'\] must have choices that are numbers"):
        check_space({"learning_rate": 0.1, "max_epochs": 3, "width": width})
