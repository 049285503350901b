"""The resident engine: rows on the device, one compiled epoch per architecture.

A program is keyed by every parameter except learning_rate and max_epochs, since any other may be
baked into the trace as a Python constant. Folds and trials swap their states in and out of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import Fold, preprocessed, training_weights
from pipeline.schedules import Schedule
from pipeline.spec import StudySpec
from pipeline.training.compiled_epoch import Arrays, CompiledEpoch, Rows
from pipeline.training.engine import FoldEpoch, NotResident, State
from pipeline.training.models import (
    baked_in,
    build,
    fold_seed,
    inner,
    labels,
    optimizer_of,
    trained_variables,
)
from pipeline.training.optimizer_schedule import OptimizerSchedule

MAX_PROGRAMS = 8
"""Programs kept; the least recently used goes first."""


class ResidentEngine:
    """Compiles programs for a study's folds.

    folds: the study's, or one fold without validation rows for the refit
    jit: compile with XLA
    say: where a line for the user goes
    Raises BadInput when a transformer or the data cannot be used.
    """

    def __init__(
        self,
        spec: StudySpec,
        data: Dataset,
        folds: Sequence[Fold],
        *,
        jit: bool,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.spec = spec
        self.folds = {fold.index: fold for fold in folds}
        self.jit = jit
        self.say = say
        self.preprocessors: dict[int, Any] = {}
        self.arrays: dict[int, Arrays] = {}
        self._place(data)
        self._programs: OrderedDict[tuple, ResidentProgram] = OrderedDict()
        self._n_compiled_before = 0
        self._baked: tuple[str, ...] | None = None
        self._said: set[str] = set()

    @property
    def n_compiled(self) -> int:
        """Compiled epochs so far: one per architecture and pair of last-batch sizes."""
        return self._n_compiled_before + sum(p.epoch.n_compiled for p in self._programs.values())

    def program(self, params: Mapping[str, Any]) -> ResidentProgram:
        """Return the program for these parameters, made if need be.

        Raises BadInput when the model cannot be built or does not fit the data.
        """
        key = program_key(params, self._baked_in(params))
        if key in self._programs:
            self._programs.move_to_end(key)
            return self._programs[key]
        program = ResidentProgram(self, params)
        self._programs[key] = program
        if len(self._programs) > MAX_PROGRAMS:
            _, oldest = self._programs.popitem(last=False)
            self._n_compiled_before += oldest.epoch.n_compiled
        return program

    def _baked_in(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        if self._baked is None:
            self._baked = baked_in(self.spec, params)
            if self._baked:
                self.say_once(
                    f"build_model uses {' and '.join(self._baked)} for more than the learning "
                    "rate: trials that differ in it are compiled one by one"
                )
        return self._baked

    def say_once(self, line: str) -> None:
        """Tell the user something that is true of every trial, the first time."""
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    def _place(self, data: Dataset) -> None:
        """Put rows, labels and weights on the device; without preprocessing, folds share rows."""
        y = tf.constant(labels(data.y))
        validation_weight = (
            None if data.sample_weight is None else tf.constant(data.sample_weight, tf.float32)
        )
        shared = None
        for index, fold in self.folds.items():
            if shared is None or self.spec.preprocess is not None:
                x, self.preprocessors[index] = preprocessed(data, fold, self.spec.preprocess)
                shared = tf.constant(x)
            weights = training_weights(data, fold, self.spec.class_weight)
            train_weight = None if weights is None else tf.constant(weights)
            self.arrays[index] = Arrays(shared, y, train_weight, validation_weight)


def program_key(params: Mapping[str, Any], baked: Sequence[str] = ()) -> tuple:
    """Return what tells two programs apart: every parameter but learning_rate and max_epochs.

    baked: of these two, those that the builder uses for more than the learning rate
    """
    free = {"learning_rate", "max_epochs"} - set(baked)
    return tuple(sorted((k, repr(v)) for k, v in params.items() if k not in free))


class ResidentProgram:
    """A compiled architecture: one model whose variables are scratch space for every fold."""

    def __init__(self, engine: ResidentEngine, params: Mapping[str, Any]) -> None:
        self._engine = engine
        self._params = dict(params)
        self._batch_size = int(params["batch_size"])
        folds = engine.folds.values()
        self._max_full = max(len(fold.train) // self._batch_size for fold in folds)
        self._max_full_validation = max(len(fold.validation) // self._batch_size for fold in folds)
        self._has_validation = all(len(fold.validation) for fold in folds)
        first = next(iter(engine.folds))
        model = self._new_model(first, params)
        optimizer = optimizer_of(model)
        self._has_schedule = _is_schedule(optimizer)
        self._say_which_learning_rate(optimizer)
        self.epoch = CompiledEpoch(
            model, optimizer, has_validation=self._has_validation, jit=engine.jit
        )
        names = self.epoch.metric_names
        self.metric_names = names + tuple(f"val_{n}" for n in names if self._has_validation)
        self._validation_rows = {
            fold.index: Rows.of(fold.validation, self._batch_size, self._max_full_validation)
            for fold in folds
        }
        self._validation_on_device = {i: r.on_device() for i, r in self._validation_rows.items()}
        try:
            self.epoch.account_for(
                engine.arrays[first],
                self._rows(engine.folds[first].train),
                self._validation_rows[first],
                self._padded(np.zeros(0)),
            )
        except NotResident as reason:
            raise BadInput(f"the model cannot run in a compiled epoch: {reason}") from reason
        if self.epoch.row_losses_missing and self._has_validation:
            engine.say_once(f"no row-level losses: {self.epoch.row_losses_missing}")
        self._model, self._initial = model, {engine.folds[first].start: self.epoch.read()}

    def initial_state(self, fold: int) -> State:
        """Return the fold's state before its first epoch, from a freshly built model.

        Variables outside the model's and the optimizer's own lists (slots of optimizers that the
        model owns) start as they did in the first model: their initial values are constants.
        """
        start = self._engine.folds[fold].start
        if start not in self._initial:
            model = self._new_model(fold, self._params)
            fresh = trained_variables(model)
            template = next(iter(self._initial.values()))
            state = tuple(tf.identity(variable) for variable in fresh) + template[len(fresh) :]
            self._initial[start] = state
        return self._initial[start]

    def run_epoch(
        self, fold: int, state: State, rows: np.ndarray, learning_rates: np.ndarray
    ) -> tuple[State, FoldEpoch]:
        """Train one epoch over `rows`, in this order, then validate; nothing reaches the host."""
        new_state, scores = self.epoch(
            state,
            self._engine.arrays[fold],
            self._rows(rows),
            self._validation_on_device[fold],
            self._padded(learning_rates),
        )
        metrics = tf.concat([scores.train, scores.validation], 0)
        if self.epoch.row_losses_missing or not self._has_validation:
            return new_state, FoldEpoch(metrics, None)
        unpadded = self._validation_rows[fold].unpadded
        return new_state, FoldEpoch(metrics, lambda: unpadded(scores.row_losses.numpy()))

    def schedule(self, params: Mapping[str, Any]) -> Schedule | None:
        """Return the schedule that the builder put into the optimizer for these parameters."""
        if not self._has_schedule:
            return None
        fold = next(iter(self._engine.folds))
        rate = inner(optimizer_of(self._new_model(fold, params)))._learning_rate
        return OptimizerSchedule(rate)

    def predict(self, fold: int, state: State, rows: np.ndarray) -> np.ndarray:
        """Return the model's predictions for `rows`, [n_rows, ...], moving averages applied."""
        self.epoch.write(state)
        inner(optimizer_of(self._model)).finalize_variable_values(self._model.trainable_variables)
        x = tf.gather(self._engine.arrays[fold].x, rows)
        return self._model.predict(x, batch_size=self._batch_size, verbose=0)

    def model(self, fold: int, state: State, params: Mapping[str, Any]) -> keras.Model:
        """Return a new Keras model with the weights of `state`, moving averages applied."""
        model = self._new_model(fold, params)
        own = trained_variables(model)
        for variable, value in zip(own, state[: len(own)], strict=True):
            variable.assign(value)
        inner(optimizer_of(model)).finalize_variable_values(model.trainable_variables)
        return model

    def _new_model(self, fold: int, params: Mapping[str, Any]) -> keras.Model:
        arrays = self._engine.arrays[fold]
        parts = (arrays.x, arrays.y, arrays.train_weight)
        batch = tuple(part[:2] for part in parts if part is not None)
        seed = fold_seed(self._engine.spec.seed, self._engine.folds[fold].start)
        return build(self._engine.spec, params, seed, batch)

    def _rows(self, rows: np.ndarray) -> Rows:
        return Rows.of(rows, self._batch_size, self._max_full)

    def _padded(self, learning_rates: np.ndarray) -> np.ndarray:
        padded = np.zeros(max(self._max_full, 1) + 1, np.float32)
        padded[: len(learning_rates)] = learning_rates
        return padded

    def _say_which_learning_rate(self, optimizer: keras.optimizers.Optimizer) -> None:
        if self._has_schedule:
            return
        built, sampled = float(optimizer.learning_rate), float(self._params["learning_rate"])
        if not np.isclose(built, sampled, rtol=1e-5):
            self._engine.say_once(
                f"build_model compiled with learning rate {built:g} where params has {sampled:g}; "
                "the search drives the optimizer with params['learning_rate'] itself"
            )


def _is_schedule(optimizer: keras.optimizers.Optimizer) -> bool:
    rate = inner(optimizer)._learning_rate
    return isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
