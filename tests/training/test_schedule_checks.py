"""What is found out about schedules before anything is trained."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from pipeline.errors import BadInput
from pipeline.schedules import ByEpoch, Cosine, ReduceOnPlateau, Step, WarmUp
from pipeline.training import check_schedules, remarks_on_schedules
from tests.training.models import case, compiled, dense, softmax

KERAS = keras.optimizers.schedules
RATES = [0.1, 0.1, 0.01]


def checked(schedule, max_epochs=3, learning_rate=0.1):
    space = {"learning_rate": learning_rate, "max_epochs": max_epochs}
    check_schedules(case(dense, schedule=schedule, params=space).spec)


@pytest.mark.parametrize(
    "schedule", [None, Cosine(), ReduceOnPlateau(), KERAS.CosineDecay(0.1, 9), lambda e: RATES[e]]
)
def test_a_schedule_that_covers_the_horizons_passes(schedule):
    checked(schedule)


class OfHorizon:
    horizon_free = False

    def __repr__(self):
        return "OfHorizon()"

    def learning_rates(self, initial, epochs, horizon):
        return np.full(len(epochs), initial / (horizon - 5.0)) if horizon != 5 else epochs / 0.0


@pytest.mark.parametrize(
    ("schedule", "space", "says"),
    [
        (
            lambda e: RATES[e],
            {"max_epochs": 4},
            r"schedule <lambda>\(3\) raised IndexError: list index out of range: it gives rates "
            r"for 3 epoch\(s\), so max_epochs must be ≤ 3",
        ),
        (lambda e: RATES[e], {"max_epochs": IntDistribution(2, 4)}, r"\(3\) raised IndexError"),
        (lambda e: float("nan"), {}, r"for epoch 0 \(0-based\), got nan"),
        (lambda e: -e, {}, r"for epoch 1 \(0-based\), got -1"),
        (lambda e, rate: rate - 0.05, {"learning_rate": FloatDistribution(0.1, 1)}, "epoch 2"),
        ({"a": Step(), "b": lambda e: "x"}, {}, "got 'x'"),
        (WarmUp(Cosine(), 3), {}, "less than max_epochs, got 3 for max_epochs=3"),
        (OfHorizon(), {"max_epochs": 4}, r"schedule OfHorizon\(\) must .* got -0.1 for epoch 0"),
    ],
)
def test_a_rate_that_cannot_be_is_found_before_training(schedule, space, says):
    with pytest.raises(BadInput, match=says):
        checked(schedule, **space)


def remarks(max_epochs, *, field=None, inside=None, **space):
    """Return what is said of a study of 36 updates an epoch."""
    params = {"learning_rate": 0.1, "max_epochs": max_epochs, **space}
    case_ = case(dense, schedule=field, n_rows=72, batch_size=1, params=params)
    model = compiled(
        softmax(), params={"learning_rate": 0.1}, optimizer=inside and keras.optimizers.SGD(inside)
    )
    return list(remarks_on_schedules(case_.spec, model, case_.folds[0]))


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        (
            KERAS.CosineDecay(0.1, decay_steps=50),
            "CosineDecay(decay_steps=50) ends after 1.4 of 50 epochs: 36 updates make an epoch; "
            "for 50 epochs use decay_steps=1800",
        ),
        (
            KERAS.CosineDecay(0.0, decay_steps=45, warmup_steps=5, warmup_target=0.1),
            "CosineDecay(warmup_steps=5, decay_steps=45) ends after 1.4 of 50 epochs: 36 updates "
            "make an epoch; for 50 epochs use decay_steps=1795",
        ),
        (
            KERAS.PolynomialDecay(0.1, decay_steps=7200),
            "PolynomialDecay(decay_steps=7200) ends after 2e+02 of 50 epochs: 36 updates make an "
            "epoch; for 50 epochs use decay_steps=1800",
        ),
        (
            KERAS.PiecewiseConstantDecay([20, 40], [0.1, 0.01, 0.001]),
            "PiecewiseConstantDecay(boundaries=[20, 40]) changes last after 1.1 of 50 epochs: 36 "
            "updates make an epoch; for these as epochs use [720, 1440]",
        ),
        (
            KERAS.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.9),
            "ExponentialDecay(decay_steps=10) counts updates: 36 updates make an epoch, so 10 are "
            "0.28 epochs of 50; for 10 epochs use 360",
        ),
        (
            KERAS.ExponentialDecay(0.1, decay_steps=10_000, decay_rate=0.9),
            "ExponentialDecay(decay_steps=10000) counts updates: 36 updates make an epoch, so "
            "10000 are 2.8e+02 epochs of 50",
        ),
        (
            KERAS.CosineDecayRestarts(0.1, first_decay_steps=10),
            "CosineDecayRestarts(first_decay_steps=10) counts updates: 36 updates make an epoch, "
            "so 10 are 0.28 epochs of 50; for 10 epochs use 360",
        ),
    ],
)
def test_updates_taken_for_epochs_are_told_with_what_was_meant(schedule, says):
    assert remarks(50, inside=schedule) == [says]
    assert remarks(50, field=schedule) == [says]


@pytest.mark.parametrize(
    "schedule",
    [
        KERAS.CosineDecay(0.1, decay_steps=1800),
        KERAS.CosineDecay(0.1, decay_steps=1000),
        KERAS.PiecewiseConstantDecay([900, 1500], [0.1, 0.01, 0.001]),
        KERAS.ExponentialDecay(0.1, decay_steps=360, decay_rate=0.9),
        0.1,
    ],
)
def test_updates_that_are_meant_as_such_are_not_remarked_on(schedule):
    assert remarks(50, inside=schedule) == []


@pytest.mark.parametrize("n_rates", [3, 8, 9])
def test_rates_that_end_within_reach_of_the_best_trial_are_told(n_rates):
    """It may be trained for three times its horizon."""
    rates = [0.1] * n_rates

    def listed(epoch):
        return rates[epoch]

    says = f"schedule listed gives learning rates for {n_rates} epochs: nothing is trained further"
    assert remarks(3, field=listed) == ([says] if n_rates < 9 else [])


def test_rates_that_are_not_the_sampled_ones_are_told():
    sampled = {"learning_rate": FloatDistribution(0.01, 0.1)}

    def decay(epoch):
        return 0.1

    says = "schedule decay gives the learning rate itself: the sampled learning_rate is not used"
    assert remarks(3, field=decay, **sampled) == [says]
    assert remarks(3, field={"a": decay, "b": Step()}, **sampled) == [says.replace("decay", "a")]
    assert remarks(3, field=decay) == []
    assert remarks(3, field=ByEpoch(lambda epoch, rate: rate), **sampled) == []
