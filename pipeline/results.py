"""How trials and studies end, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.choice import EpochChoice
from pipeline.confirmation import Confirmation
from pipeline.curves import FoldCurves, FoldScore
from pipeline.diagnosis import Diagnosis, Fit, diagnose
from pipeline.early_end import EarlyEnd
from pipeline.objective import Objective
from pipeline.refit_length import KeptByRefit
from pipeline.registry import Registered
from pipeline.spec import StudySpec
from pipeline.uncertainty import Interval

WIDE = 0.5
"""Share of the trained epochs from which on the set of equivalent ones leaves the choice open."""


class Outcome(Enum):
    """How a trial ended; the value is the sentence shown to the user."""

    COMPLETED = "trained to its last epoch"
    STOPPED_EARLY = "stopped: the mean no longer improved"
    PRUNED = "pruned: worse than the other trials"
    FAILED = "failed"
    INTERRUPTED = "interrupted: will be continued"
    PAUSED = "paused: goes on if it is among the best"

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
    training: the monitored metric on training rows, as Keras logs it, mean over folds, [n_epochs]
    any_epoch: whether any trained epoch may be chosen, or the last one only: a schedule that is
        laid out for its horizon and stopped before it is another schedule
    diverged: whether it failed because the loss was no longer finite
    prefix_of: the number of an earlier, longer trial that began with these very epochs: nothing was
        trained for this one
    """

    number: int
    params: Mapping[str, Any]
    outcome: Outcome
    curves: FoldCurves | None
    seconds: float
    n_updates: int
    reason: str = ""
    horizon_free: bool = True
    training: np.ndarray | None = None
    any_epoch: bool = True
    diverged: bool = False
    prefix_of: int | None = None

    def __post_init__(self) -> None:
        if self.outcome.has_value and self.curves is None:
            raise ValueError(f"trial {self.number} is {self.outcome.label} but has no curves")
        if self.diverged and self.outcome is not Outcome.FAILED:
            raise ValueError(f"trial {self.number} diverged, but is {self.outcome.label}")
        n_epochs = 0 if self.curves is None else self.curves.n_epochs
        if self.training is not None and self.training.shape != (n_epochs,):
            raise ValueError(
                f"trial {self.number}: training must be [{n_epochs} epochs], as the fold curves, "
                f"got shape {self.training.shape}"
            )

    def as_plain(self) -> dict[str, Any]:
        """Return everything but number and params as values that JSON knows."""
        curves = self.curves
        return {
            "outcome": self.outcome.name,
            "curves": None if curves is None else curves.values.tolist(),
            "folds": None if curves is None else list(curves.folds),
            "n_repeats": None if curves is None else curves.n_repeats,
            "weights": None
            if curves is None or curves.weights is None
            else curves.weights.tolist(),
            "training": None if self.training is None else self.training.tolist(),
            "seconds": self.seconds,
            "n_updates": self.n_updates,
            "reason": self.reason,
            "horizon_free": self.horizon_free,
            "diverged": self.diverged,
            "prefix_of": self.prefix_of,
        }

    @classmethod
    def of_plain(
        cls, number: int, params: Mapping[str, Any], plain: Mapping[str, Any], spec: StudySpec
    ) -> TrialResult:
        """Return the trial that `as_plain` was taken of."""
        curves, training = plain["curves"], plain["training"]
        return cls(
            number=number,
            params=params,
            outcome=Outcome[plain["outcome"]],
            curves=None
            if curves is None
            else FoldCurves(
                np.array(curves),
                spec.objective,
                tuple(plain["folds"]),
                plain["n_repeats"],
                plain.get("weights"),  # absent from studies of before there were any
            ),
            seconds=plain["seconds"],
            n_updates=plain["n_updates"],
            reason=plain["reason"],
            horizon_free=plain["horizon_free"],
            any_epoch=plain["horizon_free"] or spec.choose_within_schedule,
            training=None if training is None else np.array(training),
            diverged=plain["diverged"],
            prefix_of=plain.get("prefix_of"),  # absent from studies of before there was any
        )

    @property
    def value(self) -> float | None:
        """The mean at the trial's best epoch, if and only if it was completed or stopped early."""
        n_epochs = self.best_n_epochs
        return self.curves.mean_after(n_epochs) if self.curves and n_epochs else None

    @property
    def best_n_epochs(self) -> int | None:
        """Where the mean is best among the epochs that may be chosen; None without a value."""
        if self.curves is None or not self.outcome.has_value:
            return None
        return self.curves.best_n_epochs if self.any_epoch else self.curves.n_epochs

    @property
    def horizon(self) -> int:
        """The epochs that the schedule was laid out for; one that ignores them may have gone on."""
        n_epochs = 0 if self.curves is None else self.curves.n_epochs
        return max(int(self.params["max_epochs"]), n_epochs)

    @property
    def diagnosis(self) -> Diagnosis | None:
        """Over- or underfitting, read from the curves; None when no epoch was finished."""
        if self.diverged:
            return Diagnosis(Fit.DIVERGED)
        return None if self.curves is None else diagnose(self.curves, self.training)

    @property
    def n_fold_epochs(self) -> int:
        """Epochs trained for this trial, summed over folds."""
        if self.curves is None or self.prefix_of is not None:
            return 0
        return self.curves.values.size


