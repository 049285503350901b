"""What every page is made with: templates, Bokeh's JavaScript in the file, figures as data."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from bokeh.embed import json_item
from bokeh.resources import Resources
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from pipeline.review.house import Picture


def framed(template: str, pictures: Iterable[Picture], /, **values: Any) -> str:
    """Return a whole page that asks nobody for anything. Whatever a user wrote is escaped in it.

    template: of `templates/`; pictures: all that are in it; values: what it shows
    """
    return (
        _environment()
        .get_template(template)
        .render(
            library=_library(),
            figures=_as_script([json_item(each.plot, each.name) for each in pictures]),
            **values,
        )
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
