"""The streaming engine: Keras's own train and test functions, one batch after the other.

It runs what no compiled epoch can hold: models that run eagerly, call Python, or keep state where
only Keras finds it; and rows that do not fit on the device, which stay on the host. `fit` and
`evaluate` call the same functions, on the same batches.

Users' callbacks are told what `fit` tells them, and `augment` is given each batch for training.

Rows are gathered batch by batch as they are needed. (A `tf.data` pipeline that gathers ahead was no
faster where arithmetic dominates, and slower where it does not.)
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.random import seed_generator

from pipeline.errors import BadInput
from pipeline.training.augmented import Augmented
from pipeline.training.callbacks import NO_CALLBACKS, DrivenRate, FoldCallbacks, NoCallbacks
from pipeline.training.devices import HOST
from pipeline.training.engine import FoldEpoch, State
from pipeline.training.hidden_state import PYTHON, RANDOM, called, resources
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.lanes import Lanes
from pipeline.training.models import assign, inner, optimizer_of, telling_line, values_of
from pipeline.training.programs import KerasProgram, on_device
from pipeline.training.watched import OfRows


class StreamingEngine(KerasEngine):
    """Trains through Keras's own functions."""

    lanes = Lanes(1)  # Keras's functions write into the one model
    rows_on_device = False
    spreads_folds = False

    def _new_program(self, params: Mapping[str, Any]) -> StreamingProgram:
        return StreamingProgram(self, params)


