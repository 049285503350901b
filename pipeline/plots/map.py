"""Learning rate × epochs: how a larger learning rate moves the epochs that are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from pipeline.objective import Objective
from pipeline.plots import style
from pipeline.plots.strips import Equivalent, Segment, strips_of
from pipeline.results import Outcome, StudyResult, TrialResult


def plot_map(
    result: StudyResult, path: Path, *, equivalent: Equivalent | None = None
) -> Path | None:
    """Draw the mean metric of every trial after every epoch, by learning rate.

    equivalent: which epochs of a trial cannot be told from the winner's best; they are outlined.
        Left out: those within one standard error of the folds' differences to it

    A strip is blank where nothing was trained. Returns None, and draws nothing, when all trials had
    the same learning rate.
    """
    strips = strips_of(result, equivalent)
    if strips is None:
        return None
    figure = style.figure(5)
    axes = figure.subplots()
    objective, edges = result.spec.objective, strips.edges
    losses = objective.as_loss(strips.means)
    mesh = axes.pcolormesh(
        edges,
        np.arange(len(losses) + 1) + 0.5,
        losses,
        # What matters differs by little near the best: half of the colours for a quarter of it.
        norm=PowerNorm(0.5, *style.scale([losses], Objective())),
        cmap="viridis_r",
        rasterized=True,
    )
    _outline(axes, strips.borders)
    _mark(axes, result, strips.trials)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0.5, strips.last_epoch + 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.set_xlabel("learning rate", fontsize=style.NORMAL, color=style.TEXT)
    axes.set_ylabel("epochs", fontsize=style.NORMAL, color=style.TEXT)
    style.bare(axes)
    bar = figure.colorbar(
        mesh, ax=axes, extend="max", pad=0.02,
        format=lambda loss, _: f"{objective.as_loss(np.asarray(loss)):.3g}",
    )  # fmt: skip
    bar.set_label(f"mean {objective.metric}", fontsize=style.NORMAL, color=style.TEXT)
    bar.ax.tick_params(labelsize=style.SMALL)
    better = "lower"
    if objective.direction == "maximize":
        bar.ax.invert_yaxis()
        better = "higher"
    style.headline(
        axes,
        f"{result.spec.name}: learning rate against epochs",
        f"mean {objective.metric} of each trial after each epoch, {better} is better; blank: not "
        "trained",
    )
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=style.SMALL)
    return style.saved(figure, path)


def _outline(axes: Axes, segments: Sequence[Segment]) -> None:
    lines = LineCollection(
        segments, colors=style.TEXT, linewidths=1.5, capstyle="projecting",
        label="cannot be told from the winner's best",
    )  # fmt: skip
    axes.add_collection(lines)


def _mark(axes: Axes, result: StudyResult, trials: Sequence[TrialResult]) -> None:
    """Mark where the learning rates lie in their strips, what came of them, and the choice."""
    finished = [(t.params["learning_rate"], t.best_n_epochs) for t in trials if t.best_n_epochs]
    axes.plot(*zip(*finished, strict=True), "o", markersize=5, color=style.TEXT,
              markeredgecolor="white", label="a trial's best epoch")  # fmt: skip
    for outcome, marker in ((Outcome.PRUNED, "v"), (Outcome.FAILED, "X")):
        rates = [t.params["learning_rate"] for t in trials if t.outcome is outcome]
        if rates:
            axes.plot(
                rates, [0.02] * len(rates), marker, transform=axes.get_xaxis_transform(),
                color=style.QUIET, markersize=7, markeredgecolor="white", label=outcome.label,
            )  # fmt: skip
    rate, n_epochs = result.best.params["learning_rate"], result.choice.n_epochs
    axes.plot(
        rate, n_epochs, "*", markersize=15, color=style.CHOSEN, markeredgecolor="white", zorder=5,
        label=f"chosen: {rate:.3g}, {style.counted(n_epochs)}",
    )  # fmt: skip
