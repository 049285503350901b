"""Loss against learning rate, as the rate rises."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.objective import Objective
from pipeline.plots import style


def plot_range(
    learning_rates: np.ndarray,
    losses: np.ndarray,
    smoothed: np.ndarray,
    path: Path,
    *,
    name: str,
    bounds: tuple[float, float] | None,
    words: str,
) -> Path:
    """Draw the mean training loss [n_points] at each learning rate, and the range to search."""
    figure = style.figure(4.5)
    axes = figure.subplots()
    axes.plot(learning_rates, losses, ".", color=style.FAINT, markersize=5)
    axes.plot(learning_rates, smoothed, color=style.TRAINING, linewidth=2)
    if bounds is not None:
        axes.axvspan(*bounds, color=style.CHOSEN, alpha=0.12, linewidth=0)
        for bound in bounds:
            axes.axvline(bound, color=style.CHOSEN, linewidth=1)
    low, high = style.scale([losses], Objective())
    high = max(high, float(smoothed[0]))
    margin = 0.08 * (high - low or abs(high) or 1.0)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", fontsize=style.NORMAL, color=style.TEXT)
    axes.set_ylabel("mean training loss", fontsize=style.NORMAL, color=style.TEXT)
    style.bare(axes)
    # Two lines, where one would be wider than the axes.
    head, _, tail = words.partition("; ")
    style.headline(axes, f"{name}: learning-rate range test", head, *([tail] if tail else []))
    return style.saved(figure, path)