class StreamingProgram(KerasProgram):
    """An architecture as Keras trains it.

    Raises BadInput when the model's first step fails, or logs what the search cannot use.
    """

    n_compiled = 1

    def __init__(self, engine: StreamingEngine, params: Mapping[str, Any]) -> None:
        super().__init__(engine, params)
        model = self._model
        self._n_epochs = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._rate = inner(self._optimizer)._learning_rate
        if not isinstance(self._rate, keras.Variable):  # a schedule
            self._rate = keras.Variable(0.0, trainable=False, name="learning_rate")
            inner(self._optimizer).learning_rate = DrivenRate(self._rate)
        self._generator = seed_generator.global_seed_generator()
        self._graphs: list[tf.Graph] = []
        model.steps_per_execution = 1  # more would only save calls, and share a learning rate
        object.__setattr__(model, "train_step", self._noted(model.train_step))
        # Its own test_step may be called by the model's own train_step: it returns what it did.
        test_step = self._watch.test_step if self._watch.sees_steps else model.test_step
        object.__setattr__(model, "test_step", self._noted(test_step))
        again = self._watch.again
        self._again = again if model.run_eagerly else tf.function(again)
        model.make_train_function(force=True)
        model.make_test_function(force=True)
        self._test_function = model.test_function
        # What a callback evaluates is not watched.
        object.__delattr__(model, "test_step")
        model.test_function = None
        self._learn_from_a_step()
        drawn = {call for graph in self._graphs for call in called(graph, RANDOM)}
        self._draws_in_graphs = bool(drawn)
        self._say(drawn)

    def prepare(self, fold: int) -> None:
        """Do nothing: Keras traces where its functions are first called."""

    def _run_epoch(
        self,
        fold: int,
        state: State,
        rows: np.ndarray,
        learning_rates: np.ndarray,
        callbacks: NoCallbacks,
    ) -> tuple[State, FoldEpoch]:
        assign(self.variables, state)
        epoch = int(self._n_epochs)
        self._seed_global_generators(self._engine.folds[fold].start, epoch)
        if callbacks.begin(self._model, epoch, self._rate, learning_rates[0]) and epoch:
            assign(self.variables, state)  # whatever they did to begin with, the snapshot has it
        self._n_epochs.assign_add(1)
        logs = self._train(self._batches_of(fold, epoch, rows), epoch, learning_rates, callbacks)
        rate = callbacks.left_rate(self._rate)
        logged, seen = _scalars(logs), list[OfRows]()
        values = list(logged.values())
        if self._has_validation:
            with self._averaged_weights():
                held, seen = self._validate(fold, self._engine.folds[fold].validation, callbacks)
            values += _scalars(held).values()
            logs = {**logs, **{f"val_{name}": value for name, value in held.items()}}
        callbacks.end_epoch(epoch, logs)
        if why_not := callbacks.why_not(self._model, logged["loss"]):
            self._engine.forget(self)  # whoever comes next has a model that nobody changed
            raise BadInput(why_not)
        return values_of(self.variables), self._fold_epoch(
            fold,
            np.array(values, np.float32),
            lambda: np.concatenate([np.asarray(each.losses) for each in seen]),
            lambda: np.concatenate([np.asarray(each.predictions) for each in seen]),
            rate,
        )

    def _end(self, fold: int, state: State, callbacks: FoldCallbacks) -> State:
        model, optimizer = self._model, inner(self._optimizer)
        assign(self.variables, state)
        optimizer.finalize_variable_values(model.trainable_variables)
        before = model.get_weights()
        callbacks.end()
        if not all(
            np.array_equal(old, new, equal_nan=True)
            for old, new in zip(before, model.get_weights(), strict=True)
        ):
            self._engine.say_once(
                "callbacks change the weights in on_train_end: the models that are kept are so, "
                "and the scores of epochs are of the weights before it; those that on_test_begin "
                "puts in place, and on_test_end takes back, are scored"
            )
        if optimizer.use_ema:
            for weight, average in zip(
                optimizer._trainable_variables, optimizer._model_variables_moving_average,
                strict=True,
            ):  # fmt: skip
                average.assign(weight)
        return values_of(self.variables)

    def _batches_of(self, fold: int, epoch: int, rows: np.ndarray) -> Iterator[tuple]:
        """Return an epoch's training batches, augmented if the study says so."""
        engine, arrays = self._engine, self._engine.arrays[fold]
        gather: Callable[[Any], tuple] = arrays.train_batch
        if engine.spec.augment is not None:
            start = engine.folds[fold].start
            gather = Augmented(engine.spec, arrays, start=start, epoch=epoch)
        return _batches(rows, self._batch_size, gather)

    def _learn_from_a_step(self) -> None:
        """Take a step of each kind, to see what the model logs and which variables it makes."""
        fold, size = self._first, self._batch_size
        initial = values_of(self._own_variables)
        try:
            with _made_variables() as made:
                batches = self._batches_of(fold.index, 0, fold.train[:size])
                train = _scalars(self._train(batches, 0, np.zeros(1)))
                held = fold.validation[: self._validation_batch_size]
                validation = _scalars(self._validate(fold.index, held)[0])
        except BadInput:
            raise
        except Exception as error:  # the model's own code
            raise BadInput(
                f"the model's first step raised {type(error).__name__}: {telling_line(error)}"
            ) from error
        self._set_metric_names(list(train), list(validation))
        made.append((self._n_epochs, tf.identity(self._n_epochs)))
        if self._engine.spec.callbacks is not None:  # which may set it
            made.append((self._rate.value, tf.identity(self._rate.value)))
        self.variables = self._own_variables + [variable for variable, _ in made]
        values = initial + tuple(value for _, value in made)
        self._initial[fold.start] = on_device(HOST, values)

    def _noted(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the step, remembering the graphs that it is traced in."""

        def noted(batch: Any) -> Any:
            result = step(batch)
            if tf.inside_function():
                self._graphs.append(tf.compat.v1.get_default_graph())
            return result

        return noted

    def _seed_global_generators(self, start: int, epoch: int) -> None:
        """Make what draws from Python's and NumPy's own generators repeatable, too.

        TensorFlow's operations in a graph have their seeds in it and can only begin anew.
        """
        spec = self._engine.spec
        entropy = [spec.seed, start, epoch]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        if self._model.run_eagerly:
            tf.random.set_seed(seed)
        elif self._draws_in_graphs:
            tf.random.set_seed(spec.seed)
        global_state.set_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR, self._generator)

    def _say(self, drawn: set[str]) -> None:
        """Say what is not as in the compiled epoch."""
        engine = self._engine
        python = {call for graph in self._graphs for call in called(graph, PYTHON)}
        if self._model.run_eagerly:
            python = {"run_eagerly=True"}
        known = [*self.variables, self._rate.value]
        if kept := python.union(*(resources(graph, known) for graph in self._graphs)):
            engine.say_once(
                f"{', '.join(sorted(kept))}: what the model keeps outside its variables is shared "
                "by all folds and trials, and lost when a killed search goes on"
            )
        if drawn:
            engine.say_once(
                f"{', '.join(sorted(drawn))} draws the same numbers in every epoch, so that a "
                "search can be repeated; keras.random with a SeedGenerator draws new ones"
            )

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Validate what whoever stops here would use; training goes on from the raw weights."""
        if not inner(self._optimizer).use_ema:
            yield
            return
        weights = self._model.trainable_variables
        raw = values_of(weight.value for weight in weights)
        self._optimizer.finalize_variable_values(weights)
        yield
        assign((weight.value for weight in weights), raw)

    def _new(self, fold: int, params: Mapping[str, Any]) -> tuple[keras.Model, list[tf.Variable]]:
        """Return a new model and every variable that was made for it, wherever it is kept."""
        with _made_variables() as made:
            model, own = super()._new(fold, params)
            # Made at its first use otherwise, which only an epoch would be.
            seed_generator.global_seed_generator()
        rate = inner(optimizer_of(model))._learning_rate
        known = {id(variable) for variable in [*own, getattr(rate, "value", None)]}
        return model, own + [variable for variable, _ in made if id(variable) not in known]

    def _train(
        self,
        batches: Iterator[tuple],
        epoch: int,
        rates: np.ndarray,
        callbacks: NoCallbacks = NO_CALLBACKS,
    ) -> dict[str, Any]:
        """Take an update for each learning rate; return an epoch's logs as `fit` has them."""
        model = self._model
        model.reset_metrics()
        callbacks.begin_epoch(epoch, self._rate, rates[0])
        for number, rate in enumerate(rates):
            callbacks.drive(self._rate, rate)
            callbacks.tell("on_train_batch_begin", number)
            logs = model.train_function(batches)
            callbacks.tell("on_train_batch_end", number, logs)
            if callbacks.stops(model):
                break
        return self._logs("train_step", logs)

    def _validate(
        self, fold: int, rows: np.ndarray, callbacks: NoCallbacks = NO_CALLBACKS
    ) -> tuple[dict[str, Any], list[OfRows]]:
        """Return the logs, and what is watched of each batch's rows."""
        model, gather = self._model, self._engine.arrays[fold].validation_batch
        callbacks.tell("on_test_begin")
        model.reset_metrics()
        logs: Any = {}
        size, seen = self._validation_batch_size, []
        batches = _batches(rows, size, gather)
        for number in range(-(-len(rows) // size)):
            callbacks.tell("on_test_batch_begin", number)
            logs = self._test_function(batches)
            if self._watch.sees_steps:
                logs, of_rows = logs
                seen.append(OfRows(*of_rows))
            callbacks.tell("on_test_batch_end", number, logs)
        logs = self._logs("test_step", logs)
        if self._watch.predictions_missing:
            seen = [self._again(batch) for batch in _batches(rows, size, gather)]
        callbacks.tell("on_test_end", logs)
        return logs, seen

    def _logs(self, step: str, logs: Any) -> dict[str, Any]:
        """Return an epoch's logs as `fit` does: what no metric keeps is the last batch's."""
        if not isinstance(logs, dict):
            raise BadInput(f"{step} must return a dict of logs, got {type(logs).__name__}")
        return dict(self._model._get_metrics_result_or_logs(logs))


def _scalars(logs: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}


def _batches(rows: np.ndarray, size: int, gather: Any) -> Iterator[tuple]:
    for start in range(0, len(rows), size):
        yield gather(rows[start : start + size])


@contextmanager
def _made_variables() -> Iterator[list[tuple[tf.Variable, Any]]]:
    """Collect every variable that is made in the block, with its initial value."""
    made = []

    def creator(next_creator: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
        variable = next_creator(**options)
        with tf.init_scope():
            made.append((variable, tf.identity(variable)))
        return variable

    with tf.variable_creator_scope(creator):
        yield made
