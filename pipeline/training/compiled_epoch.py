"""The compiled epoch: one call trains and validates one fold for one epoch.

The fold's state comes in as tensors and leaves as tensors; nothing in between touches Python or
the host. The call runs the model's own `train_step` and `test_step`, so it is what `fit` would do
with the same rows in the same order (`tests/training/test_equals_fit.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipeline.training.engine import NotResident, State
from pipeline.training.models import inner, logged_names, trained_variables


class Rows(NamedTuple):
    """Row indices in batches. Only `last` decides the compiled program: it has no padding.

    full: int32 [max_full_batches, batch_size], padded to the largest fold
    n_full: how many rows of `full` count
    last: int32 [n_last], the smaller last batch; empty when the batch size divides the rows
    """

    full: np.ndarray
    n_full: np.int32
    last: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, batch_size: int, max_full_batches: int) -> Rows:
        """Cut rows into batches, in order."""
        n_full = len(rows) // batch_size
        full = np.zeros((max(max_full_batches, 1), batch_size), np.int32)
        full[:n_full] = rows[: n_full * batch_size].reshape(n_full, batch_size)
        return cls(full, np.int32(n_full), rows[n_full * batch_size :].astype(np.int32))

    def unpadded(self, values: np.ndarray) -> np.ndarray:
        """Return the values of the rows that count, in the order they were cut."""
        return np.concatenate(
            [values[: self.n_full * self.full.shape[1]], values[self.full.size :]]
        )


class Arrays(NamedTuple):
    """A fold's rows on the device. Weights are None where there are none."""

    x: Any
    y: Any
    train_weight: Any | None
    validation_weight: Any | None


class Scores(NamedTuple):
    """[n_metrics] of training and of validation, and each validation row's loss."""

    train: Any
    validation: Any
    row_losses: Any
    """[max_full_batches · batch_size + n_last]: with the padding that `Rows.unpadded` takes out."""


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


