"""Gradients that TensorFlow would keep for ever, each with the graph that it was made for.

`tf.custom_gradient`, inside some of TensorFlow's own losses and activations, registers a function
under a new name in every trace. The registry has no way to take it back, and through it holds the
whole graph until the process ends: megabytes for every architecture that a search has ever tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tensorflow.python.framework import ops

PREFIX = "CustomGradient-"
"""Of the names that `tf.custom_gradient` makes; all others are gradients of operations."""


class Registered:
    """What was registered in the blocks of `noted`, to be forgotten with whatever needed it."""

    def __init__(self) -> None:
        self._names: list[str] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what is registered in the block. The registry is a dict: what is new comes last."""
        registry = _registry()
        n_before = len(registry)
        try:
            yield
        finally:
            if len(registry) > n_before:
                new = itertools.islice(registry, n_before, None)
                self._names += (name for name in new if name.startswith(PREFIX))

    def forget(self) -> None:
        """Take back what was noted: what was traced can still be run, but not differentiated."""
        for name in self._names:
            _registry().pop(name, None)
        self._names.clear()


def _registry() -> dict[str, Any]:
    """Return TensorFlow's registry; there is no public way to it."""
    return ops.gradient_registry._registry
