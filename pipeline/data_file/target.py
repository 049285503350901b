"""What is predicted: classes or numbers, found out from the target's own values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.data_file.columns import listed
from pipeline.errors import BadInput

Task = Literal["classification", "regression"]

MAX_CLASSES = 20
"""Whole numbers of more different values are a quantity, unless `--task` says otherwise."""

MIN_ROWS_EACH = 5
"""On average, of classes that are whole numbers."""


@dataclass(frozen=True)
class Target:
    """What a model is trained to predict.

    names: of the columns
    task: "classification", one class of several; "labels", several answers of yes or no;
        "regression", one or several numbers
    classes: of a classification, in the order of the model's outputs; bool, int or text
    decision: which task and why, in one sentence
    """

    names: tuple[str, ...]
    task: Literal["classification", "labels", "regression"]
    decision: str
    classes: tuple[Any, ...] = ()

    @property
    def n_outputs(self) -> int:
        """Outputs of the model's last layer; two classes have one."""
        n_classes = len(self.classes)
        return len(self.names) if not n_classes else 1 if n_classes == 2 else n_classes


def target_of(columns: Any, task: Task | None) -> Target:
    """Find out what a target is.

    columns: a frame of the targets, none of them missing
    task: what the user says it is, or None
    Raises BadInput when it is constant, or cannot be what the user says.
    """
    names = tuple(map(str, columns.columns))
    for name in names:
        _check(name, columns[name])
    if len(names) > 1:
        return _several(columns, names, task)
    values = columns[names[0]]
    found, why = _task_of(values)
    if task == "regression" and values.dtype == object:
        raise BadInput(
            f"--task regression must have a target of numbers, got texts in {names[0]!r}"
        )
    if task is not None:
        found, why = task, "as --task says"
    if found == "regression":
        return _regression(names, why)
    return _classification(values, names, why)


def centres_and_scales(columns: Any) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each target of a regression, rounded to be read."""
    centres, scales = [], []
    for name in columns:
        values = columns[name].to_numpy(dtype=float)
        scale = float(f"{values.std() or 1.0:.3g}")
        scales.append(scale)
        centres.append(round(float(values.mean()), 2 - math.floor(math.log10(scale))))
    return centres, scales


def _check(name: str, values: Any) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values.to_numpy()).all():
        raise BadInput(f"target {name!r} must be finite, got an infinite value")
    if values.dtype.kind not in "fiubO" or not (
        values.dtype != object or all(isinstance(each, str) for each in values)
    ):
        raise BadInput(f"target {name!r} must be numbers, booleans or texts, got {values.dtype}")
    if values.nunique() == 1:
        raise BadInput(
            f"target {name!r} must have different values, got {_plain(values.iloc[0])!r} in all "
            f"{len(values)} rows: nothing can be learned"
        )


def _task_of(values: Any) -> tuple[Task, str]:
    """Return the task, and why."""
    n_values = values.nunique()
    if values.dtype.kind in "bO":
        kind = "booleans" if values.dtype.kind == "b" else "texts"
        return "classification", f"{n_values} different {kind}"
    if not _is_whole(values):
        return "regression", "numbers that are not whole"
    told = f"{n_values} different whole numbers in {len(values)} rows"
    if n_values <= 2 or (n_values <= MAX_CLASSES and n_values * MIN_ROWS_EACH <= len(values)):
        return "classification", told
    return "regression", told


def _classification(values: Any, names: tuple[str, ...], why: str) -> Target:
    if values.dtype.kind == "f" and not _is_whole(values):
        raise BadInput(
            f"--task classification must have classes, got numbers that are not whole in "
            f"{names[0]!r}"
        )
    if values.dtype.kind == "f":
        values = values.astype(np.int64)
    counts = values.value_counts().sort_index()
    classes = tuple(_plain(each) for each in counts.index)
    if len(classes) * 2 > len(values):
        raise BadInput(
            f"target {names[0]!r} must have classes of several rows, got {len(classes)} different "
            f"values in {len(values)} rows: is it an identifier?"
        )
    if counts.min() < 2:
        alone = [_plain(each) for each in counts.index[counts < 2]]
        raise BadInput(
            f"target {names[0]!r} must have two rows or more of each class, to train and validate "
            f"on, got one of {listed(alone)}: leave such rows out, or join classes"
        )
    given = f"the probability of {classes[1]!r}" if len(classes) == 2 else "a probability of each"
    with_rows = [f"{each!r} ({n} rows)" for each, n in zip(classes, counts, strict=True)]
    decision = (
        f"classification, {len(classes)} classes ({why}; --task overrides): the model gives {given}"
        f", of {listed(with_rows, str, most=20)}"
    )
    return Target(names, "classification", decision, classes)


def _several(columns: Any, names: tuple[str, ...], task: Task | None) -> Target:
    if texts := [name for name in names if columns[name].dtype == object]:
        raise BadInput(
            f"several targets must all be numbers, or all booleans, got texts in {listed(texts)}"
        )
    is_binary = all(set(columns[name].unique()) <= {0, 1} for name in names)
    if task == "classification" and not is_binary:
        raise BadInput(
            "--task classification must have one target, or several that are all 0 or 1, got "
            f"{listed(names)}"
        )
    if not is_binary or task == "regression":
        return _regression(names, f"{len(names)} targets")
    if (columns.sum(axis=1) == 1).all():
        raise BadInput(
            f"one target must hold the class, got {len(names)} of which one is 1 in every row: "
            "make one column (or array) of class numbers, y.argmax(axis=1)"
        )
    decision = (
        f"{len(names)} answers of yes or no (targets that are all 0 or 1; --task overrides): the "
        f"model gives the probability of each, {listed(names)}"
    )
    return Target(names, "labels", decision)


def _regression(names: tuple[str, ...], why: str) -> Target:
    decision = (
        f"regression ({why}; --task overrides): the model gives {listed(names)}, as in the file"
    )
    return Target(names, "regression", decision)


def _is_whole(values: Any) -> bool:
    return values.dtype.kind in "iu" or bool((values == np.rint(values)).all())


def _plain(value: Any) -> Any:
    """Return a NumPy number as Python's."""
    return value.item() if isinstance(value, np.generic) else value
