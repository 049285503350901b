"""What the pictures have in common: colours, titles, and scales that a diverging trial keeps."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pipeline.objective import Objective

VALIDATION, TRAINING, CHOSEN = "#0072B2", "#009E73", "#D55E00"
"""From the palette of Okabe & Ito (2008), told apart without red or green."""

FAINT, QUIET, TEXT = "#c3c7ce", "#6b7280", "#1f2328"

TINY, SMALL, NORMAL, LARGE = 7, 8.5, 9.5, 12

BEST_SHARE = 0.9
"""Share of the values that a scale holds, the best: first epochs and diverging trials may leave."""


def figure(height: float) -> Figure:
    """Return an empty figure, 9 inches wide."""
    return Figure(
        figsize=(9, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, hspace=0.02)
    )


def scale(values: Iterable[np.ndarray], objective: Objective) -> tuple[float, float]:
    """Return the lowest and highest of the best `BEST_SHARE` of all finite values."""
    losses = objective.as_loss(np.concatenate([np.ravel(each) for each in values]))
    losses = losses[np.isfinite(losses)]
    ends = objective.as_loss(np.array([losses.min(), np.quantile(losses, BEST_SHARE)]))
    return float(ends.min()), float(ends.max())


def headline(axes: Axes, title: str, *lines: str) -> None:
    """Write a title and smaller lines under it, flush left above the axes."""
    axes.set_title(title, loc="left", fontsize=LARGE, color=TEXT, pad=8 + 13 * len(lines))
    for index, line in enumerate(reversed(lines)):
        axes.annotate(
            line, (0, 1), xytext=(0, 6 + 13 * index), xycoords="axes fraction",
            textcoords="offset points", fontsize=SMALL, color=QUIET,
        )  # fmt: skip


def bare(axes: Axes) -> None:
    """Leave only the axes that are read."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=TEXT, labelsize=SMALL)


def counted(n_epochs: int) -> str:
    """Return "1 epoch", "2 epochs"."""
    return f"{n_epochs} epoch{'s' * (n_epochs != 1)}"


def saved(figure: Figure, path: Path, *, small: Path | None = None) -> Path:
    """Write the figure as a PNG and return its path. small: where to write half of its size, too"""
    figure.savefig(path, dpi=150)
    if small is not None:
        figure.savefig(small, dpi=75)
    return path
