import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.schedules import Constant, Cosine, start_times, updates_per_epoch

every_schedule = pytest.mark.parametrize(
    "schedule", [Constant(), Cosine(), Cosine(final_share=0.1)], ids=repr
)
EPOCHS = np.concatenate([start_times(n, 3) for n in range(8)])


@every_schedule
@pytest.mark.parametrize("initial", [0.5, 1])
def test_one_float_for_each_update_from_the_initial_rate_down(schedule, initial):
    rates = schedule.learning_rates(initial, EPOCHS, horizon=8)
    assert rates.shape == EPOCHS.shape
    assert rates.dtype == np.float64
    assert rates[0] == initial
    assert (rates >= 0).all()
    assert (np.diff(rates) <= 0).all()


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


def test_cosine_passes_through_known_points():
    rates = Cosine(final_share=0.2).learning_rates(10.0, np.array([0.0, 2.0, 4.0, 6.0]), horizon=8)
    np.testing.assert_allclose(rates, [10.0, 6 + 4 * np.sqrt(0.5), 6.0, 6 - 4 * np.sqrt(0.5)])


def test_cosine_ends_near_its_final_share():
    rates = Cosine(final_share=0.2).learning_rates(1.0, start_times(99, 1000), horizon=100)
    assert rates[-1] == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half", None])
def test_final_share_is_a_share(share):
    with pytest.raises(BadInput, match=r"final_share must be a number in 0\.\.1, got "):
        Cosine(final_share=share)


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "n_updates"), [(64, 32, 2), (65, 32, 3), (1, 32, 1), (32, 32, 1)]
)
def test_a_partial_batch_is_an_update(n_rows, batch_size, n_updates):
    assert updates_per_epoch(n_rows, batch_size) == n_updates


def test_updates_start_at_fractions_of_the_next_epoch():
    np.testing.assert_array_equal(start_times(2, 4), [2.0, 2.25, 2.5, 2.75])
