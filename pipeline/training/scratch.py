"""Variables for compiled epochs to write into, so that several may run at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


class Scratch:
    """The variables that a compiled epoch writes into: a set for each that runs at the same moment.

    A graph takes its variables as inputs, like any others, and is bound to no device. Handed
    another set of the same shapes, the same compiled program runs on that, where that is.

    variables: those that the graph was traced with: the first set, on the first device
    """

    def __init__(self, variables: Sequence[tf.Variable]) -> None:
        self._variables = variables
        self._copies: list[tf.Variable] = []
        self._free: dict[int, list[dict[int, Any]]] = {0: [{}]}

    def run(self, program: Any, arguments: Sequence[Any], device: int = 0) -> Any:
        """Run a traced program on variables that no other thread is using.

        arguments: tensors, in the order of its inputs
        device: the number of the one in whose scope the caller is
        """
        free = self._free.setdefault(device, [])
        try:
            handles = free.pop()
        except IndexError:
            handles = self._another_set()
        try:
            captured = [handles.get(id(each), each) for each in program.captured_inputs]
            # The public call would look for each argument's name and type anew, every time.
            return program._call_flat(arguments, captured)
        finally:
            free.append(handles)

    def _another_set(self) -> dict[int, Any]:
        """Return the handles of copies, by the id of the handle that each stands for."""
        copies = [tf.Variable(variable.value(), trainable=False) for variable in self._variables]
        self._copies += copies  # a handle does not keep its variable alive
        return {id(v.handle): c.handle for v, c in zip(self._variables, copies, strict=True)}
