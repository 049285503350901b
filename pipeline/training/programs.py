"""What every architecture does alike: one model, and states that are swapped in and out of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.data import labelled
from pipeline.errors import unknown_name
from pipeline.nest import Nest, map_parts
from pipeline.schedules import Schedule
from pipeline.scoring import Scoring, Truth
from pipeline.training.callbacks import NO_CALLBACKS, FoldCallbacks, NoCallbacks
from pipeline.training.devices import HOST
from pipeline.training.engine import FoldEpoch, State
from pipeline.training.gradients import Registered
from pipeline.training.lanes import Lanes
from pipeline.training.models import (
    assign,
    build,
    first_rows,
    fold_seed,
    inner,
    kind_of,
    named_outputs,
    optimizer_of,
    trained_variables,
    values_of,
    weigh_batches_as_fit,
    xla_wish,
)
from pipeline.training.optimizer_schedule import OptimizerSchedule
from pipeline.training.outputs import meaning_of, row_shape
from pipeline.training.rows import predict, taken
from pipeline.training.watched import Watch

if TYPE_CHECKING:
    from pipeline.training.keras_engine import KerasEngine


class KerasProgram(ABC):
    """An architecture: one model whose variables are scratch space for every fold."""

    metric_names: tuple[str, ...]

    variables: list[tf.Variable]
    """What a state holds the values of; those of `_new` first."""

    kind: str
    """The kinds of layers that the model is made of."""

    xla_wish: tuple[bool | None, str]
    """Whether the model's author wants XLA, and the reason; None leaves it open."""

    scoring: Scoring | None = None
    """The study's scorers, for this model's outputs."""

    registered: Registered
    """What its traces left in TensorFlow's registry."""

    def __init__(self, engine: KerasEngine, params: Mapping[str, Any]) -> None:
        self._engine = engine
        self._params = dict(params)
        self._batch_size = int(params["batch_size"])
        self._validation_batch_size = engine.validation_batch_size(params)
        self._has_validation = all(len(fold.validation) for fold in engine.folds.values())
        self._first = next(iter(engine.folds.values()))
        self._model, self._own_variables = self._new(self._first.index, params)
        self.kind = kind_of(self._model)
        weigh_batches_as_fit(self._model)
        self._optimizer = optimizer_of(self._model)
        self._has_schedule = _is_schedule(self._optimizer)
        self._say_which_learning_rate()
        self.xla_wish = xla_wish(self._model)
        self._initial: dict[int, State] = {}
        self._truths: dict[int, Truth] = {}
        self._watch_rows()
        self.epoch_secs = math.inf
        self.keeps_states_on = [device.name for device in engine.devices]

    @property
    def state_bytes(self) -> int:
        """Bytes of one fold's state."""
        values = next(iter(self._initial.values()))
        return sum(value.shape.num_elements() * value.dtype.size for value in values)

    @property
    def lanes(self) -> Lanes:
        """The engine's."""
        return self._engine.lanes

    @property
    @abstractmethod
    def n_compiled(self) -> int:
        """How often this architecture was compiled."""

    def run_epoch(
        self,
        fold: int,
        state: State,
        rows: np.ndarray,
        learning_rates: np.ndarray,
        callbacks: NoCallbacks = NO_CALLBACKS,
    ) -> tuple[State, FoldEpoch]:
        """Train one epoch over `rows`, in this order, then validate."""
        device = self._engine.device_of(fold).name
        with self._scope(fold):
            if self.keeps_states_on[self.device_number(fold)] == device:
                return self._run_epoch(fold, state, rows, learning_rates, callbacks)
            brought = on_device(device, state)
            new_state, epoch = self._run_epoch(fold, brought, rows, learning_rates, callbacks)
            return self.placed(fold, new_state), epoch

    def end(self, fold: int, state: State, callbacks: FoldCallbacks) -> State:
        """Tell callbacks that training is over, and return the state that they leave."""
        with self._scope(fold):
            brought = on_device(self._engine.device_of(fold).name, state)
            return self.placed(fold, self._end(fold, brought, callbacks))

    @contextmanager
    def _scope(self, fold: int | None = None) -> Iterator[None]:
        with self._engine.scope(fold), self.registered.noted():
            yield

    def device_number(self, fold: int) -> int:
        """Return the number of the device that trains the fold."""
        return self._engine.device_number(fold)

    def placed(self, fold: int, state: State) -> State:
        """Return a fold's state where this program keeps it while the fold does not train."""
        return on_device(self.keeps_states_on[self.device_number(fold)], state)

    @abstractmethod
    def _run_epoch(
        self,
        fold: int,
        state: State,
        rows: np.ndarray,
        learning_rates: np.ndarray,
        callbacks: NoCallbacks,
    ) -> tuple[State, FoldEpoch]: ...

    def _end(self, fold: int, state: State, callbacks: FoldCallbacks) -> State:
        return state  # no compiled epoch tells callbacks anything

    def _watch_rows(self) -> None:
        """Decide what of the validation rows is watched, and say what cannot be."""
        engine, shape = self._engine, None
        if engine.spec.scorers:
            meaning = meaning_of(self._model, engine.data.y)
            self.scoring = Scoring(engine.spec.scorers, meaning, say=engine.say)
            x = first_rows(engine.arrays[self._first.index].x, self._batch_size)
            self._row_shape = shape = row_shape(self._model, x)
        self._watch = Watch(self._model, shape if self._has_validation else None)
        if not self._has_validation:
            return
        if reason := self._watch.losses_missing:
            engine.say_once(f"no row-level losses: {reason}")
        if reason := self._watch.predictions_missing:
            engine.say_once(f"scorers take a second pass over the validation rows: {reason}")

    def _fold_epoch(
        self,
        fold: int,
        metrics: Any,
        losses: Callable[[], np.ndarray],
        predictions: Callable[[], np.ndarray],
        left_rate: float | None = None,
    ) -> FoldEpoch:
        """Return what an epoch gave. losses, predictions: read those of the validation rows."""
        if not self._has_validation:
            return FoldEpoch(metrics, None, left_rate=left_rate)
        row_losses = None if self._watch.losses_missing else losses
        if self.scoring is None:
            return FoldEpoch(metrics, row_losses, left_rate=left_rate)
        return FoldEpoch(metrics, row_losses, lambda: self._scores(fold, predictions()), left_rate)

    def _scores(self, fold: int, predictions: np.ndarray) -> np.ndarray:
        assert self.scoring is not None
        if fold not in self._truths:
            y, weight = labelled(self._engine.data, self._engine.folds[fold].validation)
            self._truths[fold] = self.scoring.truth(y, weight, self._row_shape)
        return self.scoring.scores(predictions, self._truths[fold])

    def compiles(self) -> bool:
        """Whether the epoch is known to compile, without compiling it."""
        return False

    @abstractmethod
    def prepare(self, fold: int) -> None:
        """Make ready whatever a whole epoch of the fold runs, in the caller's thread."""

    def initial_state(self, fold: int) -> State:
        """Return the fold's state before its first epoch, from a freshly built model.

        Variables that a new model does not have yet (slots of optimizers that the model owns)
        start as they did in the first model: their initial values are constants.
        """
        start = self._engine.folds[fold].start
        if start not in self._initial:
            _, fresh = self._new(fold, self._params)
            template = next(iter(self._initial.values()))
            self._initial[start] = on_device(HOST, values_of(fresh) + template[len(fresh) :])
        return self.placed(fold, self._initial[start])

    def schedule(self, params: Mapping[str, Any]) -> Schedule | None:
        """Return the schedule that the builder put into the optimizer for these parameters."""
        if not self._has_schedule:
            return None
        model, _ = self._new(self._first.index, params)
        return OptimizerSchedule(inner(optimizer_of(model))._learning_rate)

    def predict(self, fold: int, state: State, rows: np.ndarray) -> Nest:
        """Return the model's predictions for `rows`, [n_rows, ...], moving averages applied.

        Of several outputs, a dict by their names.
        """
        with self._engine.scope():
            assign(self.variables, state)
            inner(self._optimizer).finalize_variable_values(self._model.trainable_variables)
            with self._engine.scope(fold):  # where its rows are: those that are taken go elsewhere
                x = map_parts(lambda part: taken(part, rows), self._engine.arrays[fold].x)
            return named_outputs(self._model, predict(self._model, x, self._batch_size))

    def model(self, fold: int, state: State, params: Mapping[str, Any]) -> keras.Model:
        """Return a new Keras model with the weights of `state`, moving averages applied."""
        model, own = self._new(fold, params)
        assign(own, state[: len(own)])
        inner(optimizer_of(model)).finalize_variable_values(model.trainable_variables)
        return model

    def _new(self, fold: int, params: Mapping[str, Any]) -> tuple[keras.Model, list[tf.Variable]]:
        """Return a new model and what training changes in it."""
        arrays = self._engine.arrays[fold]
        parts = (arrays.x, arrays.y, arrays.train_weight)
        batch = tuple(first_rows(part, self._batch_size) for part in parts if part is not None)
        seed = fold_seed(self._engine.spec.seed, self._engine.folds[fold].start)
        with self._engine.scope():
            model = build(self._engine.spec, params, seed, batch)
        return model, trained_variables(model)

    def _set_metric_names(self, train: Sequence[str], validation: Sequence[str]) -> None:
        """Name what an epoch gives; raise BadInput when the search would miss something in it."""
        names, scorers = list(train), self.scoring.names if self.scoring else ()
        wanted = ["loss"]
        if self._has_validation:
            names += [f"val_{name}" for name in (*validation, *scorers)]
            wanted.append(self._engine.spec.objective.metric)
        self.metric_names = tuple(names)
        for name in wanted:
            if name not in self.metric_names:
                raise unknown_name("metric in the model's logs", name, self.metric_names)

    def _say_which_learning_rate(self) -> None:
        if self._has_schedule:
            return
        built, sampled = float(self._optimizer.learning_rate), float(self._params["learning_rate"])
        if not np.isclose(built, sampled, rtol=1e-5):
            self._engine.say_once(
                f"build_model compiled with learning rate {built:g} where params has {sampled:g}; "
                "the search drives the optimizer with params['learning_rate'] itself"
            )


def _is_schedule(optimizer: keras.optimizers.Optimizer) -> bool:
    rate = inner(optimizer)._learning_rate
    return isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)


def on_device(name: str, state: State) -> State:
    """Return a state with all its values on a device; those that are there are not copied."""
    with tf.device(name):
        return tuple(
            value if value.device.endswith(name) else tf.identity(value) for value in state
        )
