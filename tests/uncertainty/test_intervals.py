"""Intervals of scores and of samples: known answers, invariances, coverage."""

import numpy as np
import pytest
from scipy import stats

from pipeline.errors import BadInput
from pipeline.uncertainty import Interval, difference_interval, score_interval


def interval_of(scores: np.ndarray, ratio: float, **arguments) -> Interval:
    """Return the interval where there must be one."""
    interval = score_interval(scores, validation_to_training=ratio, **arguments)
    assert interval is not None
    return interval


def test_known_answer():
    """s² = 1, K = 5, ratio 1/4: error √0.45, and 2.776 is the 97.5 % point of t with 4."""
    scores = np.array([-1.0, -1.0, 0.0, 1.0, 1.0])
    interval = score_interval(scores, validation_to_training=1 / 4)
    assert interval.high == pytest.approx(2.776445 * np.sqrt(0.45))
    assert interval.low == pytest.approx(-interval.high)
    assert interval.confidence == 0.95


def test_without_shared_training_rows_it_would_be_the_t_interval():
    scores = np.array([1.0, 4.0, 2.0, 3.0, 7.0])
    interval = score_interval(scores, validation_to_training=1e-12, confidence=0.9)
    low, high = stats.t.interval(0.9, 4, scores.mean(), stats.sem(scores))
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_it_moves_and_scales_with_the_scores():
    scores = np.array([1.0, 4.0, 2.0, 3.0])
    one = score_interval(scores, validation_to_training=1 / 3)
    other = score_interval(-2 * scores + 5, validation_to_training=1 / 3)
    assert (other.low, other.high) == pytest.approx((-2 * one.high + 5, -2 * one.low + 5))


def test_a_repeat_of_the_same_folds_adds_nothing():
    scores = np.array([1.0, 4.0, 2.0, 3.0])
    once = score_interval(scores, validation_to_training=1 / 3)
    twice = score_interval(np.tile(scores, 2), validation_to_training=1 / 3, n_repeats=2)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize("n_repeats", [1, 2])
def test_one_fold_has_no_interval(n_repeats):
    scores = np.ones(n_repeats)
    assert score_interval(scores, validation_to_training=0.25, n_repeats=n_repeats) is None


def test_equal_scores_are_a_point():
    assert score_interval(np.full(3, 2.0), validation_to_training=0.5) == Interval(2.0, 2.0, 0.95)


def test_a_difference_is_paired():
    """Folds that differ by 100 do not widen the interval of a difference that hardly varies."""
    others = np.array([0.0, 100.0, 200.0])
    interval = difference_interval(
        others + np.array([1.0, 1.25, 0.75]), others, validation_to_training=1 / 2
    )
    assert interval is not None
    assert 0 < interval.low < 1 < interval.high < 2
    assert 1.0 in interval
    assert 0.0 not in interval


def test_scores_that_share_a_part_are_covered_only_with_the_correction():
    """Scores with the correlation that the correction assumes, 1/K between any two folds."""
    rng = np.random.default_rng(0)
    n_folds, n_replicates = 5, 2000
    shared = rng.normal(0, np.sqrt(1 / n_folds), (n_replicates, 1))
    own = rng.normal(0, np.sqrt(1 - 1 / n_folds), (n_replicates, n_folds))
    covered = {
        ratio: np.mean([0.0 in interval_of(x, ratio) for x in own + shared])
        for ratio in (1 / (n_folds - 1), 1e-12)
    }
    assert covered[1 / (n_folds - 1)] == pytest.approx(0.95, abs=0.015)
    assert covered[1e-12] < 0.90


def test_percentiles_are_members_of_the_sample():
    epochs = np.repeat([10, 20, 30, 40], [2, 48, 48, 2])
    assert Interval.of_percentiles(epochs, 0.9) == Interval(20, 30, 0.9)
    assert Interval.of_percentiles(epochs, 0.98) == Interval(10, 40, 0.98)


def test_an_interval_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="low ≤ high, got 2"):
        Interval(2.0, 1.0, 0.95)
    with pytest.raises(BadInput, match="between 0 and 1, got 95"):
        Interval(1.0, 2.0, 95)


@pytest.mark.parametrize(
    ("scores", "arguments", "message"),
    [
        (np.ones((2, 2)), {}, r"\[n_folds\], got shape \(2, 2\)"),
        ([1.0, np.inf], {}, "finite"),
        ([1.0, 2.0], {"validation_to_training": 0}, "> 0, got 0"),
        ([1.0, 2.0], {"confidence": 1}, "between 0 and 1, got 1"),
        ([1.0, 2.0, 3.0], {"n_repeats": 2}, "a divisor of the 3 folds"),
    ],
)
def test_what_cannot_be_used_is_refused(scores, arguments, message):
    with pytest.raises(BadInput, match=message):
        score_interval(scores, **({"validation_to_training": 0.25} | arguments))


def test_other_folds_are_refused():
    with pytest.raises(BadInput, match=r"one shape, got \(2,\) and \(3,\)"):
        difference_interval(np.ones(2), np.ones(3), validation_to_training=0.5)
