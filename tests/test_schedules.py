"""Every schedule: one contract, and values worked out by hand."""

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.schedules import (
    ByEpoch,
    Constant,
    Cosine,
    Exponential,
    Linear,
    OneCycle,
    ReduceOnPlateau,
    Step,
    WarmUp,
    given,
    n_epochs_given,
    rates_at,
    start_times,
    updates_per_epoch,
)
from pipeline.study_file import without_addresses


def named(value):
    """Return a test's name: the same in every process."""
    return without_addresses(repr(value))


FLAT = np.ones(8)
SCHEDULES = [
    Constant(),
    Step(),
    Step(drop=0.5, epochs_drop=3),
    Exponential(),
    Exponential(0.5, decay_epochs=4),
    Linear(),
    Linear(final_share=0.1),
    Cosine(),
    Cosine(final_share=0.1),
    OneCycle(),
    OneCycle(rise_share=0.0),
    OneCycle(rise_share=1.0),
    WarmUp(Cosine(), n_epochs=2),
    WarmUp(Step(), n_epochs=3, start_share=0.1),
    ReduceOnPlateau(patience=2).given(FLAT),
    ByEpoch(lambda epoch, rate: rate * 0.5),
]
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=named)
EPOCHS = np.concatenate([start_times(n, 3) for n in range(8)])


@every_schedule
@pytest.mark.parametrize("initial", [0.5, 1])
def test_one_finite_float_for_each_update_up_to_the_sampled_rate(schedule, initial):
    rates = schedule.learning_rates(initial, EPOCHS, horizon=8)
    assert rates.shape == EPOCHS.shape
    assert rates.dtype == np.float64
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()
    assert rates.max() <= initial
    assert rates.max() >= 0.9 * initial or isinstance(schedule, ByEpoch)


@every_schedule
def test_learning_rates_scale_with_the_initial_one(schedule):
    rates = schedule.learning_rates(1.0, EPOCHS, horizon=8)
    np.testing.assert_array_equal(schedule.learning_rates(0.25, EPOCHS, horizon=8), 0.25 * rates)