class CompiledEpoch:
    """One model's epoch as a compiled function of state, rows and learning rates.

    model: built and compiled; this object owns it: its variables are scratch space
    optimizer: the one whose learning rate is driven
    has_validation: whether there are validation rows at all
    jit: compile with XLA
    Raises NotResident when the model's state cannot be held as a value.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        has_validation: bool,
        jit: bool,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._has_validation = has_validation
        self._jit = jit
        self._uses_ema = inner(optimizer).use_ema
        self.row_losses_missing = _why_no_row_losses(model)
        self.metric_names = tuple(logged_names(model))
        self._learning_rate: Any = None
        # A callable learning rate is read anew at each step of the trace: the schedule enters as
        # data, whatever the optimizer was built with.
        inner(optimizer).learning_rate = lambda: self._learning_rate
        metrics = [variable.value for variable in model.metrics_variables]
        self.variables: list[tf.Variable] = trained_variables(model) + metrics
        self._function = self._compile()

    @property
    def n_compiled(self) -> int:
        """How many programs exist: one per pair of last-batch sizes."""
        return self._function.experimental_get_tracing_count()

    def account_for(self, arrays: Arrays, train: Rows, validation: Rows, rates: Any) -> None:
        """Find every variable that the epoch touches, so that the state is the whole state.

        A model may own optimizers and variables that `model.variables` does not list; the traced
        graph lists them all. Their values now, before any training, are their initial values.
        """
        graph = self._trace(arrays, train, validation, rates)
        known = {id(variable) for variable in self.variables}
        missing = [variable for variable in graph.variables if id(variable) not in known]
        if missing:
            _refuse_unlisted_seeds(missing)
            self.variables += missing
            self._function = self._compile()
            graph = self._trace(arrays, train, validation, rates)
        _refuse_hidden_state(graph, self.variables)

    def read(self) -> State:
        """Return the variables' values now."""
        return tuple(tf.identity(variable) for variable in self.variables)

    def write(self, state: State) -> None:
        """Set the variables to a state: for prediction and export, never for training."""
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)

    def __call__(
        self, state: State, arrays: Arrays, train: Rows, validation: Rows, learning_rates: Any
    ) -> tuple[State, Scores]:
        """Train over `train`, validate over `validation`; return the new state and the scores.

        learning_rates: float32 [max_full_batches + 1]
        """
        new_state, scores = self._function(state, arrays, train, validation, learning_rates)
        return tuple(new_state), scores

    def _compile(self) -> Any:
        return tf.function(self._epoch, jit_compile=self._jit, autograph=False)

    def _trace(self, *args: Any) -> Any:
        return self._function.get_concrete_function(self.read(), *args).graph

    def _epoch(
        self, state: State, arrays: Arrays, train: Rows, validation: Rows, learning_rates: Any
    ) -> tuple[list, Scores]:
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)
        train_scores = self._train(arrays, train, learning_rates)
        if not self._has_validation:
            return self._values(), Scores(train_scores, train_scores[:0], train_scores[:0])
        if not self._uses_ema:
            validation_scores, row_losses = self._validate(arrays, validation)
            return self._values(), Scores(train_scores, validation_scores, row_losses)
        # Whoever stops here would use the averaged weights, so these are validated; training goes
        # on from the raw ones.
        weights = self._model.trainable_variables
        raw = [weight.value.read_value() for weight in weights]
        self._optimizer.finalize_variable_values(weights)
        validation_scores, row_losses = self._validate(arrays, validation)
        for weight, value in zip(weights, raw, strict=True):
            weight.value.assign(value)
        return self._values(), Scores(train_scores, validation_scores, row_losses)

    def _train(self, arrays: Arrays, rows: Rows, learning_rates: Any) -> Any:
        self._model.reset_metrics()

        def update(index: Any, batch_rows: Any) -> None:
            self._learning_rate = learning_rates[index]
            batch = _batch(arrays.x, arrays.y, arrays.train_weight, batch_rows)
            self._refuse_other_logs("train_step", self._model.train_step(batch))

        _for_each(rows.full, rows.n_full, update)
        if rows.last.shape[0]:
            update(rows.n_full, rows.last)
        return self._metrics()

    def _validate(self, arrays: Arrays, rows: Rows) -> tuple[Any, Any]:
        self._model.reset_metrics()
        losses = RowLosses(self._model, rows) if not self.row_losses_missing else None

        def score(index: Any, batch_rows: Any) -> None:
            batch = _batch(arrays.x, arrays.y, arrays.validation_weight, batch_rows)
            if losses is None:
                self._refuse_other_logs("test_step", self._model.test_step(batch))
            else:
                losses.test_step(index, batch)

        collected = _for_each(rows.full, rows.n_full, score, losses)
        if rows.last.shape[0]:
            score(rows.n_full, rows.last)
        if losses is None:
            return self._metrics(), tf.zeros([0])
        full = tf.reshape(collected.stack(), [-1])
        last = losses.seen if rows.last.shape[0] else full[:0]
        return self._metrics(), tf.concat([full, last], 0)

    def _refuse_other_logs(self, step: str, logs: Any) -> None:
        """Raise NotResident when a step reports what no metric keeps: it has no value per epoch.

        (`fit` would then report the last batch's value as the epoch's.)
        """
        names = set(self._model.get_metrics_result())
        returned = set(logs) if isinstance(logs, dict) else {type(logs).__name__}
        if returned != names:
            raise NotResident(
                f"its {step} returns {sorted(returned)} where its metrics are {sorted(names)}; it "
                "must update keras.metrics and return self.get_metrics_result()"
            )

    def _metrics(self) -> Any:
        result = self._model.get_metrics_result()
        return tf.stack([tf.cast(result[name], tf.float32) for name in self.metric_names])

    def _values(self) -> list:
        return [variable.read_value() for variable in self.variables]


