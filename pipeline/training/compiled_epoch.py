"""The compiled epoch: one call trains and validates one fold for one epoch.

The fold's state comes in as tensors and leaves as tensors; nothing in between touches Python or
the host. The call runs the model's own `train_step` and `test_step`, so it is what `fit` would do
with the same rows in the same order (`tests/training/test_equals_fit.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from pipeline.training.engine import NotResident, State, XlaRefused
from pipeline.training.hidden_state import refuse_hidden_state, refuse_unlisted_seeds
from pipeline.training.models import (
    assign,
    inner,
    logged_names,
    telling_line,
    trained_variables,
    values_of,
)
from pipeline.training.rows import Arrays
from pipeline.training.scratch import Scratch
from pipeline.training.watched import NOTHING, OfRows, Watch

_NAME_OF_GRAPH = re.compile(r" \S*__inference_\S*")
"""In XLA's messages, with a page of options."""


class Rows(NamedTuple):
    """Row indices in batches. Only `last` decides the compiled program: it has no padding.

    On the host as NumPy arrays, or on the device.

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

    def on_device(self) -> Rows:
        """Return the same rows as tensors: for those that do not change from epoch to epoch."""
        return tf.nest.map_structure(tf.constant, self)

    def unpadded(self, values: np.ndarray) -> np.ndarray:
        """Return the values of the rows that count, in the order they were cut."""
        return np.concatenate(
            [values[: self.n_full * self.full.shape[1]], values[self.full.size :]]
        )


class Scores(NamedTuple):
    """[n_metrics] of training and of validation, and what is watched of each validation row."""

    train: Any
    validation: Any
    of_rows: OfRows
    """[max_full_batches · batch_size + n_last]: with the padding that `Rows.unpadded` takes out."""


class CompiledEpoch:
    """One model's epoch as a compiled function of state, rows and learning rates.

    Several threads may call it at once, for programs that `prepare` has traced.

    model: built and compiled; this object owns it: its variables are scratch space
    optimizer: the one whose learning rate is driven
    watch: what of the validation rows to return beside the metrics
    has_validation: whether there are validation rows at all
    jit: compile with XLA
    Raises NotResident when the model's state cannot be held as a value, and, in its first call,
    XlaRefused when XLA cannot compile it.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        watch: Watch,
        *,
        has_validation: bool,
        jit: bool,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._watch = watch
        self._has_validation = has_validation
        self._jit = jit
        self._uses_ema = inner(optimizer).use_ema
        self.metric_names = tuple(logged_names(model))
        self._learning_rate: Any = None
        # A callable learning rate is read anew at each step of the trace: the schedule enters as
        # data, whatever the optimizer was built with.
        inner(optimizer).learning_rate = lambda: self._learning_rate
        metrics = [variable.value for variable in model.metrics_variables]
        self.variables: list[tf.Variable] = trained_variables(model) + metrics
        self._function = self._compile()
        self._programs: dict[tuple[int, int], Any] = {}

    @property
    def n_compiled(self) -> int:
        """How many programs exist: one per pair of last-batch sizes."""
        return self._function.experimental_get_tracing_count()

    def account_for(self, arrays: Arrays, train: Rows, validation: Rows, rates: Any) -> None:
        """Find every variable that the epoch touches, so that the state is the whole state.

        A model may own optimizers and variables that `model.variables` does not list; the traced
        graph lists them all. Their values now, before any training, are their initial values.
        """
        try:
            graph = self._trace(arrays, train, validation, rates).graph
        except NotResident:
            raise
        except Exception as error:  # what a model's own code makes of tensors without values
            kind = type(error).__name__
            raise NotResident(f"tracing it raised {kind}: {telling_line(error)}") from error
        known = {id(variable) for variable in self.variables}
        missing = [variable for variable in graph.variables if id(variable) not in known]
        if missing:
            # The graph lists them in another order in each process; a state has one, on disk too.
            captured = [id(outer) for outer, _ in graph.captures]
            missing.sort(key=lambda variable: captured.index(id(variable.handle)))
            refuse_unlisted_seeds(missing)
            self.variables += missing
            self._function = self._compile()
            graph = self._trace(arrays, train, validation, rates).graph
        refuse_hidden_state(graph, self.variables)
        self._scratch = Scratch(self.variables)

    def prepare(self, arrays: Arrays, train: Rows, validation: Rows, learning_rates: Any) -> None:
        """Trace the program for last batches of these sizes, unless there is one.

        In the main thread: Keras's dtype policy and its like are kept for each thread by itself.
        """
        sizes = _last_batches(train, validation)
        if sizes not in self._programs:
            self._programs[sizes] = self._trace(arrays, train, validation, learning_rates)

    def is_taken_by_xla(self, arrays: Arrays, train: Rows, validation: Rows, rates: Any) -> bool:
        """Whether XLA takes the epoch in: compiling, a matter of seconds, then succeeds as well."""
        if not self._jit:
            return False
        args = (self.read(), arrays, train, validation, rates)
        try:
            self._function.experimental_get_compiler_ir(*args)(stage="hlo")
        except Exception:  # of many kinds; whoever compiles it gets the one to be told
            return False
        return True

    def read(self) -> State:
        """Return the variables' values now."""
        return values_of(self.variables)

    def __call__(
        self,
        state: State,
        arrays: Arrays,
        train: Rows,
        validation: Rows,
        learning_rates: Any,
        *,
        device: int = 0,
    ) -> tuple[State, Scores]:
        """Train over `train`, validate over `validation`; return the new state and the scores.

        learning_rates: float32 [max_full_batches + 1]
        device: the number of the one in whose scope the caller is; 0 is where the model was built
        """
        self.prepare(arrays, train, validation, learning_rates)
        program = self._programs[_last_batches(train, validation)]
        parts = (state, arrays, train, validation, learning_rates)
        tensors = [tf.convert_to_tensor(p) for p in tf.nest.flatten(parts) if p is not None]
        try:
            new_state, scores = self._scratch.run(program, tensors, device)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
            if not self._jit or "XLA" not in str(error):
                raise
            raise XlaRefused(_NAME_OF_GRAPH.sub("", telling_line(error))) from error
        return tuple(new_state), scores

    def _compile(self) -> Any:
        return tf.function(self._epoch, jit_compile=self._jit, autograph=False)

    def _trace(self, *args: Any) -> Any:
        return self._function.get_concrete_function(self.read(), *args)

    def _epoch(
        self, state: State, arrays: Arrays, train: Rows, validation: Rows, learning_rates: Any
    ) -> tuple[list, Scores]:
        assign(self.variables, state)
        train_scores = self._train(arrays, train, learning_rates)
        if not self._has_validation:
            return self._values(), Scores(train_scores, train_scores[:0], NOTHING)
        if not self._uses_ema:
            validated = self._validate(arrays, validation)  # first: it may change the state
            return self._values(), Scores(train_scores, *validated)
        # Whoever stops here would use the averaged weights, so these are validated; training goes
        # on from the raw ones.
        weights = self._model.trainable_variables
        raw = [weight.value.read_value() for weight in weights]
        self._optimizer.finalize_variable_values(weights)
        validated = self._validate(arrays, validation)
        for weight, value in zip(weights, raw, strict=True):
            weight.value.assign(value)
        return self._values(), Scores(train_scores, *validated)

    def _train(self, arrays: Arrays, rows: Rows, learning_rates: Any) -> Any:
        self._model.reset_metrics()

        def update(index: Any, batch_rows: Any) -> OfRows:
            self._learning_rate = learning_rates[index]
            batch = arrays.train_batch(batch_rows)
            self._refuse_other_logs("train_step", self._model.train_step(batch))
            return NOTHING

        _for_each(rows.full, rows.n_full, update)
        if rows.last.shape[0]:
            update(rows.n_full, rows.last)
        return self._metrics()

    def _validate(self, arrays: Arrays, rows: Rows) -> tuple[Any, OfRows]:
        self._model.reset_metrics()

        def score(index: Any, batch_rows: Any) -> OfRows:
            logs, seen = self._watch.test_step(arrays.validation_batch(batch_rows))
            self._refuse_other_logs("test_step", logs)
            return seen

        collected = _for_each(rows.full, rows.n_full, score, self._watch.arrays(*rows.full.shape))
        of_rows = tf.nest.map_structure(_joined, collected)
        if rows.last.shape[0]:
            last = score(rows.n_full, rows.last)
            of_rows = tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), of_rows, last)
        return self._metrics(), of_rows

    def _refuse_other_logs(self, step: str, logs: Any) -> None:
        """Raise NotResident when a step reports what no metric keeps: it has no value per epoch.

        (`fit` would then report the last batch's value as the epoch's.)
        """
        kept = {*self._model.get_metrics_result(), *(m.name for m in self._model.metrics)}
        returned = set(logs) if isinstance(logs, dict) else {type(logs).__name__}
        if not returned <= kept:
            raise NotResident(
                f"its {step} returns {sorted(returned - kept)}, which no metric keeps; it must "
                "update keras.metrics and return self.get_metrics_result()"
            )

    def _metrics(self) -> Any:
        result = self._model.get_metrics_result()
        return tf.stack([tf.cast(result[name], tf.float32) for name in self.metric_names])

    def _values(self) -> list:
        return [variable.read_value() for variable in self.variables]


def _last_batches(train: Rows, validation: Rows) -> tuple[int, int]:
    """Return what tells an architecture's programs apart."""
    return train.last.shape[0], validation.last.shape[0]


def _joined(array: tf.TensorArray) -> Any:
    """Return what was written for batches [batch_size, ...] as [n_batches · batch_size, ...]."""
    batches = array.stack()
    return tf.reshape(batches, [-1, *batches.shape[2:]])


def _for_each(
    batches: Any,
    n_batches: Any,
    body: Callable[[Any, Any], OfRows],
    arrays: OfRows = NOTHING,
) -> OfRows:
    """Call `body(i, batches[i])` for i < n_batches in the graph; return the arrays of its results.

    The loop carries arrays for what is watched only.
    """

    def step(index: Any, collected: OfRows) -> tuple[Any, OfRows]:
        found = body(index, batches[index])
        return index + 1, tf.nest.map_structure(lambda a, v: a.write(index, v), collected, found)

    start = (tf.constant(0), arrays)
    _, collected = tf.while_loop(lambda index, _: index < n_batches, step, start)
    return OfRows(*collected)
