"""Several inputs or outputs: a dict or a tuple of arrays, each with one entry per row.

A nest is one level deep. One array alone is the nest of itself, so whatever treats rows treats both
in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import numpy as np

from pipeline.errors import BadInput

Nest = Any
"""One array, or what stands for one (a pandas frame, a sparse matrix, lazy rows); a dict of arrays
by name; or a tuple of arrays."""


AsPart = Callable[[str, Any], Any]
"""(name, what a loader gave) -> what is kept of it."""


def as_nest(name: str, values: Any, as_part: AsPart | None = None) -> Nest:
    """Return what a loader gave as an array, a dict of arrays or a tuple of arrays.

    As in Keras, a list or tuple of arrays is one of parts; a list of anything else is rows.
    name: of the whole, for messages
    as_part: makes an array of what is given for one; None is `as_entries`
    Raises BadInput for what is no array, and names that are not text.
    """
    as_part = as_part or as_entries
    if isinstance(values, Mapping):
        for key in values:
            # A tuple's parts are named by their places where names are needed.
            if not isinstance(key, str) or not key or key.isdigit():
                raise BadInput(f"{name} must name its parts by words, got the name {key!r}")
        if not values:
            raise BadInput(f"{name} must have at least 1 part, got an empty dict")
        return {key: _part(f"{name}[{key!r}]", part, as_part) for key, part in values.items()}
    is_sequence = isinstance(values, tuple | list) and len(values) > 0
    if is_sequence and all(len(getattr(part, "shape", ())) > 0 for part in values):
        return tuple(_part(f"{name}[{i}]", part, as_part) for i, part in enumerate(values))
    return as_part(name, values)


def as_array(name: str, values: Any) -> np.ndarray:
    """Return an array with one entry per row; raise BadInput for what is none."""
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


def is_several(nest: Nest) -> TypeGuard[dict[str, Any] | tuple[Any, ...]]:
    """Whether this is a dict or a tuple of arrays, and not one array."""
    return isinstance(nest, dict | tuple)


def parts(name: str, nest: Nest) -> dict[str, Any]:
    """Return the arrays by what they are called: X, or X['image'], or X[0]."""
    if isinstance(nest, dict):
        return {f"{name}[{key!r}]": part for key, part in nest.items()}
    if isinstance(nest, tuple):
        return {f"{name}[{i}]": part for i, part in enumerate(nest)}
    return {name: nest}


def by_name(nest: Nest) -> Nest:
    """Return an array as it is and several as a dict, a tuple's by their places: "0", "1", …."""
    if isinstance(nest, tuple):
        return {str(place): part for place, part in enumerate(nest)}
    return nest


def map_parts(function: Callable[..., Any], nest: Nest, *others: Nest) -> Nest:
    """Return `function` of each part, and of the same parts of others alike, in the same nest."""
    if isinstance(nest, dict):
        return {key: function(nest[key], *(other[key] for other in others)) for key in nest}
    if isinstance(nest, tuple):
        return tuple(function(*each) for each in zip(nest, *others, strict=True))
    return function(nest, *others)


def alike(nest: Nest, other: Nest) -> bool:
    """Whether two nests have the same parts."""
    return type(nest) is type(other) and parts("", nest).keys() == parts("", other).keys()


def described(nest: Nest) -> str:
    """Return what a nest is made of, in words."""
    if isinstance(nest, dict):
        return f"a dict of {', '.join(map(repr, nest))}"
    return f"a tuple of {len(nest)}" if isinstance(nest, tuple) else "one array"


def _part(name: str, values: Any, as_part: AsPart) -> Any:
    if hasattr(values, "columns"):
        raise BadInput(
            f"{name} must be an array, as every one of several parts, got a frame: use to_numpy()"
        )
    return as_part(name, values)


def as_entries(name: str, values: Any) -> np.ndarray:
    """Return an array with one entry per row; texts as objects, but where they are an array."""
    is_list = isinstance(values, list | tuple) and len(values) > 0
    if is_list and all(isinstance(each, str) for each in values):
        # By itself NumPy gives each text the room of the longest.
        return np.array(values, dtype=object)
    array = as_array(name, values)
    return array.astype(object) if array.dtype.kind == "T" else array  # few libraries know it
