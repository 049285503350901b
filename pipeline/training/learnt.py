"""What Keras's layers with `adapt` have learnt from rows, and who may let them.

A layer that learns from rows belongs to `preprocess`, which adapts it to each fold's training rows.
Inside the model it would know validation rows, or nothing at all.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras
import numpy as np

from pipeline.errors import BadInput

LOOKUPS = (keras.layers.TextVectorization, keras.layers.StringLookup, keras.layers.IntegerLookup)
"""Layers that learn a vocabulary."""

ADAPTING = (*LOOKUPS, keras.layers.Normalization, keras.layers.Discretization)

Knowledge = Literal["none", "given", "learnt", "missing"]
"""Of rows: none is needed; it came with the constructor; `adapt` found it; it is not there yet."""

AS_PREPROCESS = (
    "give it as preprocess=lambda: …, which adapts it to each fold's training rows alone"
)


def knowledge(layer: keras.Layer) -> Knowledge:
    """Return what a layer knows of rows. Of one that is not Keras's own it is not seen."""
    match layer:
        case keras.layers.Normalization():
            if layer.input_mean is not None:
                return "given"
            # Built is not adapted: an input of known shape builds it.
            is_new = not layer.built or (
                not np.any(layer.adapt_mean) and bool(np.all(np.equal(layer.adapt_variance, 1)))
            )
            return "missing" if is_new else "learnt"
        case keras.layers.Discretization():
            if layer.num_bins is None:
                return "given"
            return "missing" if layer.bin_boundaries is None else "learnt"
        case _ if isinstance(layer, LOOKUPS):
            if layer.get_config()["vocabulary"] is not None:
                return "given"
            return "learnt" if layer.get_vocabulary(include_special_tokens=False) else "missing"
    return "missing" if hasattr(layer, "adapt") else "none"


def check_layers(model: keras.Model) -> None:
    """Raise BadInput when a layer of the model needs what only `adapt` finds."""
    for layer in _own_layers(model):
        if isinstance(layer, ADAPTING) and knowledge(layer) == "missing":
            raise BadInput(
                f"the model's layer {layer.name!r} ({type(layer).__name__}) must be adapted to "
                f"rows, and was to none: take it out of the model and {AS_PREPROCESS}"
            )


def remarks_on_layers(model: keras.Model) -> list[str]:
    """Return, in sentences, which of the model's layers were adapted before the study."""
    return [
        f"the model's layer {layer.name!r} ({type(layer).__name__}) brings along what it has "
        "learnt: if that was from this study's rows, every fold knows its validation rows; "
        f"{AS_PREPROCESS}"
        for layer in _own_layers(model)
        if isinstance(layer, ADAPTING) and knowledge(layer) == "learnt"
    ]


@contextmanager
def refusing_adapt() -> Iterator[None]:
    """Refuse `adapt` in a block that builds a model: it knows no fold, so it leaks."""
    own = {kind: kind.adapt for kind in ADAPTING}

    def refusing(kind: type, adapt: Any) -> Any:
        @functools.wraps(adapt)
        def refuse(layer: keras.Layer, *args: Any, **options: Any) -> None:
            raise BadInput(
                f"build_model must not adapt a layer, got {kind.__name__}.adapt(…): it would learn "
                f"from validation rows as well; take it out of the model and {AS_PREPROCESS}"
            )

        return refuse

    for kind, adapt in own.items():
        kind.adapt = refusing(kind, adapt)
    try:
        yield
    finally:
        for kind, adapt in own.items():
            kind.adapt = adapt


def _own_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Yield the model's layers, but those of ready-made models in it.

    EfficientNet, for one, has a Normalization that changes nothing unless it was trained before.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            yield from _own_layers(layer)
        elif not isinstance(layer, keras.Model):
            yield from layer._flatten_layers()
