"""How a data file's rows become a model's inputs and targets, as source of a study file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data_file import builders
from pipeline.data_file.asked import Asked
from pipeline.data_file.columns import MISSING, Columns, columns_of
from pipeline.data_file.rows import Rows
from pipeline.data_file.saved import SavedModel
from pipeline.data_file.source import constant, quoted
from pipeline.errors import BadInput

MAX_TOKENS, MAX_WORDS = 5000, 250
"""Of a text: words that are told apart, and words that are read."""

MOST_TEXTS = 0.95
"""The share of texts that is read to the end."""

N_SPECIAL = 2
"""Tokens that no text holds: what fills a short one, and the unknown word."""

LOAD_IMAGES = """\
def load_data():
    x, folders = pipeline.read_images(DATA, IMAGE, project_of=__file__)
    return x, pipeline.class_numbers(folders, CLASSES)"""


@dataclass(frozen=True)
class Inputs:
    """What a model is given.

    shape: of a row, preprocessed
    constants, load_data, preprocess: source; preprocess may be ""
    decisions: in sentences
    is_text: whether a row is the numbers of a text's words
    """

    shape: tuple[int, ...]
    constants: tuple[str, ...]
    load_data: str
    preprocess: str
    decisions: tuple[str, ...]
    is_text: bool = False


def inputs_for(asked: Asked, rows: Rows, known: np.ndarray, model: SavedModel | None) -> Inputs:
    """Decide how rows become inputs, on the rows that are not set aside.

    known: their numbers
    model: the saved model that is searched, if any
    Raises BadInput for columns that cannot be used, or rows that the model does not take.
    """
    scaled = not asked.keep_weights
    if asked.is_table:
        features = rows.features.iloc[known]
        columns = columns_of(features, scaled=scaled, may_be_text=model is None)
        if columns.text:
            inputs = _of_text(asked, rows, columns, features[columns.text].fillna(""))
        else:
            inputs = _of_columns(asked, rows, columns, scaled=scaled)
    elif asked.is_images:
        inputs = _of_folder(rows)
    elif rows.is_image:
        inputs = _of_images(asked, rows, model)
    else:
        width = rows.features.shape[1]
        told = f"{width} numbers a row, missing ones replaced by the fold's median"
        inputs = Inputs(
            (width,),
            (constant("N_INPUTS", width),),
            _load_arrays(asked, rows, 'arrays["x"]'),
            f"preprocess = {builders.numbers_as(scaled=scaled)}",
            (told + (", standardised" if scaled else ""),),
        )
    if model is not None and not _fits(model.input_shape, inputs.shape):
        assert asked.model is not None
        raise BadInput(
            f"{asked.model.name} must take inputs of the shape that {asked.file.name} makes, "
            f"{list(inputs.shape)} a row, got a model for {list(model.input_shape)}; for others "
            "write a study file, with --write-study from the default model"
        )
    return inputs


def _of_columns(asked: Asked, rows: Rows, columns: Columns, *, scaled: bool) -> Inputs:
    constants = [constant("NUMBERS", list(columns.numbers))]
    if columns.gaps:
        constants.append(constant("GAPS", list(columns.gaps)))
    constants.append(constant("LEVELS", columns.levels))
    constants.append(constant("N_INPUTS", columns.n_inputs))
    preprocess = builders.preprocessing(
        numbers=bool(columns.numbers), gaps=bool(columns.gaps), levels=bool(columns.levels),
        missing=MISSING, scaled=scaled,
    )  # fmt: skip
    return Inputs(
        (columns.n_inputs,),
        tuple(constants),
        _load_table(asked, rows, "table[[*NUMBERS, *LEVELS]]"),
        preprocess,
        columns.decisions,
    )


def _of_text(asked: Asked, rows: Rows, columns: Columns, texts: Any) -> Inputs:
    """Return what a model of words is given; `texts`, of the development rows, have no gaps."""
    words = [text.lower().split() for text in texts]
    n_tokens = min(MAX_TOKENS, len({word for text in words for word in text}) + N_SPECIAL)
    n_words = int(np.quantile([len(text) for text in words], MOST_TEXTS, method="higher"))
    n_words = min(MAX_WORDS, max(1, n_words))
    share = np.mean([len(text) <= n_words for text in words])
    told = (
        f"texts, {columns.text!r}: their first {n_words} words ({share:.0%} have no more), each "
        f"one of the {n_tokens - N_SPECIAL} most frequent of the fold's training rows, or unknown"
    )
    return Inputs(
        (n_words,),
        (
            constant("TEXT", columns.text),
            constant("N_TOKENS", n_tokens),
            constant("N_WORDS", n_words),
        ),
        _load_table(asked, rows, 'table[[TEXT]].fillna("")'),
        builders.WORDS,
        (told, *columns.decisions),
        is_text=True,
    )


def _of_folder(rows: Rows) -> Inputs:
    shape = rows.features.shape[1:]
    return Inputs(shape, (constant("IMAGE", shape),), LOAD_IMAGES, "", (rows.told,))


def _of_images(asked: Asked, rows: Rows, model: SavedModel | None) -> Inputs:
    shape = rows.features.shape[1:]
    # A saved model for height × width × 1 is given that one channel.
    add_channel = model is not None and len(model.input_shape) == len(shape) + 1
    size = " × ".join(map(str, shape[:2]))
    n_channels = shape[2] if len(shape) == 3 else 1
    return Inputs(
        (*shape, 1) if add_channel else shape,
        (constant("IMAGE", shape),),
        _load_arrays(asked, rows, 'arrays["x"]' + ("[..., None]" if add_channel else "")),
        "",
        (f"images of {size} pixels, {n_channels} channel(s)",),
    )


def _load_table(asked: Asked, rows: Rows, x: str) -> str:
    lines = ["def load_data():"]
    if rows.ordered_by == "dates":
        lines.append("    import pandas as pd\n")
    lines.append("    table = pipeline.read_table(DATA, project_of=__file__)")
    if rows.n_without_target:
        lines.append(f"    table = table.dropna(subset={quoted(list(rows.target.names))})")
    if asked.time is not None:
        key = "key=pd.to_datetime, " if rows.ordered_by == "dates" else ""
        lines.append(f'    table = table.sort_values({quoted(asked.time)}, {key}kind="stable")')
    several = len(rows.target.names) > 1
    column = f"table[{quoted(list(rows.target.names) if several else rows.target.names[0])}]"
    y = {
        "classification": f"pipeline.class_numbers({column}, CLASSES)",
        "labels": f"{column}.to_numpy(dtype=int)",
        "regression": f"{column}.to_numpy(dtype=float)",
    }[rows.target.task]
    groups = f"table[{quoted(asked.groups)}].to_numpy()" if asked.groups is not None else ""
    return "\n".join([*lines, *_returned(x, y, groups)])


def _load_arrays(asked: Asked, rows: Rows, x: str) -> str:
    y = 'arrays["y"]' + (".ravel()" if len(rows.target.names) == 1 else "")
    y = {
        "classification": f"pipeline.class_numbers({y}, CLASSES)",
        "labels": f"{y}.astype(int)",
        "regression": f"{y}.astype(float)",
    }[rows.target.task]
    groups = f"arrays[{quoted(asked.groups)}]" if asked.groups is not None else ""
    lines = ["def load_data():", "    arrays = pipeline.read_arrays(DATA, project_of=__file__)"]
    return "\n".join([*lines, *_returned(x, y, groups)])


def _returned(x: str, y: str, groups: str) -> list[str]:
    if not groups:
        return [f"    return {x}, {y}"]
    parts = {"x": x, "y": y, "groups": groups}
    return [
        "    return pipeline.Dataset(",
        *(f"        {name}={value}," for name, value in parts.items()),
        "    )",
    ]


def _fits(takes: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    return len(takes) == len(shape) and all(
        a in (None, b) for a, b in zip(takes, shape, strict=True)
    )
