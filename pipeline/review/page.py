"""The page: figures, tables and facts in one HTML file that asks nobody for anything."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from bokeh.embed import json_item
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from pipeline import wording
from pipeline.optimization import N_FOR_IMPORTANCES
from pipeline.results import StudyResult
from pipeline.review import curves, rate_map, space, tables, timeline
from pipeline.review.account import Account
from pipeline.review.summary import headline
from pipeline.review.times import savings_in_words


def html(result: StudyResult, account: Account) -> str:
    """Return the whole page. Whatever a user wrote is escaped in it."""
    pictures = {
        "curves": curves.learning_curves(result),
        "map": rate_map.rate_map(result),
        "importances": space.importance_bars(account.importances),
        "timeline": timeline.timeline(result, account.spans),
    }
    slices, slices_keys = space.slices(result)
    plots = [picture for picture in (*pictures.values(), *slices) if picture is not None]
    page = _environment().get_template("page.html.jinja")
    return page.render(
        result=result,
        headline=headline(result),
        findings=wording.findings(result),
        counts=tables.counts(result),
        pictures=pictures,
        slices=slices,
        slices_keys=slices_keys,
        savings=savings_in_words(result),
        n_for_importances=N_FOR_IMPORTANCES,
        n_with_value=sum(trial.value is not None for trial in result.trials),
        ways=tables.ways_table(result, account),
        remarks=account.remarks,
        trials=tables.trials_table(result),
        repeating=account.repeating(result),
        fields=result.spec.described(),
        library=_library(),
        figures=_as_script([json_item(each.plot, each.name) for each in plots]),
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("pipeline.review", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _library() -> Markup:
    """Return Bokeh's JavaScript, minified: its core, without widgets, tables, WebGL and MathJax."""
    return Markup("\n".join(Resources(mode="inline", components=["bokeh"]).js_raw))


def _as_script(values: Any) -> Markup:
    """Return JSON that no HTML parser takes for the end of its script."""
    text = json.dumps(values, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
