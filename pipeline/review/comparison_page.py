"""The page of two answers side by side: both mean curves, and tables of what changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, Range1d, Span

from pipeline.answers import Answer
from pipeline.plots.style import scale
from pipeline.review import house
from pipeline.review.comparison import ALWAYS, GROUPS, Comparison, Row, headline
from pipeline.review.frame import framed
from pipeline.review.house import NEUTRAL, VALIDATION, Key, Picture
from pipeline.review.tables import Cell, Table
from pipeline.wording import with_error

GONE = "The curves are gone: `maintain clean` keeps decisions alone."


def html(comparison: Comparison) -> str:
    """Return the whole page."""
    picture = both_curves(comparison)
    return framed(
        "comparison.html.jinja",
        [] if picture is None else [picture],
        before=comparison.before,
        now=comparison.now,
        headline=headline(comparison),
        picture=picture,
        gone=GONE,
        tables=list(_tables(comparison)),
    )


def both_curves(comparison: Comparison) -> Picture | None:
    """Return both winners' mean curves with their chosen epochs; None without any curve."""
    pairs = ((comparison.before, NEUTRAL), (comparison.now, VALIDATION))
    drawn = [(answer, color) for answer, color in pairs if answer.curves is not None]
    if not drawn:
        return None
    objective = comparison.now.objective
    means = [answer.curves.mean for answer, _ in drawn if answer.curves is not None]
    low, high = scale([*means, *_bands_at_choice(answer for answer, _ in drawn)], objective)
    margin = 0.1 * (high - low or abs(high) or 1.0)
    plot = house.canvas(
        x="epochs", y=f"{comparison.metric}, mean over folds", height=420,
        x_range=Range1d(0.5, max(map(len, means)) + 0.5),
        y_range=Range1d(low - margin, high + margin),
    )  # fmt: skip
    house.whole_numbers(plot.xaxis[0])
    keys = [key for answer, color in drawn for key in _curve(plot, answer, color)]
    return Picture(
        name="curves",
        title="Both learning curves",
        caption="Each answer's best trial, mean over its folds ± standard error, and the number of "
        "epochs that was chosen from it.",
        plot=plot,
        keys=tuple(keys),
    )


def _bands_at_choice(answers: Iterable[Answer]) -> Iterator[np.ndarray]:
    """Yield each chosen score less and plus its standard error, to be held by the scale."""
    for answer in answers:
        error = answer.values["standard_error"] or 0.0
        yield answer.values["score"] + np.array([-error, error])


def _curve(plot: Any, answer: Answer, color: str) -> list[Key]:
    curves, n_chosen = answer.curves, answer.values["n_epochs"]
    assert curves is not None
    counts, errors = np.arange(1, curves.n_epochs + 1), curves.standard_error
    scores = [
        with_error(float(mean), None if errors is None else float(errors[index]))
        for index, mean in enumerate(curves.mean)
    ]
    source = ColumnDataSource({"epochs": counts, "mean": curves.mean, "score": scores})
    keys = []
    if errors is not None:
        plot.varea(counts, curves.mean - errors, curves.mean + errors, color=color, alpha=0.2)
        keys.append(Key("band", color, "± standard error"))
    line = plot.line("epochs", "mean", source=source, line_color=color, line_width=2.6)
    plot.add_layout(Span(location=n_chosen, dimension="height", line_color=color, line_dash=[4, 3]))
    plot.scatter([n_chosen], [answer.values["score"]], size=11, color=color, line_color="white")
    rows = [(answer.name, "@score"), ("epochs", "@epochs")]
    house.hover(plot, [line], rows, mode="vline", line_policy="nearest")
    chosen = f"chosen: {n_chosen} epochs"
    return [Key("line", color, answer.name), *keys, Key("circle", color, chosen)]


def _tables(comparison: Comparison) -> Iterator[tuple[str, Table, str]]:
    """Yield each group's name, its rows, and what to say of rows that are left out."""
    rows, shown = comparison.rows(), comparison.shown()
    for group in GROUPS:
        n_same = sum(row.group == group for row in rows) - sum(r.group == group for r in shown)
        remark = "" if group in ALWAYS else f"{n_same} more are the same, or were not noted."
        cells = [_cells(row) for row in shown if row.group == group]
        columns = [group, comparison.before.name, comparison.now.name, "changed"]
        yield group, Table([(name, "text") for name in columns], cells), remark


def _cells(row: Row) -> list[Cell]:
    texts = (row.label, row.before, row.now, "changed" if row.changed else "")
    return [Cell(text, text) for text in texts]
