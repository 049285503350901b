"""Variance components: a worked example, recovery, coverage."""

import numpy as np
import pytest
from scipy import stats

from pipeline.errors import BadInput
from pipeline.uncertainty import Component, Interval, VarianceComponents


def unit_residuals() -> np.ndarray:
    """Return residuals of 5 seeds and 4 folds with a mean square of 1, [5, 4]."""
    residuals = np.random.default_rng(0).normal(size=(5, 4))
    residuals -= residuals.mean(axis=1, keepdims=True)
    residuals -= residuals.mean(axis=0)
    return residuals * np.sqrt(12 / (residuals**2).sum())


RESIDUALS = unit_residuals()
# Five seeds whose mean square over 4 folds is 1.
LEVELS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] / np.sqrt(10)


def scores(rng: np.random.Generator, n_seeds: int, n_folds: int, variances) -> np.ndarray:
    seed, fold, residual = np.sqrt(variances)
    return (
        10
        + rng.normal(0, seed, (n_seeds, 1))
        + rng.normal(0, fold, (1, n_folds))
        + rng.normal(0, residual, (n_seeds, n_folds))
    )


def parts(components: VarianceComponents) -> list[Component]:
    return [components.seed, components.fold, components.residual]


def test_a_worked_example():
    """Mean squares 8 (seed), 6 (fold) and 2 (residual), each with 1 degree of freedom.

    The residual's interval is 2/χ² at 2.5 % and 97.5 % with 1 degree of freedom.
    """
    by_seed = np.array([[1.0], [-1.0]]) * np.sqrt(2)
    by_fold = np.array([[1.0, -1.0]]) * np.sqrt(3 / 2)
    values = by_seed + by_fold + np.array([[1.0, -1.0], [-1.0, 1.0]]) / np.sqrt(2)
    components = VarianceComponents.of(values)
    assert [part.estimate for part in parts(components)] == pytest.approx([3.0, 2.0, 2.0])
    low, high = 2 / stats.chi2.ppf([0.975, 0.025], 1)
    assert components.residual.interval.low == pytest.approx(low)
    assert components.residual.interval.high == pytest.approx(high)


def test_the_lower_bound_leaves_zero_where_the_f_test_does():
    """For 5 seeds and 4 folds the 97.5 % point of F with 4 and 12 degrees of freedom is 4.1212."""
    for f, apart in ((4.10, False), (4.14, True)):
        seed = VarianceComponents.of(RESIDUALS + np.sqrt(f) * LEVELS).seed
        assert (seed.interval.low > 0) is apart


def test_the_bounds_are_those_of_the_modified_large_sample_method():
    """The seed's mean square is 9 with 4 degrees of freedom, the residual's 2 with 12; 4 folds."""
    f = stats.f.isf(0.025, [4, 12, 4], [1e9, 1e9, 12])
    g = stats.f.isf(0.975, [4, 12, 4], [1e9, 1e9, 12])
    g1, h2 = 1 - 1 / f[0], 1 / g[1] - 1
    h1, g2 = 1 / g[0] - 1, 1 - 1 / f[1]
    g12 = ((f[2] - 1) ** 2 - (g1 * f[2]) ** 2 - h2**2) / f[2]
    h12 = ((1 - g[2]) ** 2 - (h1 * g[2]) ** 2 - g2**2) / g[2]
    low = 7 - np.sqrt((9 * g1) ** 2 + (2 * h2) ** 2 + 18 * g12)
    high = 7 + np.sqrt((9 * h1) ** 2 + (2 * g2) ** 2 + 18 * h12)
    interval = VarianceComponents.of(np.sqrt(9) * LEVELS + np.sqrt(2) * RESIDUALS).seed.interval
    assert interval.low == pytest.approx(max(0, low) / 4, rel=1e-5)
    assert interval.high == pytest.approx(high / 4, rel=1e-5)


def test_known_variances_are_recovered_and_covered():
    """With 600 replicates the standard error of a share is 0.9 %."""
    rng = np.random.default_rng(0)
    variances = np.array([1.0, 4.0, 2.0])
    found = [parts(VarianceComponents.of(scores(rng, 6, 5, variances))) for _ in range(600)]
    estimates = np.array([[part.estimate for part in row] for row in found])
    assert estimates.mean(axis=0) == pytest.approx(variances, rel=0.1)
    covered = [
        [v in part.interval for v, part in zip(variances, row, strict=True)] for row in found
    ]
    assert np.mean(covered, axis=0) == pytest.approx([0.95] * 3, abs=0.03)


def test_seeds_and_folds_are_what_their_axes_say():
    values = scores(np.random.default_rng(1), 6, 5, (0.0, 4.0, 0.01))
    components, turned = VarianceComponents.of(values), VarianceComponents.of(values.T)
    assert components.fold.estimate > 100 * components.seed.estimate
    assert turned.seed.estimate == pytest.approx(components.fold.estimate)
    assert turned.fold.interval.high == pytest.approx(components.seed.interval.high)


def test_origin_and_unit():
    values = scores(np.random.default_rng(2), 3, 5, (1.0, 1.0, 1.0))
    one, other = VarianceComponents.of(values), VarianceComponents.of(2 * values - 50)
    for small, large in zip(parts(one), parts(other), strict=True):
        assert large.estimate == pytest.approx(4 * small.estimate)
        assert large.interval.high == pytest.approx(4 * small.interval.high)


def test_a_negative_estimate_is_zero():
    checkered = np.array([[1.0, -1.0], [-1.0, 1.0]])
    components = VarianceComponents.of(checkered)
    assert [part.estimate for part in parts(components)] == [0.0, 0.0, 4.0]
    assert components.seed.interval.low == 0.0


def test_equal_scores_do_not_vary():
    components = VarianceComponents.of(np.full((3, 4), 0.1))
    assert parts(components) == [Component(0.0, Interval(0.0, 0.0, 0.95))] * 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((1, 5)), r"at least two of each, got shape \(1, 5\)"),
        (np.ones(5), r"\[n_seeds, n_folds\]"),
        (np.full((2, 2), np.inf), "finite"),
    ],
)
def test_what_cannot_be_used_is_refused(values, message):
    with pytest.raises(BadInput, match=message):
        VarianceComponents.of(values)


def test_a_variance_below_zero_is_refused():
    with pytest.raises(ValueError, match="≥ 0, got -1"):
        Component(-1.0, Interval(0.0, 1.0, 0.95))
