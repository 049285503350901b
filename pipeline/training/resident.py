"""The resident engine: rows on the device, one compiled epoch per architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.spec import StudySpec
from pipeline.training.callbacks import NoCallbacks
from pipeline.training.compiled_epoch import CompiledEpoch, Rows
from pipeline.training.devices import HOST, Device, n_lanes
from pipeline.training.engine import FoldEpoch, NotResident, Setup, State
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.lanes import Lanes
from pipeline.training.programs import KerasProgram, on_device
from pipeline.training.rows import put_on_devices


class ResidentEngine(KerasEngine):
    """Compiles one epoch of one fold into one call.

    As many folds train at once as there are cores, or devices, over which they are spread.
    Raises NotResident when the rows do not fit on the device.
    """

    rows_on_device = True
    spreads_folds = True

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
        super().__init__(spec, data, folds, setup, say=say, devices=devices)
        n_devices = len(self.devices)
        most = math.ceil(len(folds) / n_devices)
        self.lanes = Lanes(1 if setup.in_turn else min(n_lanes(), most), n_devices)
        for number in range(n_devices):
            self._require_room(self.holding(number=number), number)
        put_on_devices(self.arrays, lambda fold: self.device_of(fold).name)

    def _new_program(self, params: Mapping[str, Any]) -> ResidentProgram:
        return ResidentProgram(self, params)


class ResidentProgram(KerasProgram):
    """A compiled architecture.

    Raises NotResident when the model's state cannot be held as a value.
    """

    def __init__(self, engine: ResidentEngine, params: Mapping[str, Any]) -> None:
        super().__init__(engine, params)
        if self._model.run_eagerly:
            raise NotResident("it is compiled with run_eagerly=True")
        mode = engine.setup.mode_of(self.kind)
        jit = mode == "xla"
        if self.xla_wish[0] is not jit and self.xla_wish[1]:
            engine.say_once(
                f"{self.xla_wish[1]}, and the study is trained in mode {mode!r} all the same"
            )
        folds = engine.folds.values()
        self._max_full = max(len(fold.train) // self._batch_size for fold in folds)
        size = self._validation_batch_size
        max_full_validation = max(len(fold.validation) // size for fold in folds)
        self.epoch = CompiledEpoch(
            self._model,
            self._optimizer,
            self._watch,
            has_validation=self._has_validation,
            jit=jit,
        )
        names = self.epoch.metric_names
        self._set_metric_names(names, names if self._has_validation else ())
        self._validation_rows = {
            fold.index: Rows.of(fold.validation, size, max_full_validation) for fold in folds
        }
        self._validation_on_device = {
            index: self._on_device(index, rows) for index, rows in self._validation_rows.items()
        }
        first = self._first
        self.epoch.account_for(*self._example(first))
        self.variables = self.epoch.variables
        self._initial[first.start] = on_device(HOST, self.epoch.read())

    @property
    def n_compiled(self) -> int:
        """One per pair of last-batch sizes."""
        return self.epoch.n_compiled

    def prepare(self, fold: int) -> None:
        """Trace what a whole epoch of the fold runs, unless that was done before."""
        with self._scope():
            self.epoch.prepare(*self._example(self._engine.folds[fold]))

    def _run_epoch(
        self,
        fold: int,
        state: State,
        rows: np.ndarray,
        learning_rates: np.ndarray,
        callbacks: NoCallbacks,
    ) -> tuple[State, FoldEpoch]:
        """Nothing reaches the host, so there is nothing that callbacks could be told."""
        new_state, scores = self.epoch(
            state,
            self._engine.arrays[fold],
            self._rows(rows),
            self._validation_on_device[fold],
            self._padded(learning_rates),
            device=self.device_number(fold),
        )
        metrics = tf.concat([scores.train, scores.validation], 0)
        of_rows, unpadded = scores.of_rows, self._validation_rows[fold].unpadded
        return new_state, self._fold_epoch(
            fold,
            metrics,
            lambda: unpadded(of_rows.losses.numpy()),
            lambda: unpadded(of_rows.predictions.numpy()),
        )

    def compiles(self) -> bool:
        """Whether the epoch is known to compile, without compiling it: only XLA can tell."""
        return self.epoch.is_taken_by_xla(*self._example(self._first))

    def _example(self, fold: Fold) -> tuple:
        """Return what an epoch of this fold takes, but for its state."""
        rates = self._padded(np.zeros(0))
        validation = self._validation_on_device[fold.index]
        return self._engine.arrays[fold.index], self._rows(fold.train), validation, rates

    def _on_device(self, fold: int, rows: Rows) -> Rows:
        with self._engine.scope(fold):
            return rows.on_device()

    def _rows(self, rows: np.ndarray) -> Rows:
        return Rows.of(rows, self._batch_size, self._max_full)

    def _padded(self, learning_rates: np.ndarray) -> np.ndarray:
        padded = np.zeros(max(self._max_full, 1) + 1, np.float32)
        padded[: len(learning_rates)] = learning_rates
        return padded
