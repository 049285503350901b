"""State that no fold could own: found in the traced epoch, and refused with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pipeline.training.engine import NotResident

# Operations that keep hidden state outside variables, or run Python: neither can be swapped in and
# out with a fold. Keras's own layers use none of them.
HIDDEN_STATE = {
    "EagerPyFunc": "a Python function (tf.py_function)",
    "PyFunc": "a Python function (tf.numpy_function)",
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
    handles = {id(variable.handle) for variable in variables}
    for outer, _ in graph.captures:
        if outer.dtype == tf.resource and id(outer) not in handles:
            raise NotResident(f"it keeps state outside its variables ({outer.name})")
    graph_def = graph.as_graph_def()
    functions = [function.node_def for function in graph_def.library.function]
    for nodes in (graph_def.node, *functions):
        for node in nodes:
            if node.op in HIDDEN_STATE:
                raise NotResident(f"it calls {HIDDEN_STATE[node.op]}, whose state no epoch can own")
