"""Rows that stay in a mapped file or a sparse matrix until they are needed.

`LazyRows` have an array's shape and dtype. Indexed by row numbers they are lazy rows again, which
reads nothing; `np.asarray` reads them.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from pipeline.errors import BadInput
from pipeline.nest import as_entries

BLOCK_BYTES = 2**26
"""Read at once where all rows are looked at, one after the other."""

NotFinite = tuple[int, int] | None
"""How many numbers are NaN or infinite, and the first one's row; None is none."""


class _Source(Protocol):
    """Where rows lie. shape: [n_rows, ...]; dtype: of what is read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    @property
    def not_finite(self) -> NotFinite:
        """Of all rows as float32."""
        ...

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return these rows, in this order, made dense."""
        ...


@dataclass(frozen=True, eq=False)
class LazyRows:
    """Rows of a source, in an order of their own.

    rows: their numbers in the source; None is all of them
    as_float32: read floats as float32, as a model takes them
    """

    source: _Source
    rows: np.ndarray | None = None
    as_float32: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """[n_rows, ...]."""
        n_rows = self.source.shape[0] if self.rows is None else len(self.rows)
        return (n_rows, *self.source.shape[1:])

    @property
    def ndim(self) -> int:
        """Dimensions, rows included."""
        return len(self.source.shape)

    @property
    def dtype(self) -> np.dtype:
        """Of what is read."""
        as_float32 = self.as_float32 and self.source.dtype.kind == "f"
        return np.dtype(np.float32) if as_float32 else self.source.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as an array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def not_finite(self) -> NotFinite:
        """Of the source: looked for once, whatever rows are asked for afterwards."""
        return self.source.not_finite

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> LazyRows:
        numbers = np.arange(len(self)) if self.rows is None else self.rows
        return LazyRows(self.source, numbers[rows], self.as_float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.read(slice(None))
        return array if dtype is None else array.astype(dtype, copy=False)

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return these of the rows as an array."""
        array = self.source.read(rows if self.rows is None else self.rows[rows])
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused
            return array.astype(self.dtype, copy=False)

    def blocks(self) -> Iterator[np.ndarray]:
        """Read all rows, in blocks of BLOCK_BYTES."""
        n_rows = max(1, BLOCK_BYTES * len(self) // max(1, self.nbytes))
        for start in range(0, len(self), n_rows):
            yield self.read(slice(start, start + n_rows))

    def as_model_takes(self) -> LazyRows:
        """Return the same rows, floats as float32."""
        return LazyRows(self.source, self.rows, as_float32=True)


@dataclass(frozen=True, eq=False)
class _InArray:
    """Rows of an array; of a mapped file only those that are asked for are read."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @cached_property
    def not_finite(self) -> NotFinite:
        count, first, begins = 0, 0, 0
        blocks = LazyRows(self, as_float32=True).blocks() if self.dtype.kind == "f" else ()
        for block in blocks:
            if found := not_finite_in(block):
                first = first if count else begins + found[1]
                count += found[0]
            begins += len(block)
        return (count, first) if count else None

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        return np.asarray(self.array[rows])


@dataclass(frozen=True, eq=False)
class _InSparse:
    """Rows of a matrix in CSR format, floats as float32."""

    matrix: Any

    def __post_init__(self) -> None:
        if self.matrix.dtype.kind == "f":
            with np.errstate(over="ignore"):
                object.__setattr__(self, "matrix", self.matrix.astype(np.float32, copy=False))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.matrix.shape

    @property
    def dtype(self) -> np.dtype:
        return self.matrix.dtype

    @cached_property
    def not_finite(self) -> NotFinite:
        if found := not_finite_in(self.matrix.data):
            count, place = found
            return count, int(np.searchsorted(self.matrix.indptr, place, side="right")) - 1
        return None

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        return self.matrix[rows].toarray()


@dataclass(frozen=True, eq=False)
class _Joined:
    """The rows of two sources, one after the other."""

    first: _Source
    second: _Source

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.first.shape[0] + self.second.shape[0], *self.first.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(self.first.dtype, self.second.dtype)

    @property
    def not_finite(self) -> NotFinite:
        in_first, in_second = self.first.not_finite, self.second.not_finite
        if in_second is None:
            return in_first
        if in_first is None:
            return in_second[0], self.first.shape[0] + in_second[1]
        return in_first[0] + in_second[0], in_first[1]

    def read(self, rows: np.ndarray | slice) -> np.ndarray:
        numbers = np.arange(self.shape[0])[rows]
        is_first = numbers < self.first.shape[0]
        read = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        read[is_first] = self.first.read(numbers[is_first])
        read[~is_first] = self.second.read(numbers[~is_first] - self.first.shape[0])
        return read


def as_rows(name: str, values: Any) -> Any:
    """Return X as it is kept: an array, a sparse matrix (CSR), or lazy rows of a mapped file.

    Raises BadInput for what is none of them.
    """
    if isinstance(values, LazyRows):
        return values
    if is_sparse(values):
        if values.ndim != 2:
            raise BadInput(f"{name} must be [n_rows, n_columns] where it is sparse, got {values!r}")
        matrix = values.tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        return matrix
    array = as_entries(name, values)
    is_lazy = array.dtype.kind in "fiub" and _is_mapped(array)
    return mapped(array) if is_lazy else array


def mapped(array: np.ndarray) -> LazyRows:
    """Return the rows of an array, of which only those that are asked for are read."""
    return LazyRows(_InArray(array))


def joined(first: np.ndarray | LazyRows, second: np.ndarray | LazyRows) -> LazyRows:
    """Return the rows of both, one after the other."""
    sources = (part if isinstance(part, LazyRows) else _InArray(part) for part in (first, second))
    return LazyRows(_Joined(*sources))


def made_dense_later(matrix: Any) -> LazyRows:
    """Return a sparse matrix's rows, which become dense when they are read."""
    return LazyRows(_InSparse(matrix.tocsr()))


def not_finite_in(array: np.ndarray) -> NotFinite:
    """Return how many numbers of an array are NaN or infinite, and the first one's row."""
    if array.dtype.kind != "f":
        return None
    bad = ~np.isfinite(array)
    return (int(bad.sum()), int(np.argwhere(bad)[0][0])) if bad.any() else None


def is_sparse(values: Any) -> bool:
    """Whether this is one of SciPy's sparse matrices or arrays."""
    return hasattr(values, "tocsr") and hasattr(values, "toarray")


def in_memory(part: Any) -> Any:
    """Return lazy rows as an array, and anything else as it is."""
    return np.asarray(part) if isinstance(part, LazyRows) else part


def dense(part: Any) -> Any:
    """Return lazy rows and sparse matrices as arrays, and anything else as it is."""
    return part.toarray() if is_sparse(part) else in_memory(part)


def stand_in(part: Any) -> Any:
    """Return an array of the shape and type of lazy or sparse rows that takes no memory.

    Anything else as it is.
    """
    if not (is_sparse(part) or isinstance(part, LazyRows)):
        return part
    return np.broadcast_to(np.zeros((), part.dtype), part.shape)


def _is_mapped(array: np.ndarray) -> bool:
    """Whether an array, or what it is a view of, lies in a mapped file."""
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return isinstance(base, mmap.mmap)