class RowLosses:
    """Collects each validation row's loss while the model's own `test_step` runs.

    `test_step` computes one number a batch; the labels and predictions it computes it from pass
    through `compute_loss`, which is watched, so nothing is computed twice.
    """

    def __init__(self, model: keras.Model, rows: Rows) -> None:
        self._model = model
        self.seen: Any = None
        self.array = tf.TensorArray(
            tf.float32, size=rows.full.shape[0], element_shape=[rows.full.shape[1]]
        )

    def test_step(self, index: Any, batch: tuple) -> None:
        """Run the model's test step on a batch and keep its rows' losses in `seen`."""
        model, compute_loss = self._model, self._model.compute_loss

        def watched(x: Any = None, y: Any = None, y_pred: Any = None, *args: Any, **kw: Any) -> Any:
            self.seen = row_losses(model, y, y_pred)
            return compute_loss(x, y, y_pred, *args, **kw)

        object.__setattr__(model, "compute_loss", watched)
        try:
            model.test_step(batch)
        finally:
            object.__delattr__(model, "compute_loss")


def row_losses(model: keras.Model, y: Any, y_pred: Any) -> Any:
    """Return the compiled loss of each row, [n_rows], before reduction and sample weights."""
    loss = model._compile_loss._flat_losses[0]
    if len(y_pred.shape) == 1:  # Keras would take the mean over the rows
        y_pred = y_pred[:, None]
    values = loss.loss.call(
        keras.ops.convert_to_tensor(y, dtype=loss.loss.dtype),
        keras.ops.convert_to_tensor(y_pred, dtype=loss.loss.dtype),
    )
    values = tf.reduce_mean(values, axis=list(range(1, len(values.shape))))
    weight = 1.0 if loss.loss_weights is None else loss.loss_weights
    return tf.cast(values, tf.float32) * weight


def _why_no_row_losses(model: keras.Model) -> str:
    """Return why a row's loss cannot be known, or "" when it can."""
    if type(model).test_step is not keras.Model.test_step:
        return "the model has its own test_step"
    if type(model).compute_loss is not keras.Model.compute_loss:
        return "the model has its own compute_loss"
    losses = model._compile_loss._flat_losses if model._compile_loss is not None else []
    if len(losses) != 1 or losses[0].path:
        return f"the model has {len(losses)} losses"
    # A custom function may return one number a batch; only Keras's own are known to return one
    # a row.
    of_loss = getattr(losses[0].loss, "fn", type(losses[0].loss))
    if not of_loss.__module__.startswith("keras."):
        return "the loss is not one of Keras's own"
    if any(_masks(layer) for layer in model._flatten_layers()):
        return "the model masks time steps"
    return ""


def _masks(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Masking) or bool(getattr(layer, "mask_zero", False))


def _refuse_unlisted_seeds(variables: Sequence[tf.Variable]) -> None:
    """Raise NotResident for a seed generator that no new model starts anew for its fold."""
    if any("seed_generator_state" in variable.name for variable in variables):
        raise NotResident(
            "it draws from keras.random without a seed, or with a SeedGenerator that is not an "
            "attribute of a layer; make one in the layer: self.seed = keras.random.SeedGenerator()"
        )


def _refuse_hidden_state(graph: Any, variables: Sequence[tf.Variable]) -> None:
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


def _for_each(
    batches: Any,
    n_batches: Any,
    body: Callable[[Any, Any], None],
    losses: RowLosses | None = None,
) -> Any:
    """Call `body(i, batches[i])` for i < n_batches in the graph; return the collected row losses.

    Two loops in one: TensorFlow's loop carries the array of row losses only where it is wanted.
    """
    start = (tf.constant(0),) if losses is None else (tf.constant(0), losses.array)

    def step(index: Any, *collected: Any) -> tuple:
        body(index, batches[index])
        if losses is None:
            return (index + 1,)
        return index + 1, collected[0].write(index, losses.seen)

    end = tf.while_loop(lambda index, *_: index < n_batches, step, start)
    return None if losses is None else end[1]


def _batch(x: Any, y: Any, weight: Any | None, rows: Any) -> tuple:
    """Gather rows as the tuple that `train_step` takes."""
    parts = (x, y) if weight is None else (x, y, weight)
    return tuple(tf.nest.map_structure(lambda part: tf.gather(part, rows), part) for part in parts)
