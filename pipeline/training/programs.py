"""What every engine does alike: rows collected once, programs kept, states begun from new models.

A program is keyed by every parameter except those of the learning rates, since any other may be
baked into the trace as a Python constant. Folds and trials swap their states in and out of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.data import Dataset
from pipeline.errors import unknown_name
from pipeline.folds import Fold, as_weights, training_weights
from pipeline.nest import Nest
from pipeline.placement import SHARE, STATES_PER_FOLD, Holding, place, size
from pipeline.preprocessing import preprocessed
from pipeline.schedules import Schedule
from pipeline.spec import StudySpec
from pipeline.training.architectures import n_architectures, program_key
from pipeline.training.devices import HOST, Device, training_device
from pipeline.training.engine import FoldEpoch, Mode, NotResident, Program, State
from pipeline.training.gradients import Registered
from pipeline.training.lanes import Lanes
from pipeline.training.models import (
    assign,
    baked_in,
    build,
    first_rows,
    fold_seed,
    inner,
    labels,
    named_outputs,
    optimizer_of,
    trained_variables,
    under_policy,
    values_of,
    weigh_batches_as_fit,
    xla_wish,
)
from pipeline.training.optimizer_schedule import OptimizerSchedule
from pipeline.training.rows import Arrays, n_bytes, take

MAX_PROGRAMS = 8
"""Programs kept; the least recently used goes first."""


class KerasEngine(ABC):
    """Makes programs for a study's folds, and keeps the last few.

    folds: the study's, or one fold without validation rows for the refit
    say: where a line for the user goes
    device: where to train; None is the first GPU, or else the processor
    Raises BadInput when a transformer or the data cannot be used.
    """

    mode: Mode
    lanes: Lanes
    in_turn = False

    rows_on_device: bool
    """Whether all rows stay on the device, rather than being brought there batch by batch."""

    def __init__(
        self,
        spec: StudySpec,
        data: Dataset,
        folds: Sequence[Fold],
        *,
        say: Callable[[str], None] = lambda line: None,
        device: Device | None = None,
    ) -> None:
        self.spec = spec
        self.folds = {fold.index: fold for fold in folds}
        self.say = say
        self.device = device or training_device()
        self.preprocessors: dict[int, Any] = {}
        self.arrays: dict[int, Arrays] = {}
        self._collect(data)
        self._row_bytes = n_bytes(self.arrays.values())
        self._programs: OrderedDict[tuple, KerasProgram] = OrderedDict()
        self._n_compiled_before = 0
        self._baked: tuple[str, ...] | None = None
        self._said: set[str] = set()

    @property
    def n_compiled(self) -> int:
        """Programs compiled so far, also those that are no longer kept."""
        return self._n_compiled_before + sum(p.n_compiled for p in self._programs.values())

    def program(self, params: Mapping[str, Any]) -> KerasProgram:
        """Return the program for these parameters, made if need be.

        Raises BadInput when the model cannot be built, does not fit the data, or cannot be trained
        by this engine.
        """
        key = self._key(params)
        if key in self._programs:
            self._programs.move_to_end(key)
            return self._programs[key]
        registered = Registered()
        with self.scope(), registered.noted():
            program = self._new_program(params)
        program.registered = registered
        self._settle(program)
        self._programs[key] = program
        if len(self._programs) > MAX_PROGRAMS:
            _, oldest = self._programs.popitem(last=False)
            self._n_compiled_before += oldest.n_compiled
            oldest.registered.forget()
        return program

    def is_same_program(self, params: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
        """Whether trials of these parameters share a program, without making it."""
        return self._key(params) == self._key(others)

    def say_once(self, line: str) -> None:
        """Tell the user something that is true of every trial, the first time."""
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    def _key(self, params: Mapping[str, Any]) -> tuple:
        return program_key(params, self.spec.rate_parameters, self._baked_in(params))

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Build, trace and train in the block: on this device, under the study's dtype policy."""
        with under_policy(self.spec), tf.device(self.device.name):
            yield

    def holding(self, program: Program | None = None) -> Holding:
        """Return what this engine holds in memory with such a program, or without one."""
        n_programs = int(min(MAX_PROGRAMS, n_architectures(self.spec)))
        state = program.state_bytes if program else 0
        return Holding(self._row_bytes, state, len(self.folds), n_programs)

    def _settle(self, program: KerasProgram) -> None:
        """Decide where a program's states stay, now that it is known what one holds."""
        holding = self.holding(program)
        if self.rows_on_device:
            self._require_room(holding)
        else:
            holding = replace(holding, rows=0)
        if not (self.device.is_host or place(holding, self.device.memory).states_on_device):
            self.say_once(
                f"{holding.n_folds} folds' states of {size(holding.state)}, {STATES_PER_FOLD} of "
                f"each, do not fit in {SHARE:.0%} of {self.device}: each is brought there for its "
                "epoch and taken back"
            )
            program.keeps_states_on = HOST

    def _require_room(self, holding: Holding) -> None:
        """Raise NotResident when the rows do not fit beside the states of the fold that trains."""
        if not place(holding, self.device.memory).rows_on_device:
            raise NotResident(
                f"its rows, {size(holding.all_rows)} while two engines hold them, do not fit "
                f"beside one fold's states, {size(holding.states_at_work)}, in {SHARE:.0%} of "
                f"{self.device}"
            )

    @abstractmethod
    def _new_program(self, params: Mapping[str, Any]) -> KerasProgram: ...

    def _baked_in(self, params: Mapping[str, Any]) -> tuple[str, ...]:
        if self._baked is None:
            self._baked = baked_in(self.spec, params)
            if self._baked:
                self.say_once(
                    f"build_model uses {' and '.join(self._baked)} for more than the learning "
                    "rate: trials that differ in it are compiled one by one"
                )
        return self._baked

    def _collect(self, data: Dataset) -> None:
        """Collect rows, labels and weights; without preprocessing, folds share rows."""
        y, weight = labels(data.y), data.sample_weight
        validation_weight = None if weight is None else as_weights(weight, data.y)
        shared = None
        for index, fold in self.folds.items():
            if shared is None or self.spec.preprocess is not None:
                shared, self.preprocessors[index] = preprocessed(data, fold, self.spec.preprocess)
            train_weight = training_weights(data, fold, self.spec.class_weight)
            self.arrays[index] = Arrays(shared, y, train_weight, validation_weight)


