"""What the page's figures have in common: one size, one type, colours for light and dark, keys."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bokeh.models import BasicTicker, FixedTicker, HoverTool, Label
from bokeh.plotting import figure

from pipeline.results import Outcome

VALIDATION, TRAINING, CHOSEN = "#0072B2", "#009E73", "#D55E00"
"""From the palette of Okabe & Ito (2008), told apart without red or green."""

NEUTRAL = "#7d8590"
"""A grey that is read on white (4:1) and on the dark page (5:1). Axes and their text get the page's
own colours, from `page.js`."""

Mark = Literal[
    "line",
    "dash",
    "band",
    "box",
    "star",
    "circle",
    "diamond",
    "inverted_triangle",
    "triangle",
    "x",
    "square",
]

OF_OUTCOME = {
    Outcome.COMPLETED: VALIDATION,
    Outcome.STOPPED_EARLY: "#56B4E9",
    Outcome.PRUNED: NEUTRAL,
    Outcome.FAILED: "#CC79A7",
    Outcome.INTERRUPTED: "#E69F00",
    Outcome.PAUSED: "#F0E442",
}

MARKER_OF: dict[Outcome, Mark] = {
    Outcome.COMPLETED: "circle",
    Outcome.STOPPED_EARLY: "diamond",
    Outcome.PRUNED: "inverted_triangle",
    Outcome.FAILED: "x",
    Outcome.INTERRUPTED: "square",
    Outcome.PAUSED: "triangle",
}

FONT = "system-ui, sans-serif"


@dataclass(frozen=True)
class Key:
    """One entry of a figure's legend, which is text of the page: it wraps on a phone."""

    mark: Mark
    color: str
    label: str


def keys_of(outcomes: Iterable[Outcome]) -> tuple[Key, ...]:
    """Return the keys of markers by outcome."""
    return tuple(Key(MARKER_OF[each], OF_OUTCOME[each], each.label) for each in outcomes)


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of the page.

    name: its anchor; caption: what to see in it, in a sentence or two
    """

    name: str
    title: str
    caption: str
    plot: Any
    keys: tuple[Key, ...] = ()


def canvas(*, x: str, y: str, height: int, **options: Any) -> Any:
    """Return an empty plot as wide as the page. x, y: the axes' titles.

    No tool takes hold of a drag, so a finger on the plot scrolls the page.
    """
    plot = figure(
        height=height, sizing_mode="stretch_width", tools="", toolbar_location=None,
        x_axis_label=x, y_axis_label=y, background_fill_color=None, border_fill_color=None,
        outline_line_color=None, **options,
    )  # fmt: skip
    for axis in plot.axis:
        axis.axis_label_text_font = axis.major_label_text_font = FONT
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"
        axis.minor_tick_line_color = None
    plot.grid.grid_line_alpha = 0.25
    plot.grid.grid_line_color = NEUTRAL
    plot.min_border_right = 12
    return plot


def hover(
    plot: Any,
    renderers: Sequence[Any],
    rows: Sequence[tuple[str, str]],
    *,
    mode: Literal["mouse", "vline"] = "mouse",
    **options: Any,
) -> None:
    """Show values under the pointer. rows: label and "@column", which Bokeh escapes."""
    plot.add_tools(HoverTool(renderers=list(renderers), tooltips=list(rows), mode=mode, **options))


def whole_numbers(axis: Any) -> None:
    """Have ticks at counts only."""
    axis.ticker = BasicTicker(min_interval=1, mantissas=[1, 2, 5], num_minor_ticks=0)


def logarithmic(axis: Any, low: float, high: float) -> None:
    """Have ticks at 1, 2, 5 or at 1 of each decade, written as numbers: 0.001."""
    mantissas = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**d for d in decades for m in mantissas]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axis.ticker = FixedTicker(ticks=ticks)
    axis.major_label_overrides = {tick: f"{tick:.3g}" for tick in ticks}


def note(plot: Any, text: str, **where: Any) -> None:
    """Write a few words into the plot, in the colour of the page's quiet text."""
    plot.add_layout(
        Label(text=text, text_color=NEUTRAL, text_font=FONT, text_font_size="11px", **where)
    )
