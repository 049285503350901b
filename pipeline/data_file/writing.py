"""A data file → the study that searches it: every decision as source, to be read and edited."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from pipeline.changes import with_options
from pipeline.data_file import builders
from pipeline.data_file.asked import Asked
from pipeline.data_file.columns import listed
from pipeline.data_file.defaults import MAX_FOLDS, default_spec, splitter_for
from pipeline.data_file.inputs import inputs_for
from pipeline.data_file.rows import Rows, rows_of
from pipeline.data_file.saved import described
from pipeline.data_file.source import (
    comment,
    constant,
    imports_for,
    names_in,
    quoted,
    source_of_value,
)
from pipeline.data_file.target import centres_and_scales
from pipeline.spec import StudySpec
from pipeline.study_file import home_of

DOCSTRING = '''\
"""Which learning rate, and for how many epochs? Written for a data file; all of it may be edited.

    python -m pipeline.search {name}.py
"""
'''

WRITTEN_APART = {"load_data", "build_model", "preprocess", "splitter", "space", "name"}
"""Fields of a study that are not written by their value."""


@dataclass(frozen=True)
class Written:
    """A study's source.

    decisions: what it decides, in sentences, for the user to hear
    """

    text: str
    decisions: tuple[str, ...]


def study_for(asked: Asked, options: argparse.Namespace, path: Path) -> Written:
    """Return the study for a data file as it will lie at `path`, the options' changes in it.

    Raises BadInput for data that cannot be learned from, or a saved model that cannot be searched.
    """
    model = None if asked.model is None else described(asked.model.absolute())
    rows = rows_of(asked, path, model)
    spec = with_options(default_spec(asked, rows), options)
    known = rows.development(spec.test_size, spec.seed)
    inputs = inputs_for(asked, rows, known, model)
    splitter, folds = splitter_for(asked, rows, known)
    constants = [constant("DATA", _place(asked.file, path))]
    if rows.target.classes:
        constants.append(constant("CLASSES", list(rows.target.classes)))
    constants += inputs.constants
    if rows.target.task == "regression":
        constants += _scales(asked, rows, known)
    if model is not None:
        assert asked.model is not None
        builder = builders.from_file(
            rows.target,
            _place(asked.model, path),
            model.sha256,
            compiled=model.is_compiled,
            keep_weights=asked.keep_weights,
            trust=asked.trust_model,
        )
    elif rows.is_image:
        brightest = 255.0 if asked.is_images else float(rows.features.max())
        builder = builders.convolutional(rows.target, rows.features.shape[1:], brightest)
    else:
        builder = builders.dense(rows.target, of_words=inputs.is_text)
    study = _study(spec, splitter, has_preprocess=bool(inputs.preprocess))
    code = "\n\n\n".join(filter(None, [inputs.load_data, inputs.preprocess, builder, study]))
    used = names_in(code)  # a saved model needs no number of inputs, and no scale of its target
    constants = [line for line in constants if line.partition(" = ")[0] in used]
    body = "\n\n\n".join(["\n".join(constants), code])
    others = _others(asked, rows, spec, is_text=inputs.is_text)
    decisions = (rows.target.decision, *inputs.decisions, folds, *others)
    head = [DOCSTRING.format(name=spec.name), *map(comment, decisions), ""]
    return Written("\n".join([*head, imports_for(body), "", body, ""]), decisions)


def _scales(asked: Asked, rows: Rows, known: np.ndarray) -> list[str]:
    # Of a time series, only what every fold trains on is known before its time.
    first = known[: max(2, len(known) // (MAX_FOLDS + 1))] if asked.time is not None else known
    centres, scales = centres_and_scales(rows.targets.iloc[first])
    return [constant("CENTRES", centres), constant("SCALES", scales)]


def _others(asked: Asked, rows: Rows, spec: StudySpec, *, is_text: bool) -> list[str]:
    """Return what else was decided, in sentences."""
    decisions = []
    if asked.drop:
        decisions.append(f"left out as --drop says: {listed(asked.drop)}")
    if rows.n_without_target:
        decisions.append(f"left out: {rows.n_without_target} row(s) without a target")
    sampled = ", ".join(spec.sampled)
    if asked.model is None:
        dense = "dense layers on the mean of its words' vectors" if is_text else "dense layers"
        kind = "a small convolutional network" if rows.is_image else dense
        decisions.append(f"model: {kind}; searched: {sampled}")
        return decisions
    weights = "the file's weights" if asked.keep_weights else "fresh weights"
    decisions.append(f"model: {asked.model.name}, from {weights}; searched: {sampled}")
    if asked.keep_weights:
        decisions.append(
            f"if {asked.model.name} was trained on these rows, validation looks better than it is"
        )
    return decisions


def _study(spec: StudySpec, splitter: str, *, has_preprocess: bool) -> str:
    """Return `study = StudySpec(…)`."""
    space = "\n".join(
        f"        {quoted(name)}: {source_of_value(value)}," for name, value in spec.space.items()
    )
    lines = [
        "study = pipeline.StudySpec(",
        f"    name={quoted(spec.name)},",
        "    load_data=load_data,",
        "    build_model=build_model,",
        f"    space={{\n{space}\n    }},",
        f"    splitter={splitter},",
    ]
    if has_preprocess:
        lines.append("    preprocess=preprocess,")
    plain = StudySpec(
        name=spec.name, load_data=spec.load_data, build_model=spec.build_model, space=spec.space
    )
    for field in fields(StudySpec):
        value = getattr(spec, field.name)
        if field.name not in WRITTEN_APART and value != getattr(plain, field.name):
            lines.append(f"    {field.name}={source_of_value(value)},")
    return "\n".join([*lines, ")"])


def _place(file: Path, path: Path) -> str:
    """Return where a file lies: in the study's project, or anywhere."""
    whole, home = file.resolve(), home_of(path)
    return str(whole.relative_to(home) if home in whole.parents else whole)
