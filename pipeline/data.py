"""Loaders → `Dataset`: checked arrays with a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import BadInput


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from.

    x: [n_rows, ...], an array or a pandas frame
    y: [n_rows] or [n_rows, n_outputs]
    sample_weight: [n_rows] or None
    groups: [n_rows] or None; handed to splitters that ask for groups
    validation_rows: the rows of a fixed validation set, or None when a splitter makes the folds
    """

    x: Any
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    groups: np.ndarray | None = None
    validation_rows: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.x, "iloc"):
            object.__setattr__(self, "x", _as_array("X", self.x))
        object.__setattr__(self, "y", _as_array("y", self.y))
        if len(self.x) != len(self.y):
            raise BadInput(
                f"X and y must have the same number of rows, got {len(self.x)} and {len(self.y)}"
            )
        if len(self.y) < 2:
            raise BadInput(f"the data must have at least 2 rows, got {len(self.y)}")
        for name in ("sample_weight", "groups"):
            values = getattr(self, name)
            if values is None:
                continue
            values = _as_array(name, values)
            if values.shape != (len(self.y),):
                raise BadInput(f"{name} must be [{len(self.y)}], one per row, got {values.shape}")
            object.__setattr__(self, name, values)
        if self.sample_weight is not None and not (self.sample_weight >= 0).all():
            raise BadInput("sample_weight must be ≥ 0 and not NaN in every row")
        refuse_not_finite("y", self.y)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.y)

    @property
    def is_classification(self) -> bool:
        """Whether y is one column of class numbers, few enough to be classes."""
        return is_classes(self.y)

    def take(self, rows: np.ndarray) -> Dataset:
        """Return these rows, in this order, without a fixed validation set."""
        return Dataset(
            x=take_rows(self.x, rows),
            y=self.y[rows],
            sample_weight=None if self.sample_weight is None else self.sample_weight[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything in here: other data is another study."""
        digest = hashlib.sha256()
        for part in (self.x, self.y, self.sample_weight, self.groups, self.validation_rows):
            for array in _arrays_of(part):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                if array.dtype.hasobject:
                    digest.update(repr(array.tolist()).encode())
                else:
                    digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(load_data: Callable[[], Any]) -> Dataset:
    """Call the study's loader and return its data, checked.

    A loader returns `(x, y)`, `((x, y), (x_validation, y_validation))` or a `Dataset`.
    Raises BadInput with the loader's own error when it fails.
    """
    try:
        loaded = load_data()
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"load_data() raised {type(error).__name__}: {error}") from error
    if isinstance(loaded, Dataset):
        return loaded
    match loaded:
        case ((x, y), (x_validation, y_validation)):
            return with_validation_set(Dataset(x, y), Dataset(x_validation, y_validation))
        case (x, y):
            return Dataset(x, y)
    raise BadInput(
        "load_data() must return (x, y), ((x, y), (x_validation, y_validation)) or a Dataset, "
        f"got {type(loaded).__name__}"
    )


def with_validation_set(train: Dataset, validation: Dataset) -> Dataset:
    """Return both as one Dataset whose `validation_rows` are the second's."""
    if train.x.shape[1:] != validation.x.shape[1:] or train.y.shape[1:] != validation.y.shape[1:]:
        raise BadInput(
            "the validation set must have the training set's columns, got x of shape "
            f"{train.x.shape[1:]} and {validation.x.shape[1:]}, "
            f"y of shape {train.y.shape[1:]} and {validation.y.shape[1:]} a row"
        )
    if hasattr(train.x, "iloc"):
        import pandas as pd

        x: Any = pd.concat([train.x, validation.x], ignore_index=True)
    else:
        x = np.concatenate([train.x, validation.x])
    return Dataset(
        x=x,
        y=np.concatenate([train.y, validation.y]),
        validation_rows=np.arange(train.n_rows, train.n_rows + validation.n_rows),
    )


def take_rows(x: Any, rows: np.ndarray) -> Any:
    """Return rows of an array or a pandas frame."""
    return x.iloc[rows] if hasattr(x, "iloc") else x[rows]


def is_classes(y: np.ndarray) -> bool:
    """Whether y is one column of integers with repeated values: something to stratify on."""
    return y.ndim == 1 and y.dtype.kind in "iub" and len(np.unique(y)) <= max(2, len(y) // 4)


def refuse_not_finite(name: str, values: np.ndarray) -> None:
    """Raise BadInput when a number is NaN or infinite, saying how many and where first."""
    if values.dtype.kind not in "fc":
        return
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise BadInput(
            f"{name} must be finite, got {int(bad.sum())} NaN or infinite value(s), "
            f"the first in row {row}"
        )


def _as_array(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BadInput(f"{name} must be a rectangular array: {error}") from error
    if array.ndim == 0:
        raise BadInput(f"{name} must have one entry per row, got a single {array.dtype} value")
    return array


def _arrays_of(part: Any) -> list[np.ndarray]:
    """Return the arrays that make up a part; a frame is its columns and their names."""
    if part is None:
        return []
    if hasattr(part, "iloc"):
        columns = [part] if part.ndim == 1 else [part[name] for name in part.columns]
        names = np.asarray([str(name) for name in getattr(part, "columns", ())])
        return [names, *(column.to_numpy() for column in columns)]
    return [part]