def trial_name(number: int) -> str:
    """Return the name under which a trial's files lie in the study's folder."""
    return f"trial_{number:03d}"


def ranked(trials: Iterable[TrialResult], objective: Objective) -> list[TrialResult]:
    """Return the trials that have a value, best first, the earlier of equals first."""
    with_value = [(trial.value, trial) for trial in trials if trial.value is not None]
    sign = 1 if objective.direction == "minimize" else -1
    return [trial for _, trial in sorted(with_value, key=lambda pair: sign * pair[0])]


@dataclass(frozen=True)
class Evidence:
    """What the folds and rows say about a choice. What needs several folds is None with one.

    equivalent_epochs: the winner's epoch counts that cannot be told from its best
    equivalent_trials: the numbers of the trials that cannot be told from the winner, best first
    score: interval for the expected score at the chosen epoch
    resampled_epochs: interval of the epochs that the rule chooses on resampled rows and folds;
        None where the rows' losses are not known
    epochs_optimism: how much too good the best of the winner's epochs looks for having been
        chosen, in the metric's unit; None where the estimate does not help
    corrected_score: what "take the best epoch of the best trial" is expected to score, corrected
        for that choice (bootstrap bias-corrected cross-validation); None where the rows' losses are
        not known
    n_training_rows: of a fold, on average: all of this is about training on so many rows
    fold_rows: each fold's training and validation rows
    """

    equivalent_epochs: tuple[int, ...]
    equivalent_trials: tuple[int, ...] | None
    score: Interval | None
    resampled_epochs: Interval | None
    epochs_optimism: float | None
    corrected_score: float | None
    n_training_rows: int
    fold_rows: tuple[tuple[int, int], ...] = ()

    def undecided(self, n_trained_epochs: int) -> str:
        """Return what the data cannot decide and what would help; "" when they can."""
        share = len(self.equivalent_epochs) / n_trained_epochs
        if self.score is None:
            return "one fold cannot say how sure this is: use a splitter with several"
        if share > WIDE:
            return (
                f"the data cannot tell {share:.0%} of the {n_trained_epochs} trained epochs apart; "
                "more folds, repeated splits (RepeatedKFold) or more rows would"
            )
        return ""


