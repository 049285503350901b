"""Learning rate × epochs, with values under the pointer."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import BasicTicker, ColorBar, LinearColorMapper, Range1d
from bokeh.palettes import Viridis256

from pipeline.objective import Objective
from pipeline.plots.strips import Strips, strips_of
from pipeline.plots.style import counted, scale
from pipeline.results import Outcome, StudyResult
from pipeline.review import house
from pipeline.review.house import CHOSEN, FONT, NEUTRAL, Key, Picture

DARK = "#1f2328"
"""Of marks that lie on the map's colours, in both schemes."""

IN_KEY = "currentColor"
"""Of the same marks in the key, which lies on the page: on a dark one they would not be seen."""


def rate_map(result: StudyResult) -> Picture | None:
    """Return every trial's mean after every epoch, by learning rate; None with a single one."""
    strips = strips_of(result)
    if strips is None:
        return None
    metric = result.spec.objective.metric
    low, high = float(strips.edges[0]), float(strips.edges[-1])
    plot = house.canvas(
        x="learning rate, log scale", y="epochs", height=420, x_axis_type="log",
        x_range=Range1d(low, high), y_range=Range1d(0.5, strips.last_epoch + 0.5),
    )  # fmt: skip
    plot.grid.visible = False
    house.logarithmic(plot.xaxis[0], low, high)
    house.whole_numbers(plot.yaxis[0])
    _cells(plot, strips, result.spec.objective)
    plot.multi_line(
        [[a[0], b[0]] for a, b in strips.borders], [[a[1], b[1]] for a, b in strips.borders],
        line_color=DARK, line_width=1.8,
    )  # fmt: skip
    keys = [*_marks(plot, strips, result)]
    better = "lower" if result.spec.objective.direction == "minimize" else "higher"
    return Picture(
        name="map",
        title="Learning rate against epochs",
        caption=f"Mean {metric} of each trial after each epoch; {better} is better. Blank: not "
        "trained. A larger learning rate needs fewer epochs, until it overshoots.",
        plot=plot,
        keys=(Key("box", IN_KEY, "cannot be told from the winner's best"), *keys),
    )


def _cells(plot: Any, strips: Strips, objective: Objective) -> None:
    curves = {i: trial.curves for i, trial in enumerate(strips.trials) if trial.curves}
    shown = list(curves)
    low, high = scale([strips.means], objective)
    if low == high:
        high = low + (abs(low) or 1.0)
    mapper = LinearColorMapper(palette=_palette(objective), low=low, high=high)
    cells = plot.image(
        image="mean", x="left", y=0.5, dw="width", dh="n_epochs", color_mapper=mapper,
        source={
            "mean": [curves[i].mean[:, np.newaxis].astype(np.float32) for i in shown],
            "left": strips.edges[shown],
            "width": np.diff(strips.edges)[shown],
            "n_epochs": [curves[i].n_epochs for i in shown],
            "trial": [strips.trials[i].number for i in shown],
            "rate": [f"{strips.trials[i].params['learning_rate']:.3g}" for i in shown],
            "outcome": [strips.trials[i].outcome.label for i in shown],
        },
    )  # fmt: skip
    rows = [
        ("trial", "@trial, @outcome"),
        ("learning rate", "@rate"),
        ("epochs", "$y{0}"),
        (f"mean {objective.metric}", "@mean{0.0000}"),
    ]
    house.hover(plot, [cells], rows)
    plot.add_layout(
        ColorBar(
            color_mapper=mapper, orientation="horizontal", height=10, margin=0, padding=4,
            title=f"mean {objective.metric}", title_text_font=FONT, title_text_font_size="12px",
            title_text_font_style="normal", major_label_text_font=FONT,
            major_label_text_font_size="11px", background_fill_color=None,
            ticker=BasicTicker(desired_num_ticks=5),
        ),
        "below",
    )  # fmt: skip


def _palette(objective: Objective) -> list[str]:
    """Return the colours from the lowest to the highest value, the best the brightest.

    What matters differs by little near the best: half of the colours for a quarter of the scale.
    """
    steps = np.round(255 * (1 - np.sqrt(np.linspace(0, 1, 256)))).astype(int)
    colors = [Viridis256[step] for step in steps]
    return colors if objective.direction == "minimize" else colors[::-1]


def _marks(plot: Any, strips: Strips, result: StudyResult) -> list[Key]:
    """Mark where the learning rates lie in their strips, what came of them, and the choice."""
    finished = [trial for trial in strips.trials if trial.best_n_epochs]
    plot.scatter(
        [trial.params["learning_rate"] for trial in finished],
        [trial.best_n_epochs for trial in finished],
        size=8, fill_color=DARK, line_color="white",
    )  # fmt: skip
    keys = [Key("circle", IN_KEY, "a trial's best epoch")]
    for outcome in (Outcome.PRUNED, Outcome.FAILED):
        rates = [t.params["learning_rate"] for t in strips.trials if t.outcome is outcome]
        if rates:
            foot = 0.5 + 0.03 * strips.last_epoch
            plot.scatter(
                rates, [foot] * len(rates), marker=house.MARKER_OF[outcome], size=9,
                fill_color=NEUTRAL, line_color="white",
            )  # fmt: skip
            keys.append(Key(house.MARKER_OF[outcome], NEUTRAL, f"{outcome.label}, at the foot"))
    rate, n_epochs = result.best.params["learning_rate"], result.choice.n_epochs
    plot.scatter([rate], [n_epochs], marker="star", size=20, fill_color=CHOSEN, line_color="white")
    return [*keys, Key("star", CHOSEN, f"chosen: {rate:.3g}, {counted(n_epochs)}")]
