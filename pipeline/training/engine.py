"""What an engine is: one epoch of one fold, from a state to the next state.

Everything above this interface — lockstep, pruning, snapshots, the refit — works with any engine.

    program = engine.program(params)
    state = program.initial_state(fold)
    state, scores = program.run_epoch(fold, state, rows, learning_rates)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

import numpy as np

from pipeline.errors import BadInput
from pipeline.nest import Nest
from pipeline.placement import Holding
from pipeline.schedules import Schedule
from pipeline.scoring import Scoring
from pipeline.training.callbacks import FoldCallbacks, NoCallbacks
from pipeline.training.devices import Device
from pipeline.training.lanes import Lanes

State = tuple[Any, ...]
"""Every variable that training changes, as immutable arrays in a fixed order.

Holding on to a state costs its memory and nothing else: no later epoch writes into it.
"""


Mode = Literal["plain", "xla", "stream"]
"""Compiled epochs without XLA or with it, or Keras's own step by step."""


@dataclass(frozen=True)
class Setup:
    """How a study's models are trained, as it keeps it from its creation on.

    mode: of models whose kind is not in `kinds`
    in_turn: one fold after the other, and not as many at once as there are cores
    validation_factor: times the batch size that is validated at once, where the study does not say
    kinds: where they differ, the mode of each kind of models that was timed
    """

    mode: Mode
    in_turn: bool = False
    validation_factor: int = 1
    kinds: Mapping[str, Mode] = field(default_factory=dict)

    @classmethod
    def of_kinds(cls, modes: Mapping[str, Mode], *, in_turn: bool) -> Setup:
        """Return how to train kinds of models; any other one as the first."""
        first = next(iter(modes.values()))
        return cls(first, in_turn, kinds=modes if len(set(modes.values())) > 1 else {})

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Setup:
        """Return what a study has recorded, perhaps before there was all that there is now."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in record.items() if name in names})

    def mode_of(self, kind: str) -> Mode:
        """Return the mode of a kind of models."""
        return self.kinds.get(kind, self.mode)

    def __str__(self) -> str:
        if not self.kinds:
            return self.mode
        return ", ".join(f"{mode} ({kind})" for kind, mode in self.kinds.items())


class NotResident(BadInput):
    """The study cannot run in compiled epochs.

    reason: what its model does, as the rest of a sentence about "it"; or what does not fit
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the model cannot run in a compiled epoch: {reason}. Allowed: engine='stream', or "
            "'auto' in a new study"
        )
        self.reason = reason


class XlaRefused(BadInput):
    """The model runs in the compiled epoch, and XLA cannot compile it."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"XLA cannot compile the model: {reason}. Allowed: engine='plain', or 'auto' in a new "
            "study"
        )
        self.reason = reason


@dataclass(frozen=True)
class FoldEpoch:
    """What one epoch of one fold gave, still on the device.

    logged: what the model logs, in the order of the program's `metric_names`, whose first they are
    row_losses: () -> [n_validation_rows], each validation row's loss without regularisation and
        sample weights; None where the model's own test_step or loss hides them
    scores: () -> [n_scorers], of the validation rows; their names are the last of `metric_names`
    left_rate: the last update's learning rate, where callbacks may have set it; None elsewhere
    """

    logged: Any
    row_losses: Callable[[], np.ndarray] | None
    scores: Callable[[], np.ndarray] = lambda: np.zeros(0)
    left_rate: float | None = None

    def metrics(self) -> np.ndarray:
        """Return all of them on the host, [n_metrics]; `left_rate` after them, if there is one."""
        rate = [] if self.left_rate is None else [self.left_rate]
        return np.concatenate([np.asarray(self.logged, dtype=np.float64), self.scores(), rate])


class Program(Protocol):
    """A compiled model, shared by all folds and by all trials of the same architecture."""

    @property
    def state_bytes(self) -> int:
        """Bytes of one fold's state."""

    metric_names: tuple[str, ...]
    """As in Keras's logs: `loss`, `accuracy`, …, `val_loss`, `val_accuracy`, …; and scorers'."""

    scoring: Scoring | None
    """The study's scorers, for this model's outputs; None where there are none."""

    epoch_secs: float
    """What the last epoch of all folds took; infinite before there was one."""

    @property
    def lanes(self) -> Lanes:
        """How many folds may be in `run_epoch` at once. All else is called by one thread."""

    def device_number(self, fold: int) -> int:
        """Return the number of the device that trains the fold: its lanes do."""

    def prepare(self, fold: int) -> None:
        """Make ready whatever a whole epoch of the fold runs: lanes only run it."""

    def initial_state(self, fold: int) -> State:
        """Return the state before the first epoch: a function of (study seed, fold)."""

    def placed(self, fold: int, state: State) -> State:
        """Return a fold's state, from a file or another training, where this program keeps it."""

    def run_epoch(
        self,
        fold: int,
        state: State,
        rows: np.ndarray,
        learning_rates: np.ndarray,
        callbacks: NoCallbacks = ...,
    ) -> tuple[State, FoldEpoch]:
        """Train one epoch over `rows`, in this order, then validate.

        rows: [n_rows] of the fold's training rows
        learning_rates: [ceil(n_rows / batch_size)], one per update
        callbacks: the fold's; none by default
        """

    def end(self, fold: int, state: State, callbacks: FoldCallbacks) -> State:
        """Tell callbacks that training is over, and return the state that they leave."""

    def schedule(self, params: Mapping[str, Any]) -> Schedule | None:
        """Return the schedule that the builder put into the optimizer, or None."""

    def predict(self, fold: int, state: State, rows: np.ndarray) -> Nest:
        """Return the model's predictions for `rows`; of several outputs, a dict by their names."""

    def model(self, fold: int, state: State, params: Mapping[str, Any]) -> Any:
        """Return a new Keras model with the weights of `state`, moving averages applied."""


class Engine(Protocol):
    """Makes programs, and keeps a bounded number of them."""

    setup: Setup

    lanes: Lanes
    """Those of its programs."""

    preprocessors: dict[int, Any]
    """By fold, what was fitted on its training rows: a transformer, a dict of them, or None."""

    @property
    def n_compiled(self) -> int:
        """Programs compiled so far."""

    devices: tuple[Device, ...]
    """Those over which folds are spread; the first one does all else."""

    rows_on_device: bool
    """Whether all rows stay on each device, rather than being brought there batch by batch."""

    def program(self, params: Mapping[str, Any]) -> Program:
        """Return the program for every parameter but learning_rate and max_epochs."""

    def is_same_program(self, params: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
        """Whether trials of these parameters share a program, without making it."""

    def holding(self, program: Program | None = None, number: int = 0) -> Holding:
        """Return what this engine holds on a device with such a program, or without one."""
