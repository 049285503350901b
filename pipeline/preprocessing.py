"""Rows as a fold's model takes them; what is fitted is fitted on the fold's training rows only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.data import Dataset, refuse_not_finite, refuse_not_numbers, take_rows
from pipeline.errors import BadInput, unknown_name
from pipeline.folds import Fold
from pipeline.lazy_rows import LazyRows, in_memory, is_sparse, made_dense_later
from pipeline.nest import Nest, described, is_several, map_parts, parts


def preprocessed(data: Dataset, fold: Fold, preprocess: Any) -> tuple[Nest, Any]:
    """Return all rows as the fold's model sees them, float32, and what was fitted.

    Without a transformer mapped files stay where they are, and sparse matrices sparse.

    preprocess: a transformer, or a dict of them for some of several inputs by name. Clones are
        fitted on the fold's training rows only
    """
    _check_preprocess(preprocess, data.x)
    if isinstance(preprocess, Mapping):
        fitted: Any = {
            name: _fitted(each, data.x[name], data.y, fold, f"X[{name!r}]")
            for name, each in preprocess.items()
        }
    else:
        fitted = None if preprocess is None else _fitted(preprocess, data.x, data.y, fold, "X")
    x = transformed(data.x, fitted)
    for name, part in parts("X", x).items():
        if len(part) != data.n_rows:
            raise BadInput(
                f"preprocess must keep every row, got {len(part)} rows of {data.n_rows} in {name} "
                f"from {preprocess!r}"
            )
    return x, fitted


def remarks_on_transformers(preprocess: Any) -> list[str]:
    """Return, in sentences, which transformers stay as they were fitted before the study.

    Any other is fitted anew for each fold, whatever it was fitted on before.
    """
    from sklearn.frozen import FrozenEstimator

    each = preprocess.values() if isinstance(preprocess, Mapping) else [preprocess]
    own = [one for one in each if hasattr(one, "get_params")]
    parts = [part for one in own for part in (one, *one.get_params().values())]
    return [
        f"preprocess holds {part!r}, which no fold fits anew: if it was fitted on this study's "
        "rows, every fold knows its validation rows"
        for part in parts
        if isinstance(part, FrozenEstimator)
    ]


def transformed(x: Nest, fitted: Any) -> Nest:
    """Return raw rows as a model takes them; `fitted` is a transformer, a dict of them, or None."""
    if isinstance(fitted, Mapping):
        return {
            name: _transformed(part, fitted.get(name), f"X[{name!r}]") for name, part in x.items()
        }
    if is_several(x):
        names = iter(parts("X", x))
        return map_parts(lambda part: model_input(part, next(names)), x)
    return _transformed(x, fitted, "X")


def model_input(x: Any, name: str = "X") -> np.ndarray | LazyRows:
    """Return X as finite numbers that a model takes: floats as float32, integers as they are."""
    advice = "encode it with `preprocess`"
    if is_sparse(x):
        refuse_not_numbers(name, x.data, advice)
        x = made_dense_later(x)
    if isinstance(x, LazyRows):
        refuse_not_numbers(name, x, advice)
        x = x.as_model_takes()
        refuse_not_finite(name, x)
        return x
    dtypes = getattr(x, "dtypes", None)
    if getattr(x, "ndim", 0) == 2 and dtypes is not None:  # a pandas frame
        others = [f"{c} ({d})" for c, d in dtypes.items() if getattr(d, "kind", "O") not in "fiub"]
        if others:
            advice += f", column(s) {', '.join(others)}"
        elif all(isinstance(dtype, np.dtype) for dtype in dtypes):
            # By itself pandas makes objects of numbers and booleans.
            x = x.to_numpy(dtype=np.result_type(*dtypes))
    array = np.asarray(x)
    if _is_text(array):
        advice += "; of texts, lambda: keras.layers.TextVectorization(…) makes numbers"
    refuse_not_numbers(name, array, advice)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # too large for float32 is infinite, and refused
            array = array.astype(np.float32)
    refuse_not_finite(name, array)
    return array


def _is_text(array: np.ndarray) -> bool:
    return array.dtype.kind in "UST" or any(isinstance(each, str) for each in array.ravel()[:1])


def _check_preprocess(preprocess: Any, x: Nest) -> None:
    """Refuse one transformer for several inputs, and transformers for inputs that are not there."""
    if not isinstance(preprocess, Mapping):
        if preprocess is not None and is_several(x):
            raise BadInput(
                "preprocess must be a dict of input -> transformer where X has several parts, got "
                f"{preprocess!r} and X as {described(x)}"
            )
        return
    if not isinstance(x, dict):
        raise BadInput(
            f"preprocess is a dict, for inputs {', '.join(map(repr, preprocess))}: X must be a "
            f"dict as well, got {described(x)}"
        )
    for name in preprocess:
        if name not in x:
            raise unknown_name("preprocess", name, list(x))


def _fitted(preprocess: Any, x: Any, y: Nest, fold: Fold, name: str) -> Any:
    from sklearn.base import clone

    with _refusing(preprocess, name):
        fitted = clone(preprocess)
        fitted.fit(in_memory(take_rows(x, fold.train)), take_rows(y, fold.train))
        return fitted


def _transformed(x: Any, fitted: Any, name: str) -> np.ndarray | LazyRows:
    if fitted is None:
        return model_input(x, name)
    with _refusing(fitted, name):
        return model_input(fitted.transform(in_memory(x)), f"{name} after preprocess")


@contextmanager
def _refusing(preprocess: Any, name: str) -> Iterator[None]:
    try:
        yield
    except BadInput:
        raise
    except (TypeError, ValueError) as error:
        raise BadInput(f"preprocess {preprocess!r} cannot transform {name}: {error}") from error
