"""How much too good is the score of the best trial at its best epoch, and what corrects it?

    python tests/benchmarks/optimism.py
    python tests/benchmarks/optimism.py --replicates 40

K-fold cross-validation of `known_truth.py`, where the truth is known: for each scenario and each
number of folds, the mean over replicates of (reported loss − true risk), ± its Monte Carlo standard
error; below zero is too good. The trial and epoch are chosen where the mean over folds is lowest,
and their truth is the risk of those very models, averaged over folds. For nested cross-validation,
whose folds choose for themselves, it is the risk of the models that they chose. From every
difference that of a fixed trial and epoch is taken, which is zero in expectation and cancels most
of the scatter of the data sets. The standard error that is the unit of a second table is sd/√K at
the chosen epoch, averaged over replicates.

Ways of reporting it: the minimum as it is (naive); for one trial, the one that is best in truth,
the minimum over its epochs, naive and with Tibshirani & Tibshirani's correction; the bootstrap
bias-corrected estimate over trials, each at its best epoch, which leaves the choice of the epoch
uncorrected, and over all pairs of trial and epoch, which corrects both; nested cross-validation
with three inner folds.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.uncertainty import over_trials, within_trial
from tests.benchmarks.known_truth import (
    FOLDS,
    SCENARIOS,
    CrossValidated,
    Scenario,
    cross_validate,
    simulate,
    table,
)

N_INNER_FOLDS = 3


def measured(
    validated: CrossValidated, of_nested: np.ndarray, n_resamples: int
) -> dict[str, dict[str, list[float]]]:
    """Return unit -> way of reporting -> reported loss less true risk, one per replicate.

    of_nested: what `nested` returned, [n_replicates]
    n_resamples: of the bootstrap
    """
    found: dict[str, list[float]] = defaultdict(list)
    standard_errors = []
    expected = validated.expected_risks
    trial = expected.min(axis=1).argmin()
    fixed = (trial, expected[trial].argmin())
    for row_losses, risks, of_nested_here in zip(
        validated.row_losses, validated.risks, of_nested, strict=True
    ):
        losses, truth = row_losses.mean(axis=1), risks.mean(axis=0)
        mean = losses.mean(axis=0)
        best = np.unravel_index(mean.argmin(), mean.shape)
        standard_errors.append(losses[:, *best].std(ddof=1) / np.sqrt(len(losses)))
        epoch = mean[trial].argmin()
        bias = within_trial(losses[:, trial])
        assert bias is not None
        rows = row_losses.reshape(-1, *mean.shape)
        at_their_best = rows[:, np.arange(len(mean)), mean.argmin(axis=1)]
        pairs = rows.reshape(len(rows), -1)
        errors = {
            "naive": mean[best] - truth[best],
            "naive, one trial": mean[trial, epoch] - truth[trial, epoch],
            "Tibshirani, one trial": mean[trial, epoch] + bias - truth[trial, epoch],
            "BBC-CV, trials": over_trials(at_their_best, n_resamples=n_resamples) - truth[best],
            "BBC-CV, trials × epochs": over_trials(pairs, n_resamples=n_resamples) - truth[best],
            "nested": of_nested_here,
        }
        for way, error in errors.items():
            found[way].append(error - (mean[fixed] - truth[fixed]))
    unit = np.mean(standard_errors)
    return {
        "units of the loss": found,
        "standard errors of the naive mean": {
            way: [error / unit for error in errors] for way, errors in found.items()
        },
    }


def nested(
    scenario: Scenario, x: np.ndarray, y: np.ndarray, outer: CrossValidated, seed: int = 0
) -> np.ndarray:
    """Return reported loss less true risk of nested cross-validation, [n_replicates].

    outer: the cross-validation of these data; each of its folds takes the trial and the epoch that
    are best in a cross-validation of its own training rows
    """
    n_folds = outer.risks.shape[1]
    rng = np.random.default_rng(seed)
    rows = np.arange(y.shape[1])
    errors = np.empty((len(y), n_folds))
    for fold, validation in enumerate(rows.reshape(n_folds, -1)):
        training = np.setdiff1d(rows, validation)
        inner = cross_validate(scenario, x[:, training], y[:, training], N_INNER_FOLDS, rng)
        chosen = inner.fold_losses.mean(axis=1).reshape(len(y), -1).argmin(axis=1)[:, None]
        reported = outer.fold_losses[:, fold].reshape(len(y), -1)
        truth = outer.risks[:, fold].reshape(len(y), -1)
        errors[:, fold] = np.take_along_axis(reported - truth, chosen, axis=1)[:, 0]
    return errors.mean(axis=1)


def report(scenario: Scenario, folds: Iterable[int], n_replicates: int, n_resamples: int) -> str:
    """Return a scenario's tables."""
    by_folds = {}
    for n_folds in folds:
        blocks, of_nested = [], []
        for x, y, block in simulate(scenario, n_folds, n_replicates):
            blocks.append(block)
            of_nested.append(nested(scenario, x, y, block))
        validated = CrossValidated.joined(blocks)
        by_folds[f"K = {n_folds}"] = measured(validated, np.concatenate(of_nested), n_resamples)
    parts = [f"## {scenario.name}: {scenario.n_rows} rows, {len(scenario.learning_rates)} trials"]
    for unit in next(iter(by_folds.values())):
        parts += [f"In {unit}:", table({name: found[unit] for name, found in by_folds.items()})]
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=200, help="data sets per setting")
    parser.add_argument("--resamples", type=int, default=300, help="of the bootstrap")
    parser.add_argument("--folds", type=int, nargs="+", default=FOLDS, help="divisors of 120")
    options = parser.parse_args(arguments)
    for scenario in SCENARIOS:
        print(
            report(scenario, options.folds, options.replicates, options.resamples),
            end="\n\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
