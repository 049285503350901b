"""What a search works with, from its first trial to its decision."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline import out_of_fold, tracking, training
from pipeline.batch import StopRequest
from pipeline.curves import FoldCurves
from pipeline.progress import Display
from pipeline.question import Question
from pipeline.spec import StudySpec


@dataclass(frozen=True, eq=False)
class Session:
    """A question, and everything that is open to answer it.

    study: Optuna's
    engine, why_engine: the engine that the study was created with, and the reason for its mode
    deadline: when the budget's time is over, on `time.monotonic`'s clock
    """

    question: Question
    study: Any
    engine: training.Engine
    why_engine: str
    run: tracking.StudyRun
    display: Display
    stop: StopRequest
    deadline: float

    @property
    def spec(self) -> StudySpec:
        """The study."""
        return self.question.spec

    @property
    def out_of_time(self) -> bool:
        """Whether the budget's time is over."""
        return time.monotonic() > self.deadline

    def must_stop(self) -> bool:
        """Say whether a signal or the budget's time ends training after this epoch."""
        return bool(self.stop) or self.out_of_time

    def lockstep(self, params: Mapping[str, Any]) -> training.LockstepTraining:
        """Return a trial's training on all folds, before its first epoch.

        Raises BadInput when the model cannot be built or does not fit the data.
        """
        spec, folds = self.spec, self.question.folds
        return training.LockstepTraining(
            self.engine.program(params),
            params,
            folds,
            schedule=spec.schedule,
            seed=spec.seed,
            keeps_row_losses=out_of_fold.can_be_kept(spec, folds, int(params["max_epochs"])),
        )

    def curves_of(self, lockstep: training.LockstepTraining) -> FoldCurves:
        """Return the monitored metric's curves so far, as long as all folds' are finite."""
        objective = self.spec.objective
        values = lockstep.history(objective.metric)
        finite = np.logical_and.accumulate(np.isfinite(values).all(axis=0))
        return FoldCurves(values[:, finite], objective, n_repeats=self.question.folds.n_repeats)