class KerasProgram(ABC):
    """An architecture: one model whose variables are scratch space for every fold."""

    metric_names: tuple[str, ...]

    variables: list[tf.Variable]
    """What a state holds the values of; those of `_new` first."""

    xla_wish: tuple[bool | None, str]
    """Whether the model's author wants XLA, and the reason; None leaves it open."""

    registered: Registered
    """What its traces left in TensorFlow's registry."""

    def __init__(self, engine: KerasEngine, params: Mapping[str, Any]) -> None:
        self._engine = engine
        self._params = dict(params)
        self._batch_size = int(params["batch_size"])
        self._has_validation = all(len(fold.validation) for fold in engine.folds.values())
        self._first = next(iter(engine.folds.values()))
        self._model, self._own_variables = self._new(self._first.index, params)
        weigh_batches_as_fit(self._model)
        self._optimizer = optimizer_of(self._model)
        self._has_schedule = _is_schedule(self._optimizer)
        self._say_which_learning_rate()
        self.xla_wish = xla_wish(self._model)
        self._initial: dict[int, State] = {}
        self.keeps_states_on = engine.device.name

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
        self, fold: int, state: State, rows: np.ndarray, learning_rates: np.ndarray
    ) -> tuple[State, FoldEpoch]:
        """Train one epoch over `rows`, in this order, then validate."""
        device = self._engine.device.name
        with self._scope():
            if self.keeps_states_on == device:
                return self._run_epoch(fold, state, rows, learning_rates)
            brought = on_device(device, state)
            new_state, epoch = self._run_epoch(fold, brought, rows, learning_rates)
            return self.placed(new_state), epoch

    @contextmanager
    def _scope(self) -> Iterator[None]:
        with self._engine.scope(), self.registered.noted():
            yield

    def placed(self, state: State) -> State:
        """Return a state where this program keeps the states of folds that do not train."""
        return on_device(self.keeps_states_on, state)

    @abstractmethod
    def _run_epoch(
        self, fold: int, state: State, rows: np.ndarray, learning_rates: np.ndarray
    ) -> tuple[State, FoldEpoch]: ...

    def compiles(self) -> bool:
        """Whether the epoch is known to compile, without compiling it."""
        return False

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
        return self.placed(self._initial[start])

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
            x = tf.nest.map_structure(lambda part: take(part, rows), self._engine.arrays[fold].x)
            predictions = self._model.predict(x, batch_size=self._batch_size, verbose=0)
            return named_outputs(self._model, predictions)

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
        self.metric_names = (*train, *(f"val_{name}" for name in validation))
        objective = self._engine.spec.objective
        wanted = ["loss", objective.training_metric, objective.metric]
        for name in wanted if self._has_validation else wanted[:1]:
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
