"""Pictures of a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pipeline.decision import with_error
from pipeline.objective import Objective
from pipeline.results import StudyResult

TRIAL_COLOR, BEST_COLOR, CHOICE_COLOR = "#b8bcc4", "#1f5fbf", "#c2410c"


def plot_curves(result: StudyResult, path: Path) -> Path:
    """Draw every trial's mean curve, the best one's folds and error band, and the chosen epoch.

    The scale holds the best nine tenths of the values: a diverging trial flattens no other.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    best, choice, objective = result.best, result.choice, result.spec.objective
    assert best.curves is not None  # a best trial has a value, so it has curves
    others = [trial.curves for trial in result.trials if trial.curves and trial is not best]
    for curves in others:
        axes.plot(_epochs(curves.n_epochs), curves.mean, color=TRIAL_COLOR, linewidth=0.8)
    epochs, mean = _epochs(best.curves.n_epochs), best.curves.mean
    axes.plot(epochs, best.curves.values.T, color=BEST_COLOR, linewidth=0.6, alpha=0.45)
    axes.plot(epochs, mean, color=BEST_COLOR, linewidth=2.2, label=f"trial {best.number}, mean")
    if best.curves.standard_error is not None:
        error = best.curves.standard_error
        axes.fill_between(
            epochs, mean - error, mean + error, color=BEST_COLOR, alpha=0.18, linewidth=0,
            label="± standard error",
        )  # fmt: skip
    axes.axvline(choice.n_epochs, color=CHOICE_COLOR, linewidth=1.4, linestyle="--")
    axes.plot(choice.n_epochs, choice.score, "o", color=CHOICE_COLOR,
              label=f"chosen: {choice.n_epochs} epochs ({choice.rule})")  # fmt: skip
    axes.plot([], [], color=TRIAL_COLOR, label=f"{len(others)} other trials, mean")
    axes.set_ylim(*_limits([best.curves.values, *(curves.mean for curves in others)], objective))
    axes.set_xlim(left=1)
    axes.set_xlabel("epochs")
    axes.set_ylabel(objective.metric)
    axes.set_title(
        f"{result.spec.name}: learning rate {best.params['learning_rate']:.3g}, "
        f"{choice.n_epochs} epochs, {objective.metric} "
        f"{with_error(choice.score, choice.standard_error)}",
        loc="left",
        fontsize=10,
    )
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    return path


def _epochs(n_epochs: int) -> np.ndarray:
    return np.arange(1, n_epochs + 1)


def _limits(values: list[np.ndarray], objective: Objective) -> tuple[float, float]:
    """Return limits that hold the best nine tenths of the values."""
    losses = objective.as_loss(np.concatenate([each.ravel() for each in values]))
    best, worst = float(losses.min()), float(np.quantile(losses, 0.9))
    margin = 0.05 * (worst - best or 1.0)
    low, high = objective.as_loss(np.array([best - margin, worst + margin]))
    return min(low, high), max(low, high)
