"""How trials and studies end, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pipeline.choice import EpochChoice
from pipeline.curves import FoldCurves
from pipeline.spec import StudySpec


class Outcome(Enum):
    """How a trial ended; the value is the sentence shown to the user."""

    COMPLETED = "trained to its last epoch"
    STOPPED_EARLY = "stopped: the mean no longer improved"
    PRUNED = "pruned: worse than the other trials"
    FAILED = "failed"
    INTERRUPTED = "interrupted: will be continued"

    @property
    def has_value(self) -> bool:
        """Whether such a trial competes for the best."""
        return self in (Outcome.COMPLETED, Outcome.STOPPED_EARLY)

    @property
    def label(self) -> str:
        """The word for a table or a tag."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, eq=False)
class TrialResult:
    """One proposal and what became of it.

    params: every parameter, fixed ones included; learning_rate and max_epochs among them
    curves: the monitored metric, as far as it was trained; None when no epoch was finished
    n_updates: optimizer steps, summed over folds
    reason: one sentence; for a failure, the error
    horizon_free: whether the learning-rate schedule did not depend on max_epochs
    """

    number: int
    params: Mapping[str, Any]
    outcome: Outcome
    curves: FoldCurves | None
    seconds: float
    n_updates: int
    reason: str = ""
    horizon_free: bool = True

    def __post_init__(self) -> None:
        if self.outcome.has_value and self.curves is None:
            raise ValueError(f"trial {self.number} is {self.outcome.label} but has no curves")

    @property
    def value(self) -> float | None:
        """The best of the mean curve, if and only if the trial was completed or stopped early."""
        return self.curves.value if self.curves and self.outcome.has_value else None

    @property
    def horizon(self) -> int:
        """The number of epochs that the learning-rate schedule was laid out for."""
        return int(self.params["max_epochs"])

    @property
    def n_fold_epochs(self) -> int:
        """Epochs trained, summed over folds."""
        return 0 if self.curves is None else self.curves.values.size


@dataclass(frozen=True)
class RefitResult:
    """The final training on all development rows.

    test_metrics: metrics on the rows set aside, scored once; empty when there are none
    """

    n_epochs: int
    n_updates: int
    n_rows: int
    batch_size: int
    model_uri: str
    test_metrics: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a search found.

    run_url: of the study's run in MLflow; where the store is a file, once `ui_command` runs
    """

    spec: StudySpec
    signature: str
    trials: tuple[TrialResult, ...]
    best: TrialResult
    choice: EpochChoice
    refit: RefitResult | None
    decision_path: Path
    run_url: str
    ui_command: str

    def __post_init__(self) -> None:
        if self.best.value is None:
            raise ValueError(f"best must have a value, trial {self.best.number} has none")
