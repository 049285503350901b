"""Values as the Python source of a study file: data files' names are quoted, never run."""

from __future__ import annotations

import ast
import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

WIDTH = 96

HOMES = {
    "CategoricalDistribution": "optuna.distributions",
    "FloatDistribution": "optuna.distributions",
    "IntDistribution": "optuna.distributions",
    "ColumnTransformer": "sklearn.compose",
    "MissingIndicator": "sklearn.impute",
    "SimpleImputer": "sklearn.impute",
    "GroupKFold": "sklearn.model_selection",
    "KFold": "sklearn.model_selection",
    "StratifiedGroupKFold": "sklearn.model_selection",
    "StratifiedKFold": "sklearn.model_selection",
    "TimeSeriesSplit": "sklearn.model_selection",
    "make_pipeline": "sklearn.pipeline",
    "OneHotEncoder": "sklearn.preprocessing",
    "StandardScaler": "sklearn.preprocessing",
}
"""Where a study file has names from, besides this package."""


def source_of_value(value: Any) -> str:
    """Return an expression for a field of a study: a distribution, a dataclass or plain values."""
    match value:
        case FloatDistribution(low=low, high=high, log=log, step=step):
            options = {"log": log, "step": step}
            return _call("FloatDistribution", (low, high), {k: v for k, v in options.items() if v})
        case IntDistribution(low=low, high=high, log=log, step=step):
            options = {"log": log} if log else {"step": step} if step != 1 else {}
            return _call("IntDistribution", (low, high), options)
        case CategoricalDistribution(choices=choices):
            return _call("CategoricalDistribution", (list(choices),), {})
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            given = {
                field.name: getattr(value, field.name)
                for field in dataclasses.fields(value)
                if getattr(value, field.name) != _default(field)
            }
            return _call(f"pipeline.{type(value).__name__}", (), given)
    return quoted(value)


def quoted(value: Any) -> str:
    """Return plain values as source, texts between double quotes."""
    match value:
        case str():
            text = repr(value)
            return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
        case list():
            return f"[{', '.join(map(quoted, value))}]"
        case tuple():
            return f"({', '.join(map(quoted, value))}{',' * (len(value) == 1)})"
    return repr(value)


def constant(name: str, value: Any) -> str:
    """Return `NAME = …`, broken into lines where it is long."""
    if isinstance(value, Mapping):
        entries = [
            f"    {quoted(key)}: {_laid_out(each, 4, len(quoted(key)) + 2)},"
            for key, each in value.items()
        ]
        return "\n".join([f"{name} = {{", *entries, "}"]) if entries else f"{name} = {{}}"
    return f"{name} = {_laid_out(value, 0, len(name) + 3)}"


def comment(text: str) -> str:
    """Return lines of comment, whatever is in the text."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return textwrap.fill(shown, WIDTH, initial_indent="# ", subsequent_indent="#   ") or "#"


def names_in(code: str) -> set[str]:
    """Return the names that code uses."""
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def imports_for(body: str) -> str:
    """Return the imports that a study's body needs.

    Names of this package stand behind `pipeline.` there: what of it a field of `StudySpec` uses is
    no part of what makes the study, and must not be in an import either.
    """
    names = sorted(HOMES.keys() & names_in(body))
    lines = [
        f"from {home} import {', '.join(name for name in names if HOMES[name] == home)}"
        for home in sorted({HOMES[name] for name in names})
    ]
    return "\n".join([*lines, "", "import pipeline"])


def _laid_out(value: Any, indent: int, used: int) -> str:
    """Return values as source; those of a long list over several lines.

    indent, used: columns before the line's first word, and between it and the value
    """
    whole = quoted(value)
    if not isinstance(value, list | tuple) or indent + used + len(whole) < WIDTH:
        return whole
    lines = [""]
    for each in value:
        item = f"{quoted(each)}, "
        if lines[-1] and indent + 4 + len(lines[-1]) + len(item) > WIDTH:
            lines.append("")
        lines[-1] += item
    inner = "\n".join(" " * (indent + 4) + line.rstrip() for line in lines)
    return f"{whole[0]}\n{inner}\n{' ' * indent}{whole[-1]}"


def _call(name: str, positional: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    arguments = [*map(quoted, positional), *(f"{k}={source_of_value(v)}" for k, v in named.items())]
    return f"{name}({', '.join(arguments)})"


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
