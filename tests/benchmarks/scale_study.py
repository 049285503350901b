"""A study whose trials take the curves of a table and the time that is given: nothing is trained.

Everything else is the program's own: a worker's loop, its session, the lockstep of folds, asking,
claiming, reporting, pruning and telling through a database. MLflow is left out: what is logged of a
trial goes nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from sklearn.model_selection import KFold

from pipeline.batch import StopRequest
from pipeline.budget import Budget
from pipeline.data import Dataset
from pipeline.progress import Display
from pipeline.question import Question, pose_on
from pipeline.recording import Stores
from pipeline.results import TrialResult
from pipeline.session import Session
from pipeline.spec import StudySpec
from pipeline.tracking.trial_run import TrialRun
from pipeline.training.engine import FoldEpoch, State
from pipeline.training.lanes import Lanes
from tests.benchmarks.replay_tables import CurveTable, duration_of
from tests.benchmarks.scale_clock import Clock

N_FOLDS = 3

Slept = Callable[[float, float], None]
"""Takes when an epoch of a fold begins and ends, by the clock."""


def load_data() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((30, 1)), np.zeros(30)


def build_model(params: Mapping[str, Any]) -> None:
    raise AssertionError("nothing is trained")


def spec_of(table: CurveTable, n_trials: int = 10**6) -> StudySpec:
    """Return a study that searches a table's hyperparameters by TPE, with the default pruning."""
    return StudySpec(
        name="scale",
        load_data=load_data,
        build_model=build_model,
        space={"learning_rate": 1.0, **table.space, "max_epochs": table.n_epochs},
        splitter=KFold(N_FOLDS),
        budget=Budget(n_trials=n_trials, max_failures_in_a_row=n_trials),
        strategy=None,
    )


def question_of(spec: StudySpec, home: Path) -> Question:
    """Return the study in a project of its own."""
    question = pose_on(spec, Dataset(*load_data()), None, data_fingerprint="recorded")
    return replace(question, home=home)


@dataclass
class Recorded:
    """An engine and its program: an epoch gives what the table has, after the time it took.

    secs_an_epoch: of all folds, of a typical configuration, by the clock
    epoch_secs: what the last one took of the machine's, which a lockstep notes with its program
    slept: is told of each fold's epoch
    n_skipped: epochs that take no time, of a trial that goes on from there
    """

    table: CurveTable
    secs_an_epoch: float
    clock: Clock
    slept: Slept
    n_skipped: int = 0
    row: int = 0
    epoch_secs: float = 0.0
    metric_names = ("loss", "val_loss")
    scoring = None
    lanes: Lanes = field(default_factory=lambda: Lanes(1))

    def program(self, params: Mapping[str, Any]) -> Recorded:
        return replace(self, row=self.table.nearest(params, np.ones(len(self.table.losses), bool)))

    def is_same_program(self, params: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
        return True

    def device_number(self, fold: int) -> int:
        return 0

    def prepare(self, fold: int) -> None:
        """There is nothing to compile."""

    def initial_state(self, fold: int) -> State:
        return (0,)

    def schedule(self, params: Mapping[str, Any]) -> None:
        """No model, no schedule in it."""

    def run_epoch(self, fold: int, state: State, *more: Any) -> tuple[State, FoldEpoch]:
        (n_before,) = state
        if n_before >= self.n_skipped:
            secs = self.secs_an_epoch * duration_of(self.row) / N_FOLDS
            start = self.clock.now()
            self.slept(start, start + secs)  # first: it may be looked at in the midst
            self.clock.sleep(secs)
        loss = losses_of(self.table, self.row)[fold, n_before]
        return (n_before + 1,), FoldEpoch(np.array([loss, loss]), row_losses=None)


def losses_of(table: CurveTable, row: int) -> np.ndarray:
    """Return a configuration's loss by fold and epoch: the table's, and a hundredth around it."""
    return table.losses[row] * (1 + 0.01 * (np.arange(N_FOLDS) - 1))[:, None]


class Unlogged:
    """The study's run in no MLflow."""

    is_joined = True
    store = SimpleNamespace(is_server=False)

    def start_trial(
        self, number: int, params: Mapping[str, Any], *, run_id: str | None = None
    ) -> TrialRun:
        writer: Any = self
        return TrialRun(run_id or f"{number:032x}", writer)

    def put(self, *metrics: Any) -> None:
        """Let what is queued go nowhere, as updates do."""

    update = let_go = put


class Told(Display):
    """Hands each trial's result on."""

    def __init__(self, see: Callable[[TrialResult], None]) -> None:
        self._see = see

    def trial_ended(self, result: TrialResult) -> None:
        self._see(result)


def session_of(
    question: Question,
    url: str,
    study: optuna.Study,
    engine: Recorded,
    patience_secs: float,
    see: Callable[[TrialResult], None] = lambda trial: None,
) -> Session:
    """Return a worker's session on a study in a database; `see` is told of each trial's end."""
    stop, display = StopRequest(), Told(see)
    meeting = Stores(None, url, patience_secs).meeting_for(question, stop)
    run: Any = Unlogged()
    recorded: Any = (engine, "recorded")
    return Session.of(question, study, recorded, run, display, stop, meeting)
