"""A study's values as text: for its signature, and for the record of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.fields import is_layer
from pipeline.space import json_of
from pipeline.study_file import without_addresses


def shown(value: Any) -> str:
    """Return a value as text, without what differs from process to process."""
    return json_of(value) or without_addresses(repr(value))


def canonical(value: Any) -> str:
    """Return a text that is equal for equal values in every process, and different for others."""
    match value:
        case Mapping():
            items = sorted(f"{canonical(k)}: {canonical(v)}" for k, v in value.items())
            return f"{{{', '.join(items)}}}"
        case list() | tuple():
            return f"[{', '.join(canonical(each) for each in value)}]"
        case np.ndarray() | np.generic():
            return canonical(value.tolist())
        case _ if hasattr(value, "get_params"):
            # The repr of a scikit-learn estimator leaves out the middle of a long one.
            return f"{type(value).__qualname__}({canonical(value.get_params(deep=False))})"
        case _ if is_layer(value):
            return f"{type(value).__qualname__}({canonical(_without_names(value.get_config()))})"
        case _ if hasattr(value, "get_config"):  # one of Keras's
            return f"{type(value).__qualname__}({canonical(value.get_config())})"
    return shown(value)


def _without_names(config: Any) -> Any:
    """Return a layer's configuration without names: Keras counts them on, cell by cell."""
    if isinstance(config, Mapping):
        return {key: _without_names(each) for key, each in config.items() if key != "name"}
    return [_without_names(each) for each in config] if isinstance(config, list) else config
