"""What every engine does alike: rows collected once, programs made, settled and kept.

A program is keyed by every parameter except those of the learning rates, since any other may be
baked into the trace as a Python constant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import Fold, as_weights, training_weights
from pipeline.nest import Nest, parts
from pipeline.placement import SHARE, STATES_PER_FOLD, Holding, place, size
from pipeline.spec import StudySpec
from pipeline.training.adapted import fold_rows
from pipeline.training.architectures import n_architectures, program_key
from pipeline.training.devices import HOST, Device, training_devices
from pipeline.training.engine import NotResident, Program, Setup
from pipeline.training.gradients import Registered
from pipeline.training.lanes import Lanes
from pipeline.training.models import baked_in, labels, under_policy
from pipeline.training.rows import Arrays, n_bytes

if TYPE_CHECKING:
    from pipeline.training.programs import KerasProgram

MAX_PROGRAMS = 8
"""Programs kept; the least recently used goes first."""


class KerasEngine(ABC):
    """Makes programs for a study's folds, and keeps the last few.

    folds: the study's, or one fold without validation rows for the refit
    setup: may be changed; programs are made anew where it wants them otherwise
    say: where a line for the user goes
    devices: where to train; none are those of this process: its GPUs, or else the processor
    Raises BadInput when a transformer or the data cannot be used.
    """

    lanes: Lanes

    rows_on_device: bool
    """Whether all rows stay on each device, rather than being brought there batch by batch."""

    spreads_folds: bool
    """Whether folds may train on several devices, in turn: fold k on device k modulo n."""

    def __init__(
        self,
        spec: StudySpec,
        data: Dataset,
        folds: Sequence[Fold],
        setup: Setup,
        *,
        say: Callable[[str], None] = lambda line: None,
        devices: Sequence[Device] = (),
    ) -> None:
        self.spec, self.data = spec, data
        self.folds = {fold.index: fold for fold in folds}
        self.setup = setup
        self.say = say
        self.devices = tuple(devices or training_devices())
        self.devices = self.devices[: len(folds) if self.spreads_folds else 1]
        self._numbers = {index: k % len(self.devices) for k, index in enumerate(self.folds)}
        self.preprocessors: dict[int, Any] = {}
        self.arrays: dict[int, Arrays] = {}
        self._collect(data)
        self._row_bytes = [
            n_bytes(self.arrays[fold] for fold in self._folds_on(number))
            for number in range(len(self.devices))
        ]
        self._programs: OrderedDict[tuple, KerasProgram] = OrderedDict()
        self._kinds: dict[tuple, str] = {}
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
        architecture = self._key(params)
        if architecture in self._kinds:
            key = self._wanted(architecture)
            if key in self._programs:
                self._programs.move_to_end(key)
                return self._programs[key]
        registered = Registered()
        with self.scope(), registered.noted():
            program = self._new_program(params)
        program.registered = registered
        self._settle(program)
        self._kinds[architecture] = program.kind
        self._programs[self._wanted(architecture)] = program
        if len(self._programs) > MAX_PROGRAMS:
            self._drop(next(iter(self._programs)))
        return program

    def forget(self, program: KerasProgram) -> None:
        """Drop a program whose model is not what it was."""
        for key in [key for key, each in self._programs.items() if each is program]:
            self._drop(key)

    def set_up(self, setup: Setup) -> None:
        """Train so from now on, and drop the programs that were made otherwise."""
        self.setup = setup
        if setup.in_turn:
            self.lanes = Lanes(1, len(self.devices))
        wanted = {self._wanted(architecture) for architecture in self._kinds}
        for key in self._programs.keys() - wanted:
            self._drop(key)

    def validation_batch_size(self, params: Mapping[str, Any]) -> int:
        """Return how many rows are validated at once."""
        own = self.spec.validation_batch_size
        return own or self.setup.validation_factor * int(params["batch_size"])

    def is_same_program(self, params: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
        """Whether trials of these parameters share a program, without making it."""
        return self._key(params) == self._key(others)

    def say_once(self, line: str) -> None:
        """Tell the user something that is true of every trial, the first time."""
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    def _wanted(self, architecture: tuple) -> tuple:
        """Return what tells the program for an architecture that was built from all others."""
        mode = self.setup.mode_of(self._kinds[architecture])
        return mode, self.setup.validation_factor, *architecture

    def _drop(self, key: tuple) -> None:
        program = self._programs.pop(key)
        self._n_compiled_before += program.n_compiled
        program.registered.forget()

    def _key(self, params: Mapping[str, Any]) -> tuple:
        return program_key(params, self.spec.rate_parameters, self._baked_in(params))

    def device_number(self, fold: int) -> int:
        """Return the number of the device that trains a fold."""
        return self._numbers[fold]

    def device_of(self, fold: int) -> Device:
        """Return the device that trains a fold."""
        return self.devices[self._numbers[fold]]

    @contextmanager
    def scope(self, fold: int | None = None) -> Iterator[None]:
        """Build, trace or train in the block: on a device, under the study's dtype policy.

        fold: on its device; None is the first one
        """
        device = self.devices[0] if fold is None else self.device_of(fold)
        with under_policy(self.spec), tf.device(device.name):
            yield

    def holding(self, program: Program | None = None, number: int = 0) -> Holding:
        """Return what this engine holds on a device with such a program, or without one."""
        n_programs = int(min(MAX_PROGRAMS, n_architectures(self.spec)))
        state, n_folds = program.state_bytes if program else 0, len(self._folds_on(number))
        return Holding(self._row_bytes[number], state, n_folds, n_programs, self.lanes.n_each)

    def _folds_on(self, number: int) -> list[int]:
        return [fold for fold, its_number in self._numbers.items() if its_number == number]

    def _settle(self, program: KerasProgram) -> None:
        """Decide where a program's states stay, now that it is known what one holds."""
        for number, device in enumerate(self.devices):
            holding = self.holding(program, number)
            if self.rows_on_device:
                self._require_room(holding, number)
            else:
                holding = replace(holding, rows=0)
            if device.is_host or place(holding, device.memory).states_on_device:
                continue
            self.say_once(
                f"{holding.n_folds} folds' states of {size(holding.state)}, {STATES_PER_FOLD} of "
                f"each, do not fit in {SHARE:.0%} of {device}: each is brought there for its "
                "epoch and taken back"
            )
            program.keeps_states_on[number] = HOST

    def _require_room(self, holding: Holding, number: int) -> None:
        """Raise NotResident when the rows do not fit beside the states of the fold that trains."""
        device = self.devices[number]
        if not place(holding, device.memory).rows_on_device:
            raise NotResident(
                f"its rows, {size(holding.all_rows)} while two engines hold them, do not fit "
                f"beside one fold's states, {size(holding.states_at_work)}, in {SHARE:.0%} of "
                f"{device}"
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
                shared, self.preprocessors[index] = fold_rows(self.spec, data, fold)
                _check_alike(index, shared, self.arrays)
            train_weight = training_weights(data, fold, self.spec.class_weight)
            self.arrays[index] = Arrays(shared, y, train_weight, validation_weight)


def _check_alike(fold: int, x: Nest, of_folds: Mapping[int, Arrays]) -> None:
    """Raise BadInput when rows are not of the shape that they have in the folds before."""
    for other, arrays in of_folds.items():
        theirs = parts("X", arrays.x)
        for name, part in parts("X", x).items():
            if part.shape != theirs[name].shape:
                raise BadInput(
                    f"preprocess must give rows of one shape in every fold, got {name} of shape "
                    f"{part.shape} in fold {fold} and {theirs[name].shape} in fold {other}"
                )
