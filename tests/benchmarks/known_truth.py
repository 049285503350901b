"""K-fold cross-validation whose true risks are known: linear regression by mini-batch descent.

Rows are drawn anew for every replicate: x ~ N(0, diag(λ)), y = x·β + noise. Every fold trains its
own weights from zero, at every learning rate, with its own row orders. The risk of weights w is
(w − β)ᵀ diag(λ) (w − β) + noise², exactly; so the expected risk after e epochs on
(K − 1)/K of the rows is known up to the Monte Carlo error of a mean over all replicates and folds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scenario:
    """A regression problem and the trials that are run on it.

    noise: standard deviation of y about its mean; the signal's is 1
    decay: the features' variances fall as 1, 2^-decay, 3^-decay, …, scaled to a mean of 1
    learning_rates: one trial each
    """

    name: str
    n_rows: int
    n_features: int
    noise: float
    decay: float
    learning_rates: tuple[float, ...]
    n_epochs: int
    batch_size: int = 32

    @property
    def variances(self) -> np.ndarray:
        """The features' variances λ, [n_features]."""
        powers = np.arange(1.0, self.n_features + 1) ** -self.decay
        return powers / powers.mean()

    @property
    def weights(self) -> np.ndarray:
        """The true weights β, [n_features]: every feature explains the same share of the signal."""
        return 1 / np.sqrt(self.n_features * self.variances)


SCENARIOS = (
    Scenario("sharp optimum", 120, 80, 1.0, 0.0, (0.03, 0.04, 0.06, 0.08), 40),
    Scenario("flat optimum", 240, 20, 0.5, 0.5, (0.003, 0.01, 0.03, 0.06), 40),
    Scenario("optimum at the right edge", 120, 30, 0.5, 1.0, (0.004, 0.005, 0.0065, 0.008), 40),
)
FOLDS = (3, 5, 10, 20)

BLOCK = 50
"""Replicates trained at once."""


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Every replicate's out-of-fold losses and the true risks of the models behind them.

    row_losses: squared errors, [n_replicates, n_folds, n_rows of a fold, n_trials, n_epochs]
    risks: [n_replicates, n_folds, n_trials, n_epochs]
    """

    row_losses: np.ndarray
    risks: np.ndarray

    @classmethod
    def joined(cls, blocks: Iterable[CrossValidated]) -> CrossValidated:
        """Return the replicates of all blocks."""
        blocks = list(blocks)
        return cls(
            np.concatenate([block.row_losses for block in blocks]),
            np.concatenate([block.risks for block in blocks]),
        )

    @property
    def fold_losses(self) -> np.ndarray:
        """What cross-validation sees, [n_replicates, n_folds, n_trials, n_epochs]."""
        return self.row_losses.mean(axis=2)

    @property
    def expected_risks(self) -> np.ndarray:
        """The truth: risks averaged over replicates and folds, [n_trials, n_epochs]."""
        return self.risks.mean(axis=(0, 1))


def simulate(
    scenario: Scenario, n_folds: int, n_replicates: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, CrossValidated]]:
    """Yield features, targets and cross-validations of a block of replicates at a time."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_replicates, BLOCK):
        x, y = draw(scenario, min(BLOCK, n_replicates - start), rng)
        yield x, y, cross_validate(scenario, x, y, n_folds, rng)


def draw(
    scenario: Scenario, n_replicates: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return features [n_replicates, n_rows, n_features] and targets [n_replicates, n_rows]."""
    shape = (n_replicates, scenario.n_rows, scenario.n_features)
    x = rng.standard_normal(shape) * np.sqrt(scenario.variances)
    return x, x @ scenario.weights + scenario.noise * rng.standard_normal(shape[:2])


def cross_validate(
    scenario: Scenario, x: np.ndarray, y: np.ndarray, n_folds: int, rng: np.random.Generator
) -> CrossValidated:
    """Train every fold of every replicate at every learning rate.

    Fold k validates the k-th block of n_rows // n_folds rows: rows are exchangeable. Rows that are
    left over by the division are only trained on.
    """
    n_replicates, n_rows = y.shape
    fold_rows = np.arange(n_folds * (n_rows // n_folds)).reshape(n_folds, -1)
    training = np.stack([np.setdiff1d(np.arange(n_rows), rows) for rows in fold_rows])
    n_models = n_replicates * n_folds
    row_losses, risks = _trained(
        scenario,
        x[:, training].reshape(n_models, -1, x.shape[-1]),
        y[:, training].reshape(n_models, -1),
        x[:, fold_rows].reshape(n_models, -1, x.shape[-1]),
        y[:, fold_rows].reshape(n_models, -1),
        rng,
    )
    by_fold = (n_replicates, n_folds)
    return CrossValidated(
        row_losses.reshape(*by_fold, *row_losses.shape[1:]),
        risks.reshape(*by_fold, *risks.shape[1:]),
    )


def _trained(
    scenario: Scenario,
    x: np.ndarray,
    y: np.ndarray,
    validation_x: np.ndarray,
    validation_y: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return row losses [n_models, n_validation, n_trials, n_epochs] and risks without rows."""
    n_models, n_rows, n_features = x.shape
    rates = np.array(scenario.learning_rates)
    weights = np.zeros((n_models, n_features, len(rates)))
    truth = scenario.weights[:, None]
    model = np.arange(n_models)[:, None]
    shape = (n_models, validation_y.shape[1], len(rates), scenario.n_epochs)
    row_losses = np.empty(shape)
    risks = np.empty((n_models, len(rates), scenario.n_epochs))
    for epoch in range(scenario.n_epochs):
        order = rng.permuted(np.tile(np.arange(n_rows), (n_models, 1)), axis=1)
        for start in range(0, n_rows, scenario.batch_size):
            rows = order[:, start : start + scenario.batch_size]
            batch = x[model, rows]
            residuals = batch @ weights - y[model, rows][..., None]
            weights -= rates * (batch.swapaxes(1, 2) @ residuals) * (2 / rows.shape[1])
        row_losses[..., epoch] = (validation_x @ weights - validation_y[..., None]) ** 2
        errors = (weights - truth) ** 2 * scenario.variances[:, None]
        risks[..., epoch] = errors.sum(axis=1) + scenario.noise**2
    return row_losses, risks


def table(rows: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return a Markdown table: row -> column -> one value per replicate, as mean ± its error.

    The error is the Monte Carlo standard error of the mean over replicates.
    """
    columns = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = (_cell(np.asarray(row[column], dtype=np.float64)) for column in columns)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: np.ndarray) -> str:
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    digits = 3 if abs(values.mean()) < 10 else 1
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"
