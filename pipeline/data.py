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
    groups: [n_rows] or None; rows of one group stay on one side of every split
    validation_rows: the rows of a fixed validation set, or None when a splitter makes the folds
    Raises BadInput when the parts do not fit together, or y or a weight is not a finite number.
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
        if len(self.y) == 0:
            raise BadInput("the data must have at least 1 row, got none")
        for name in ("sample_weight", "groups"):
            values = getattr(self, name)
            if values is None:
                continue
            values = _as_array(name, values)
            if values.shape != (len(self.y),):
                raise BadInput(f"{name} must be [{len(self.y)}], one per row, got {values.shape}")
            object.__setattr__(self, name, values)
        refuse_not_numbers("y", self.y, "encode classes as 0, 1, … in load_data()")
        refuse_not_finite("y", self.y)
        if self.sample_weight is not None:
            refuse_not_numbers("sample_weight", self.sample_weight)
            refuse_not_finite("sample_weight", self.sample_weight)
            if self.sample_weight.min() < 0:
                raise BadInput(
                    f"sample_weight must be ≥ 0 in every row, got {self.sample_weight.min()} "
                    f"in row {self.sample_weight.argmin()}"
                )
        if self.validation_rows is not None:
            rows = _as_array("validation_rows", self.validation_rows)
            _check_validation_rows(rows, len(self.y))
            object.__setattr__(self, "validation_rows", rows)

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
        for name in ("x", "y", "sample_weight", "groups", "validation_rows"):
            for array in _arrays_of(getattr(self, name)):
                digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
                if array.dtype.hasobject:
                    digest.update(repr(array.tolist()).encode())
                else:
                    # As bytes: dates have no buffer of their own.
                    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
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
    match loaded:
        case Dataset():
            data = loaded
        case ((x, y), (x_validation, y_validation)):
            data = with_validation_set(Dataset(x, y), Dataset(x_validation, y_validation))
        case (x, y):
            data = Dataset(x, y)
        case _:
            size = f" of {len(loaded)}" if isinstance(loaded, tuple | list) else ""
            raise BadInput(
                "load_data() must return (x, y), ((x, y), (x_validation, y_validation)) or a "
                f"Dataset, got {type(loaded).__name__}{size}"
            )
    if data.n_rows < 2:
        raise BadInput(f"load_data() must return at least 2 rows, got {data.n_rows}")
    return data


def with_validation_set(train: Dataset, validation: Dataset) -> Dataset:
    """Return both as one Dataset whose `validation_rows` are the second's.

    Weights are kept, 1 where only the other set has them. Groups are not: nothing is drawn.
    """
    if hasattr(train.x, "iloc") != hasattr(validation.x, "iloc"):
        raise BadInput(
            "x must be a frame in both the training and the validation set or in neither, "
            f"got {type(train.x).__name__} and {type(validation.x).__name__}"
        )
    if train.x.shape[1:] != validation.x.shape[1:] or train.y.shape[1:] != validation.y.shape[1:]:
        raise BadInput(
            "the validation set must have the training set's columns, got x of shape "
            f"{train.x.shape[1:]} and {validation.x.shape[1:]}, "
            f"y of shape {train.y.shape[1:]} and {validation.y.shape[1:]} a row"
        )
    if set(getattr(train.x, "columns", ())) != set(getattr(validation.x, "columns", ())):
        raise BadInput(
            "the validation set must have the training set's columns, got "
            f"{list(validation.x.columns)} and {list(train.x.columns)}"
        )
    if hasattr(train.x, "iloc"):
        import pandas as pd

        x: Any = pd.concat([train.x, validation.x], ignore_index=True)
    else:
        x = np.concatenate([train.x, validation.x])
    sample_weight = None
    if train.sample_weight is not None or validation.sample_weight is not None:
        sample_weight = np.concatenate(
            [
                np.ones(part.n_rows) if part.sample_weight is None else part.sample_weight
                for part in (train, validation)
            ]
        )
    return Dataset(
        x=x,
        y=np.concatenate([train.y, validation.y]),
        sample_weight=sample_weight,
        validation_rows=np.arange(train.n_rows, train.n_rows + validation.n_rows),
    )


def take_rows(x: Any, rows: np.ndarray) -> Any:
    """Return rows of an array or a pandas frame."""
    return x.iloc[rows] if hasattr(x, "iloc") else x[rows]


def is_classes(y: np.ndarray) -> bool:
    """Whether y is one column of integers with repeated values: something to stratify on."""
    return y.ndim == 1 and y.dtype.kind in "iub" and len(np.unique(y)) <= max(2, len(y) // 4)


def refuse_not_numbers(name: str, values: np.ndarray, advice: str = "") -> None:
    """Raise BadInput when the values are neither numbers nor booleans."""
    if values.dtype.kind not in "fiub":
        got = f"dtype {values.dtype}"
        if values.size:
            got += f" (the first value is {values.ravel()[:1].tolist()[0]!r})"
        raise BadInput(f"{name} must be numbers, got {got}" + (f"; {advice}" if advice else ""))


def refuse_not_finite(name: str, values: np.ndarray) -> None:
    """Raise BadInput when a number is NaN or infinite, saying how many and where first."""
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise BadInput(
            f"{name} must be finite, got {int(bad.sum())} NaN or infinite value(s), "
            f"the first in row {row}"
        )


def _as_array(name: str, values: Any) -> np.ndarray:
    if hasattr(values, "toarray"):  # SciPy's sparse matrices
        values = values.toarray()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise BadInput(f"{name} must be a rectangular array: {error}") from error
    if array.ndim == 0:
        raise BadInput(
            f"{name} must be an array with one entry per row, got {type(values).__name__}"
        )
    return array


def _check_validation_rows(rows: np.ndarray, n_rows: int) -> None:
    """Refuse what is not some, but not all, of the row numbers: a mask of booleans above all."""
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise BadInput(
            f"validation_rows must be row numbers [n], got {rows.dtype} of shape {rows.shape}; "
            "np.flatnonzero makes them from a mask"
        )
    is_in_range = rows.size and rows.min() >= 0 and rows.max() < n_rows
    if not is_in_range or len(np.unique(rows)) != len(rows) or len(rows) == n_rows:
        raise BadInput(
            f"validation_rows must be some but not all of 0..{n_rows - 1}, each once, "
            f"got {len(rows)} row(s): {rows.tolist() if len(rows) < 10 else rows}"
        )


def _arrays_of(part: Any) -> list[np.ndarray]:
    """Return the arrays that make up a part; a frame is its columns and their names."""
    if part is None:
        return []
    if hasattr(part, "iloc"):
        columns = [part] if part.ndim == 1 else [part[name] for name in part.columns]
        names = np.asarray([str(name) for name in getattr(part, "columns", ())])
        return [names, *(column.to_numpy() for column in columns)]
    return [part]
