"""Do the sets and intervals hold the truth as often as they say, and how wide are they?

    python tests/benchmarks/coverage.py
    python tests/benchmarks/coverage.py --replicates 100

K-fold cross-validation of `known_truth.py`, where the truth is known: for each scenario and each
number of folds, means over replicates ± their Monte Carlo standard errors. The truth is the
expected risk of models trained on (K − 1)/K of the rows, averaged over data sets. The epochs are
those of the trial that is best in truth; the trials are taken each at the epoch that looks best.
All at 95 %.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import stats

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.uncertainty import Interval, bootstrapped, confidence_set, score_interval
from tests.benchmarks.known_truth import (
    FOLDS,
    SCENARIOS,
    CrossValidated,
    Scenario,
    simulate,
    table,
)


def measured(validated: CrossValidated, n_resamples: int) -> dict[str, dict[str, list[float]]]:
    """Return question -> what was measured -> one value per replicate.

    n_resamples: of the bootstrap
    """
    truth = validated.expected_risks
    trial = int(truth.min(axis=1).argmin())
    epoch = int(truth[trial].argmin())
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row_losses, losses in zip(validated.row_losses, validated.fold_losses, strict=True):
        at_their_best = losses[:, np.arange(len(truth)), losses.mean(axis=0).argmin(axis=1)]
        of_set(found["epochs' set"], losses[:, trial], epoch)
        of_set(found["trials' set"], at_their_best, trial)
        chosen = int(losses[:, trial].mean(axis=0).argmin())
        of_score(found["score"], "true best epoch", losses[:, trial, epoch], truth[trial, epoch])
        of_score(found["score"], "chosen epoch", losses[:, trial, chosen], truth[trial, chosen])
        epochs = bootstrapped(row_losses[:, :, trial], best_of_mean, n_resamples=n_resamples)
        interval = Interval.of_percentiles(epochs)
        found["bootstrap of the best epoch"]["covers"].append(epoch + 1 in interval)
        found["bootstrap of the best epoch"]["epochs"].append(interval.high - interval.low + 1)
    return found


def of_set(found: dict[str, list[float]], losses: np.ndarray, best: int) -> None:
    """Note whether the set holds `best`, and its size, without and with the correction."""
    for name, ratio in (("", 0.0), ("corrected: ", 1 / (len(losses) - 1))):
        kept = confidence_set(losses, validation_to_training=ratio)
        assert kept is not None
        found[f"{name}covers"].append(kept[best])
        found[f"{name}size"].append(kept.sum())


def of_score(found: dict[str, list[float]], which: str, scores: np.ndarray, truth: float) -> None:
    """Note whether the t interval of the scores covers, without and with the correction."""
    corrected = score_interval(scores, validation_to_training=1 / (len(scores) - 1))
    assert corrected is not None
    low, high = stats.t.interval(0.95, len(scores) - 1, scores.mean(), stats.sem(scores))
    found[f"{which}: naive t"].append(low <= truth <= high)
    found[f"{which}: corrected"].append(truth in corrected)


def best_of_mean(curves: np.ndarray, _: np.ndarray) -> int:
    """Return the number of epochs at which the mean over folds is lowest."""
    return int(curves.mean(axis=0).argmin()) + 1


def report(scenario: Scenario, folds: Iterable[int], n_replicates: int, n_resamples: int) -> str:
    """Return a scenario's tables."""
    by_folds = {}
    truths = []
    for n_folds in folds:
        blocks = simulate(scenario, n_folds, n_replicates)
        validated = CrossValidated.joined(block for _, _, block in blocks)
        truth = validated.expected_risks
        trial = int(truth.min(axis=1).argmin())
        truths.append(f"{truth[trial].argmin() + 1} epochs of trial {trial + 1} for K = {n_folds}")
        by_folds[f"K = {n_folds}"] = measured(validated, n_resamples)
    parts = [
        f"## {scenario.name}: {scenario.n_rows} rows, {scenario.n_epochs} epochs, "
        f"{len(scenario.learning_rates)} trials; best in truth: {', '.join(truths)}"
    ]
    for question in next(iter(by_folds.values())):
        rows = {name: found[question] for name, found in by_folds.items()}
        parts += [f"**{question}**", table(rows)]
    return "\n\n".join(parts)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=200, help="data sets per setting")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap")
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