@every_schedule
def test_epochs_may_be_asked_for_one_at_a_time(schedule):
    whole = schedule.learning_rates(0.5, EPOCHS, horizon=8)
    parts = [schedule.learning_rates(0.5, start_times(n, 3), horizon=8) for n in range(8)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@every_schedule
def test_only_a_horizon_free_schedule_is_the_start_of_a_longer_one(schedule):
    short = schedule.learning_rates(0.5, EPOCHS, horizon=8)
    long = schedule.learning_rates(0.5, EPOCHS, horizon=80)
    assert np.array_equal(short, long) == schedule.horizon_free


# --- by hand ---


@pytest.mark.parametrize(
    ("schedule", "epochs", "rates"),
    [
        (Constant(), [0, 3.5, 9], [1, 1, 1]),
        # The tenth epoch, 0-based 9, is the first lower one; within an epoch nothing changes.
        (Step(0.5, 10), [0, 8.9, 9, 9.9, 18.9, 19, 29], [1, 1, 0.5, 0.5, 0.5, 0.25, 0.125]),
        (Step(0.1, 1), [0, 1, 2.5], [0.1, 0.01, 0.001]),
        (Step(0.5, 2.5), [0, 1, 2, 3, 4], [1, 1, 0.5, 0.5, 0.25]),
        (Exponential(0.81), [0, 0.5, 1, 2], [1, 0.9, 0.81, 0.81**2]),
        (Exponential(0.5, decay_epochs=4), [0, 2, 4, 8], [1, math.sqrt(0.5), 0.5, 0.25]),
        (Linear(), [0, 2, 6, 9], [1, 0.8, 0.4, 0.1]),
        (Linear(final_share=0.5), [0, 5, 10], [1, 0.75, 0.5]),
        (Cosine(), [0, 5, 10], [1, 0.5, 0]),
        (OneCycle(0.5, 0.2, 0.0), [0, 2.5, 5, 7.5, 10], [0.2, 0.6, 1, 0.5, 0]),
        (WarmUp(Linear(), 2), [0, 1, 2, 6, 10], [0, 0.5, 1, 0.5, 0]),
        (WarmUp(Constant(), 4, 0.2), [0, 2, 4, 8], [0.2, 0.6, 1, 1]),
        (ByEpoch(lambda epoch: 1 / (1 + epoch)), [0, 0.9, 1, 3.5], [1, 1, 0.5, 0.25]),
        (ByEpoch(lambda epoch, rate: rate / 2), [0, 1.5, 2], [0.5, 0.25, 0.125]),
    ],
    ids=named,
)
def test_a_schedule_passes_through_known_points(schedule, epochs, rates):
    found = schedule.learning_rates(1.0, np.array(epochs, float), horizon=10)
    np.testing.assert_allclose(found, rates, atol=1e-12)


def test_one_cycle_begins_and_ends_where_other_libraries_do():
    rates = OneCycle().learning_rates(0.5, np.array([0.0, 30.0, 100.0]), horizon=100)
    np.testing.assert_allclose(rates, [0.5 / 25, 0.5, 0.5 / 25 / 1e4])


def test_cosine_ends_near_its_final_share():
    rates = Cosine(final_share=0.2).learning_rates(1.0, start_times(99, 1000), horizon=100)
    assert rates[-1] == pytest.approx(0.2, abs=1e-6)


# --- on the curve ---


def reduced_after(schedule, losses, n_epochs=None):
    """Return the 1-based epochs after which the rate has fallen."""
    plain = schedule.given(np.array(losses, float))
    rates = plain.learning_rates(1.0, np.arange(n_epochs or len(losses) + 1.0), 100)
    return list(np.flatnonzero(np.diff(rates)) + 1)


@pytest.mark.parametrize(
    ("schedule", "losses", "after"),
    [
        (ReduceOnPlateau(patience=2), [3, 2, 1, 0], []),
        (ReduceOnPlateau(patience=2), [3, 3, 3, 3, 3], [3, 5]),
        (ReduceOnPlateau(patience=2), [3, 3, 2, 2, 2], [5]),  # waiting begins anew
        (ReduceOnPlateau(patience=1), [3, 3], [2]),
        (ReduceOnPlateau(patience=2, min_delta=0.5), [3, 2.6, 2.4, 2.3, 2.2], [5]),
        (ReduceOnPlateau(patience=2, min_delta=0.0), [3, 2.6, 2.4, 2.3, 2.2], []),
        # Two epochs of cooling down, the second of which counts again.
        (ReduceOnPlateau(patience=1, cooldown=2), [3, 3, 3, 3, 3, 3], [2, 4, 6]),
        (ReduceOnPlateau(patience=2, cooldown=3), [3] * 9, [3, 7]),
    ],
    ids=named,
)
def test_the_rate_falls_where_the_curve_no_longer_does(schedule, losses, after):
    assert reduced_after(schedule, losses) == after


def test_the_rates_of_an_epoch_hang_on_the_epochs_before_it_alone():
    schedule, losses = ReduceOnPlateau(patience=2), [3, 3, 3, 2, 2, 2, 2, 2]
    whole = schedule.given(np.array(losses)).learning_rates(1.0, np.arange(9.0), 9)
    for n_epochs in range(9):
        so_far = schedule.given(np.array(losses[:n_epochs]))
        assert so_far.learning_rates(1.0, np.array([float(n_epochs)]), 9) == whole[n_epochs]


def test_the_rate_does_not_fall_below_the_least():
    plain = ReduceOnPlateau(factor=0.1, patience=1, min_rate=0.02).given(FLAT)
    np.testing.assert_allclose(
        plain.learning_rates(1.0, np.arange(5.0), 5), [1, 1, 0.1, 0.02, 0.02]
    )
    assert plain.learning_rates(0.01, np.arange(5.0), 5).tolist() == [0.01] * 5


def test_a_schedule_that_does_not_react_is_what_it_was():
    assert given(Cosine(), FLAT) == Cosine()


# --- the user's own function ---


class OneValue:
    """As a tensor: an array of one number."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[0.25]], dtype)


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.array(0.25), OneValue()])
def test_whatever_is_one_number_is_a_learning_rate(value):
    assert ByEpoch(lambda epoch: value).learning_rates(9, EPOCHS, 8).tolist() == [0.25] * 24


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (math.nan, "nan"), (math.inf, "inf"), (-0.1, "-0.1"), ("0.1", "'0.1'"), (None, "None"),
        (True, "True"), ([0.1, 0.2], r"\[0.1, 0.2\]"), (1j, "1j"),
    ],
)  # fmt: skip
def test_anything_else_is_named_with_its_epoch(value, got):
    def decay(epoch):
        return 0.1 if epoch < 3 else value

    says = rf"schedule decay\(3\) must return .* ≥ 0, for epoch 3 \(0-based\), got {got}"
    with pytest.raises(BadInput, match=says):
        ByEpoch(decay).learning_rates(0.1, EPOCHS, 8)


def test_a_function_that_raises_is_named_with_its_epoch():
    rates = [0.1, 0.01]
    with pytest.raises(BadInput, match=r"schedule <lambda>\(2\) raised IndexError"):
        ByEpoch(lambda epoch: rates[epoch]).learning_rates(0.1, EPOCHS, 8)


def test_a_function_is_called_once_for_each_epoch():
    called = []

    def rate(epoch):
        called.append(epoch)
        return 0.1

    schedule = ByEpoch(rate)
    for n_epochs in (0, 0, 1, 2, 1):
        schedule.learning_rates(0.1, start_times(n_epochs, 3), 8)
    assert called == [0, 1, 2]


def test_a_function_may_end():
    rates = [0.1, 0.1, 0.01]
    assert n_epochs_given(ByEpoch(lambda epoch: rates[epoch]), 0.1, most=9) == 3
    assert n_epochs_given(ReduceOnPlateau(), 0.1, most=9) == 9
    assert n_epochs_given(None, 0.1, most=9) == 9


@pytest.mark.parametrize("function", [0.1, lambda: 0.1, lambda a, b, c: 0.1])
def test_what_cannot_take_an_epoch_is_refused(function):
    with pytest.raises(BadInput, match=r"ByEpoch.function must be a function of the 0-based"):
        ByEpoch(function)


# --- bad input ---


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "half", None, True])
@pytest.mark.parametrize("kind", [Cosine, Linear])
def test_final_share_is_a_share(kind, value):
    with pytest.raises(BadInput, match=r"final_share must be a number in 0\.\.1, got "):
        kind(final_share=value)


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (Step, {"drop": 0}, "Step.drop must be a finite number > 0, got 0"),
    (Step, {"epochs_drop": -1}, "Step.epochs_drop must be .*, got -1"),
    (Exponential, {"decay_rate": math.inf}, "Exponential.decay_rate must be .*, got inf"),
    (Exponential, {"decay_epochs": 0}, "Exponential.decay_epochs must be"),
    (OneCycle, {"rise_share": 1.5}, r"OneCycle.rise_share must be .* 0\.\.1, got 1.5"),
    (WarmUp, {"schedule": Cosine(), "n_epochs": 0}, "WarmUp.n_epochs must be a whole number ≥ 1"),
    (WarmUp, {"schedule": Cosine(), "n_epochs": 2.5}, "WarmUp.n_epochs must be .*, got 2.5"),
    (WarmUp, {"schedule": 0.1}, "WarmUp.schedule must have learning_rates.*, got 0.1"),
    (WarmUp, {"schedule": ReduceOnPlateau()}, "WarmUp.schedule must .* not react"),
    (ReduceOnPlateau, {"factor": 1.0}, "ReduceOnPlateau.factor must be .*, got 1.0"),
    (ReduceOnPlateau, {"patience": 0}, "patience must be a whole number ≥ 1, got 0"),
    (ReduceOnPlateau, {"cooldown": -1}, "cooldown must be a whole number ≥ 0, got -1"),
    (ReduceOnPlateau, {"min_rate": math.nan}, "min_rate must be .*, got nan"),
    (ReduceOnPlateau, {"min_delta": "x"}, "min_delta must be .*, got 'x'"),
]


@pytest.mark.parametrize(("kind", "arguments", "says"), BAD)
def test_a_bad_argument_is_named(kind, arguments, says):
    with pytest.raises(BadInput, match=says):
        kind(**arguments)


def test_a_warm_up_leaves_something_of_the_horizon():
    with pytest.raises(BadInput, match="n_epochs must be less than max_epochs, got 3 for max_ep"):
        WarmUp(Cosine(), 3).learning_rates(1.0, EPOCHS, horizon=3)
    WarmUp(Step(), 3).learning_rates(1.0, EPOCHS, horizon=3)  # it does not know the horizon


class Wrong:
    horizon_free: ClassVar[bool] = True

    def __init__(self, rates):
        self.rates = rates

    def __repr__(self):
        return "Wrong()"

    def learning_rates(self, initial, epochs, horizon):
        return self.rates


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        (np.ones(2), "must give 3 learning rates, one per update, got array"),
        (np.array([1, np.nan, 1]), r"finite learning rates ≥ 0, got nan for epoch 5 \(0-based\)"),
        (np.array([1, 1, -1.0]), r"got -1.0 for epoch 5 \(0-based\) of 8"),
        (None, "must give 3 learning rates"),
    ],
)
def test_rates_that_cannot_be_are_refused(rates, says):
    with pytest.raises(BadInput, match=r"schedule Wrong\(\) must .*" + says.removeprefix("must ")):
        rates_at(Wrong(rates), 1.0, start_times(5, 3), 8)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "n_updates"), [(64, 32, 2), (65, 32, 3), (1, 32, 1), (32, 32, 1)]
)
def test_a_partial_batch_is_an_update(n_rows, batch_size, n_updates):
    assert updates_per_epoch(n_rows, batch_size) == n_updates


def test_updates_start_at_fractions_of_the_next_epoch():
    np.testing.assert_array_equal(start_times(2, 4), [2.0, 2.25, 2.5, 2.75])