@dataclass(frozen=True)
class RefitResult:
    """The final training on all development rows.

    policy: what of the choice was kept
    n_seeds: models trained
    n_epochs, n_updates: of each model; horizon: of its learning-rate schedule
    test_metrics: metrics on the rows set aside, scored once; empty when there are none
    seeds_test_metrics: those of each of several seeds by itself
    folds_model_uri, folds_test_metrics: of the fold models' mean prediction, where it is kept
    """

    policy: KeptByRefit
    n_seeds: int
    n_epochs: int
    horizon: int
    n_updates: int
    n_rows: int
    batch_size: int
    model_uri: str
    test_metrics: Mapping[str, float]
    seeds_test_metrics: Sequence[Mapping[str, float]] = field(default_factory=list)
    folds_model_uri: str = ""
    folds_test_metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WarmStart:
    """What an earlier study of this name began this one with, and whether its answer still holds.

    from_study: its name and signature
    n_enqueued: how many of its trials were the first here
    learning_rate, n_epochs, score: its answer, on its own data
    moved: False when its parameters, trained again on the new data, cannot be told from the new
        best, nor its number of epochs from the best of their curve; None where that cannot be said
    reason: why, in words
    """

    from_study: str
    n_enqueued: int
    learning_rate: float
    n_epochs: int
    score: float
    moved: bool | None
    reason: str

    def as_plain(self) -> dict[str, Any]:
        """Return this for the decision."""
        return {
            "from": self.from_study,
            "enqueued": self.n_enqueued,
            "previous": {
                "learning_rate": self.learning_rate,
                "n_epochs": self.n_epochs,
                "score": self.score,
            },
            "moved": self.moved,
            "reason": self.reason,
        }

    def against(self, learning_rate: float, n_epochs: int) -> str:
        """Return the earlier answer beside today's, and whether it moved, in words."""
        verdict = {True: "moved", False: "not moved", None: "cannot be compared"}[self.moved]
        return (
            f"learning rate {self.learning_rate:.3g} for {self.n_epochs} epochs "
            f"({self.from_study}), now {learning_rate:.3g} for {n_epochs}: {verdict}: {self.reason}"
        )


@dataclass(frozen=True, eq=False)
class StudyResult:
    """What a search found.

    best: the best trial, trained on until its curve carries the choice
    evidence: how sure the choice is
    validated: by name, all metrics of validation rows at the chosen epoch, the monitored one and
        scorers among them
    open_end: why more epochs than were trained may be better; "" when they are not
    n_extra_fold_epochs, n_extra_updates: trained beyond the search's trials: to confirm, and for
        the best trial
    fold_models: where the best trial's fold models at the chosen epoch are; "" while they are not
    budget_over: which part of the budget ended the search before all its trials; "" for none
    early_end: why it was not trained any longer, where something of the budget was left
    warm_start: of a study that began with an earlier one's trials
    run_url, trials_url: of the run in MLflow, and its trials; of a file, once `ui_command` runs
    confirmation: how the best trials compared when they met again; None unless that was asked for
    registered: what became of the refit model in MLflow's registry; None where it is not in it
    unsent: what could not be sent to MLflow, why, and where it is kept; "" when all was
    report_path: of the page that shows all this; None when it could not be drawn
    """

    spec: StudySpec
    signature: str
    trials: tuple[TrialResult, ...]
    best: TrialResult
    choice: EpochChoice
    evidence: Evidence
    open_end: str
    n_extra_fold_epochs: int
    n_extra_updates: int
    refit: RefitResult | None
    fold_models: str
    decision_path: Path
    run_url: str
    ui_command: str
    trials_url: str = ""
    budget_over: str = ""
    early_end: EarlyEnd | None = None
    confirmation: Confirmation | None = None
    unsent: str = ""
    warm_start: WarmStart | None = None
    registered: Registered | None = None
    report_path: Path | None = None
    validated: Mapping[str, FoldScore] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.best.value is None:
            raise ValueError(f"best must have a value, trial {self.best.number} has none")

    @property
    def lacks_models(self) -> bool:
        """Whether models of this answer are still to be made."""
        return not self.fold_models or (self.spec.refit.enabled and self.refit is None)
