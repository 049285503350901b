"""What a search works with, from its first trial to its decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline import tracking, training
from pipeline.batch import StopRequest
from pipeline.progress import Display
from pipeline.question import Question
from pipeline.spec import StudySpec


@dataclass(frozen=True, eq=False)
class Session:
    """A question, and everything that is open to answer it.

    study: Optuna's
    engine, why_engine: the engine that the study was created with, and the reason for its mode
    """

    question: Question
    study: Any
    engine: training.Engine
    why_engine: str
    run: tracking.StudyRun
    display: Display
    stop: StopRequest

    @property
    def spec(self) -> StudySpec:
        """The study."""
        return self.question.spec
