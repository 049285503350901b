"""State that is in no variable, found in a traced graph: a compiled epoch cannot own it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipeline.training.engine import NotResident

# Operations that run Python, or draw from a generator that is no variable: neither can be swapped
# in and out with a fold. Keras's own layers use none of them.
PYTHON = {
    "EagerPyFunc": "a Python function (tf.py_function)",
    "PyFunc": "a Python function (tf.numpy_function)",
}
RANDOM = {
    "Multinomial": "tf.random.categorical",
    "RandomGamma": "tf.random.gamma",
    "RandomShuffle": "tf.random.shuffle",
    "RandomStandardNormal": "tf.random.normal",
    "RandomUniform": "tf.random.uniform",
    "RandomUniformInt": "tf.random.uniform",
    "TruncatedNormal": "tf.random.truncated_normal",
}


def refuse_unlisted_seeds(variables: Sequence[tf.Variable]) -> None:
    """Raise NotResident for a seed generator that no new model starts anew for its fold."""
    if any("seed_generator_state" in variable.name for variable in variables):
        raise NotResident(
            "it draws from keras.random without a seed, or with a SeedGenerator that is not an "
            "attribute of a layer; make one in the layer: self.seed = keras.random.SeedGenerator()"
        )


def refuse_hidden_state(graph: Any, variables: Sequence[tf.Variable]) -> None:
    """Raise NotResident for state that is in no variable."""
    for name in resources(graph, variables):
        raise NotResident(f"it keeps state outside its variables ({name})")
    for calls in (PYTHON, RANDOM):
        for call in called(graph, calls):
            raise NotResident(f"it calls {call}, whose state no epoch can own")


def resources(graph: Any, variables: Sequence[tf.Variable]) -> list[str]:
    """Return the names of what a graph reads and writes beside these variables: tables, say."""
    handles = {id(variable.handle) for variable in variables}
    return [
        inner.name.rpartition("/")[0]
        for outer, inner in graph.captures
        if outer.dtype == tf.resource and id(outer) not in handles
    ]


def called(graph: Any, calls: dict[str, str]) -> list[str]:
    """Return which of these operations a graph or its functions call, by their users' names."""
    graph_def = graph.as_graph_def()
    functions = [function.node_def for function in graph_def.library.function]
    ops = {node.op for nodes in (graph_def.node, *functions) for node in nodes}
    return [calls[op] for op in sorted(ops & calls.keys())]
