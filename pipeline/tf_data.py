"""A finite `tf.data.Dataset`, read once into arrays. TensorFlow itself is not imported here.

Its elements are batches, as for Keras's `fit`, or single rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from pipeline.errors import BadInput, in_one_line
from pipeline.machine import free_memory_mb
from pipeline.nest import Nest, map_parts, parts
from pipeline.placement import size

SHARE = 0.4
"""Of the free memory that the arrays may take: while their parts are joined they exist twice."""

NAME = "the tf.data.Dataset from load_data()"
INFINITE = -1
N_COMPARED = 8
"""Elements that are read twice: shuffled rows may begin with the same one."""

ADVICE = {
    "RaggedTensorSpec": "make it dense with .to_tensor(shape=…)",
    "SparseTensorSpec": "return SciPy's sparse matrices instead, or use tf.sparse.to_dense",
}


def is_tf_data(values: Any) -> bool:
    """Whether this is a `tf.data.Dataset`."""
    return hasattr(values, "element_spec") and hasattr(values, "as_numpy_iterator")


def arrays_of(dataset: Any) -> tuple[Nest, ...]:
    """Return x, y and perhaps sample weights of all rows, nested as in the elements.

    Where all parts have one leading dimension, as far as it is known, elements are batches.
    Raises BadInput when the dataset is infinite, does not fit in memory, differs from one reading
    to the next, or its elements are no (x, y) or (x, y, sample_weight) of one shape a row.
    """
    spec = dataset.element_spec
    leaves = _leaves(spec)
    if int(dataset.cardinality()) == INFINITE:
        raise BadInput(f"{NAME} must be finite, got an infinite one: leave .repeat() out")
    first = _first(dataset)
    is_batched = _are_batches([leaf.shape.as_list() for leaf in leaves])
    limit_mb = free_memory_mb()
    limit = None if limit_mb is None else SHARE * limit_mb * 2**20
    _check_size(_bytes_of(first) * int(dataset.cardinality()), limit)
    read, n_bytes = [], 0
    for element in _elements(dataset):
        n_bytes += _bytes_of(element)
        _check_size(n_bytes, limit)
        _check_rows(element, is_batched=is_batched)
        read.append(element)
    join = _joined_batches if is_batched else _joined_rows
    return tuple(
        map_parts(join, *(element[place] for element in read)) for place in range(len(spec))
    )


def _elements(dataset: Any) -> Iterator[tuple[Nest, ...]]:
    try:
        yield from dataset.as_numpy_iterator()
    except Exception as error:  # of the user's own functions
        raise BadInput(f"{NAME} raised {in_one_line(error)}") from error


def _first(dataset: Any) -> tuple[Nest, ...]:
    """Return the first element; raise BadInput when there is none, or other ones the next time."""
    first, again = (list(islice(_elements(dataset), N_COMPARED)) for _ in range(2))
    if not first:
        raise BadInput(f"{NAME} must have rows, got none")
    arrays = [[array for element in each for array in _arrays(element)] for each in (first, again)]
    pairs = zip(*arrays, strict=False)
    is_same = len(first) == len(again) and all(
        np.array_equal(one, other, equal_nan=one.dtype.kind == "f") for one, other in pairs
    )
    if not is_same:
        raise BadInput(
            f"{NAME} must have the same rows in the same order whenever it is read, got others the "
            "second time: leave .shuffle() and random augmentation out (rows are shuffled anew in "
            "each epoch, and layers of the model may augment them)"
        )
    return first[0]


def _leaves(spec: Any) -> list[Any]:
    """Return the specs of all tensors; raise BadInput for elements of another structure."""
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise BadInput(
            f"{NAME} must have elements (x, y) or (x, y, sample_weight), got {_short(spec)}"
        )
    leaves = [leaf for nest in spec for leaf in parts("", nest).values()]
    for leaf in leaves:
        kind = type(leaf).__name__
        if kind != "TensorSpec":
            advice = ADVICE.get(kind, "x and y may be dicts or tuples of tensors, one level deep")
            raise BadInput(f"{NAME} must have dense tensors, got {_short(leaf)}: {advice}")
        if leaf.shape.rank is None:
            raise BadInput(
                f"{NAME} must say how many dimensions its tensors have, got {_short(leaf)}: add "
                "tf.ensure_shape to what makes them"
            )
    return leaves


def _are_batches(shapes: list[list[int | None]]) -> bool:
    if not all(shapes):  # a number alone, as the label of one row
        return False
    return len({shape[0] for shape in shapes} - {None}) <= 1


def _check_rows(element: tuple[Nest, ...], *, is_batched: bool) -> None:
    lengths = {len(array) for array in _arrays(element)} if is_batched else {1}
    if len(lengths) > 1:
        shapes = ", ".join(str(array.shape) for array in _arrays(element))
        raise BadInput(
            f"{NAME} must have as many rows in each part of a batch, got shapes {shapes}; single "
            "rows of no fixed length must be padded to one"
        )


def _check_size(n_bytes: float, limit: float | None) -> None:
    if limit is not None and n_bytes > limit:
        raise BadInput(
            f"{NAME} must fit in {SHARE:.0%} of the free memory, {size(limit)}, since it is read "
            f"into arrays, got {size(n_bytes)} or more: write them to files and return "
            'np.load(file, mmap_mode="r"), or take fewer with .take(n)'
        )


def _joined_rows(*rows: np.ndarray) -> np.ndarray:
    # By itself NumPy gives each text the room of the longest.
    arrays = (np.asarray(row, object if isinstance(row, bytes) else None) for row in rows)
    return _joined_batches(*(array[np.newaxis] for array in arrays))


def _joined_batches(*batches: np.ndarray) -> np.ndarray:
    shapes = sorted({batch.shape[1:] for batch in batches})
    if len(shapes) > 1:
        raise BadInput(
            f"{NAME} must have rows of one shape, got {shapes[0]} and {shapes[-1]}: pad or resize "
            "them to one"
        )
    return np.concatenate(batches)


def _arrays(element: tuple[Nest, ...]) -> Iterator[np.ndarray]:
    for nest in element:
        yield from map(np.asarray, parts("", nest).values())


def _bytes_of(element: tuple[Nest, ...]) -> int:
    return sum(array.nbytes for array in _arrays(element))


def _short(spec: Any) -> str:
    text = str(spec)
    return text if len(text) <= 120 else f"{text[:117]}…"
