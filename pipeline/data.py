"""Loaders → `Dataset`: checked arrays with a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import BadInput, in_one_line
from pipeline.lazy_rows import LazyRows, as_rows, is_sparse, joined, not_finite_in
from pipeline.nest import (
    Nest,
    alike,
    as_array,
    as_nest,
    described,
    is_several,
    map_parts,
    parts,
)
from pipeline.tf_data import arrays_of, is_tf_data


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from.

    x: [n_rows, ...], an array, a frame or a sparse matrix; for a model of several inputs a dict of
        such (but frames) by name or a tuple of them. A frame of another library becomes one of
        pandas; an array in a mapped file becomes lazy rows, which stay there
    y: [n_rows] or [n_rows, n_outputs]; for several outputs a dict or a tuple of such arrays
    sample_weight: [n_rows] or None; for several outputs also such weights for each of them
    groups: [n_rows] or None; rows of one group stay on one side of every split
    validation_rows: the rows of a fixed validation set, or None when a splitter makes the folds
    Raises BadInput when the parts do not fit together, or y or a weight is not a finite number.
    """

    x: Nest
    y: Nest
    sample_weight: Nest | None = None
    groups: np.ndarray | None = None
    validation_rows: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _as_x(self.x))
        object.__setattr__(self, "y", as_nest("y", self.y))
        lengths = {k: v.shape[0] for k, v in (parts("X", self.x) | parts("y", self.y)).items()}
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"{n} in {name}" for name, n in lengths.items())
            raise BadInput(f"X and y must have the same number of rows, got {got}")
        if self.n_rows == 0:
            raise BadInput("the data must have at least 1 row, got none")
        for name, part in parts("y", self.y).items():
            refuse_not_numbers(name, part, "encode classes as 0, 1, … in load_data()")
            refuse_not_finite(name, part)
        if self.groups is not None:
            groups = _one_per_row("groups", as_array("groups", self.groups), self.n_rows)
            object.__setattr__(self, "groups", groups)
        if self.sample_weight is not None:
            weight = as_nest("sample_weight", self.sample_weight)
            _check_weights(weight, self.y, self.n_rows)
            object.__setattr__(self, "sample_weight", weight)
        if self.validation_rows is not None:
            rows = as_array("validation_rows", self.validation_rows)
            _check_validation_rows(rows, self.n_rows)
            object.__setattr__(self, "validation_rows", rows)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(parts("y", self.y).values())))

    @property
    def is_classification(self) -> bool:
        """Whether y is one column of class numbers, few enough to be classes."""
        return not is_several(self.y) and is_classes(self.y)

    def take(self, rows: np.ndarray) -> Dataset:
        """Return these rows, in this order, without a fixed validation set."""
        y, weight = labelled(self, rows)
        return Dataset(
            x=take_rows(self.x, rows),
            y=y,
            sample_weight=weight,
            groups=None if self.groups is None else self.groups[rows],
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything in here: other data is another study."""
        digest = hashlib.sha256()
        for name in ("x", "y", "sample_weight", "groups", "validation_rows"):
            for array in _arrays_of(getattr(self, name)):
                digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
                for block in array.blocks() if isinstance(array, LazyRows) else [array]:
                    digest.update(_bytes_of(block))
        return digest.hexdigest()


def load(load_data: Callable[[], Any]) -> Dataset:
    """Call the study's loader and return its data, checked.

    A loader returns `(x, y)`, `((x, y), (x_validation, y_validation))` or a `Dataset`. Two pairs
    are always the second: two inputs and two outputs go into dicts or a `Dataset`. A finite
    `tf.data.Dataset` stands for `(x, y)` or `(x, y, sample_weight)`, two of them for both pairs.
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
        case _ if is_tf_data(loaded):
            data = Dataset(*arrays_of(loaded))
        case (train, validation) if is_tf_data(train) and is_tf_data(validation):
            pair = (Dataset(*arrays_of(each)) for each in (train, validation))
            data = with_validation_set(*pair)
        case ((x, y), (x_validation, y_validation)):
            try:
                data = with_validation_set(Dataset(x, y), Dataset(x_validation, y_validation))
            except BadInput as error:
                raise BadInput(
                    f"{error} (two pairs are a training and a validation set: two inputs and two "
                    "outputs go into a Dataset)"
                ) from error
        case (x, y):
            data = Dataset(x, y)
        case _:
            size = f" of {len(loaded)}" if isinstance(loaded, tuple | list) else ""
            raise BadInput(
                "load_data() must return (x, y), ((x, y), (x_validation, y_validation)), a "
                f"tf.data.Dataset or a Dataset, got {type(loaded).__name__}{size}"
            )
    if data.n_rows < 2:
        raise BadInput(f"load_data() must return at least 2 rows, got {data.n_rows}")
    return data


def with_validation_set(train: Dataset, validation: Dataset) -> Dataset:
    """Return both as one Dataset whose `validation_rows` are the second's.

    Weights are kept, 1 where only the other set has them. Groups are not: nothing is drawn.
    """
    return Dataset(
        x=_joined("x", train.x, validation.x),
        y=_joined("y", train.y, validation.y),
        sample_weight=_joined_weights(train, validation),
        validation_rows=np.arange(train.n_rows, train.n_rows + validation.n_rows),
    )


def take_rows(x: Nest, rows: np.ndarray) -> Nest:
    """Return rows of an array, a pandas frame, or of several arrays; lazy ones stay so."""
    return map_parts(lambda part: part.iloc[rows] if hasattr(part, "iloc") else part[rows], x)


def labelled(data: Dataset, rows: np.ndarray) -> tuple[Nest, Nest | None]:
    """Return these rows' labels and weights, None where there are none."""
    weight = data.sample_weight
    return take_rows(data.y, rows), None if weight is None else take_rows(weight, rows)


def is_classes(y: np.ndarray) -> bool:
    """Whether y is one column of integers with repeated values: something to stratify on."""
    return y.ndim == 1 and y.dtype.kind in "iub" and len(np.unique(y)) <= max(2, len(y) // 4)


def refuse_not_numbers(name: str, values: np.ndarray | LazyRows, advice: str = "") -> None:
    """Raise BadInput when the values are neither numbers nor booleans."""
    if values.dtype.kind not in "fiub":
        got = f"dtype {values.dtype}"
        of_first = np.asarray(values[:1]).ravel()[:1].tolist()
        if of_first:
            first = repr(of_first[0])
            got += f" (the first value is {first if len(first) <= 60 else first[:59] + '…'})"
        raise BadInput(f"{name} must be numbers, got {got}" + (f"; {advice}" if advice else ""))


def refuse_not_finite(name: str, values: np.ndarray | LazyRows) -> None:
    """Raise BadInput when a number is NaN or infinite, saying how many and where first.

    Of lazy rows, all of their source.
    """
    found = values.not_finite if isinstance(values, LazyRows) else not_finite_in(values)
    if found is not None:
        count, row = found
        raise BadInput(
            f"{name} must be finite, got {count} NaN or infinite value(s), the first in row {row}"
        )


def _as_x(x: Any) -> Nest:
    """Return X as it is kept."""
    if hasattr(x, "iloc"):
        return x
    if hasattr(x, "__arrow_c_stream__") and hasattr(x, "columns"):  # Polars, Arrow, DuckDB
        import pyarrow

        try:
            return pyarrow.table(x).to_pandas()
        except pyarrow.ArrowException as error:
            raise BadInput(f"X cannot be made a pandas frame: {in_one_line(error)}") from error
    # One of SciPy's formats is a dict.
    return as_rows("X", x) if is_sparse(x) else as_nest("X", x, as_rows)


def _one_per_row(name: str, values: np.ndarray, n_rows: int) -> np.ndarray:
    if values.shape != (n_rows,):
        raise BadInput(f"{name} must be [{n_rows}], one per row, got {values.shape}")
    return values


def _check_weights(weight: Nest, y: Nest, n_rows: int) -> None:
    """Refuse weights that are not numbers ≥ 0, one for each row, or for each row and output."""
    if is_several(weight) and not alike(weight, y):
        raise BadInput(
            f"sample_weight must be [{n_rows}], or have a part for each of y's, which is "
            f"{described(y)}, got {described(weight)}"
        )
    for name, part in parts("sample_weight", weight).items():
        _one_per_row(name, part, n_rows)
        refuse_not_numbers(name, part)
        refuse_not_finite(name, part)
        if part.min() < 0:
            raise BadInput(
                f"{name} must be ≥ 0 in every row, got {part.min()} in row {part.argmin()}"
            )


def _joined(name: str, train: Nest, validation: Nest) -> Nest:
    """Return the training set's rows, then the validation set's."""
    if (is_several(train) or is_several(validation)) and not alike(train, validation):
        raise BadInput(
            f"{name} must have the same parts in the training and the validation set, got "
            f"{described(train)} and {described(validation)}"
        )
    names = iter(parts(name, train))
    return map_parts(lambda *each: _joined_part(next(names), *each), train, validation)


def _joined_weights(train: Dataset, validation: Dataset) -> Nest | None:
    if train.sample_weight is None and validation.sample_weight is None:
        return None
    like = validation.sample_weight if train.sample_weight is None else train.sample_weight
    both = [
        map_parts(lambda _, n=part.n_rows: np.ones(n), like)
        if part.sample_weight is None
        else part.sample_weight
        for part in (train, validation)
    ]
    return _joined("sample_weight", *both)


def _joined_part(name: str, train: Any, validation: Any) -> Any:
    if hasattr(train, "iloc") != hasattr(validation, "iloc"):
        raise BadInput(
            f"{name} must be a frame in both the training and the validation set or in neither, "
            f"got {type(train).__name__} and {type(validation).__name__}"
        )
    if train.shape[1:] != validation.shape[1:]:
        raise BadInput(
            f"the validation set must have the training set's columns, got {name} of shape "
            f"{train.shape[1:]} and {validation.shape[1:]} a row"
        )
    if is_sparse(train) != is_sparse(validation):
        raise BadInput(
            f"{name} must be sparse in both the training and the validation set or in neither, got "
            f"{type(train).__name__} and {type(validation).__name__}"
        )
    if is_sparse(train):
        from scipy import sparse

        return sparse.vstack([train, validation], format="csr")
    if isinstance(train, LazyRows) or isinstance(validation, LazyRows):
        return joined(train, validation)
    if not hasattr(train, "iloc"):
        return np.concatenate([train, validation])
    if set(getattr(train, "columns", ())) != set(getattr(validation, "columns", ())):
        raise BadInput(
            "the validation set must have the training set's columns, got "
            f"{list(validation.columns)} and {list(train.columns)}"
        )
    import pandas as pd

    return pd.concat([train, validation], ignore_index=True)


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


def _arrays_of(part: Any) -> list[np.ndarray | LazyRows]:
    """Return the arrays that make up a part; a frame is its columns and their names."""
    if part is None:
        return []
    if is_several(part):
        named = sorted(parts("", part).items())
        names = np.asarray([name for name, _ in named])
        return [names, *(array for _, each in named for array in _arrays_of(each))]
    if is_sparse(part):
        # The same matrix may be indexed by numbers of 32 or 64 bits.
        where = [np.asarray(each, np.int64) for each in (part.shape, part.indptr, part.indices)]
        return [*where, part.data]
    if hasattr(part, "iloc"):
        columns = [part] if part.ndim == 1 else [part[name] for name in part.columns]
        names = np.asarray([str(name) for name in getattr(part, "columns", ())])
        return [names, *(column.to_numpy() for column in columns)]
    return [part]


def _bytes_of(array: np.ndarray) -> Any:
    if array.dtype.hasobject:
        return repr(array.tolist()).encode()
    # As bytes: dates have no buffer of their own.
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
