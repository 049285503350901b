"""The best trials, trained again on other seeds and splits: how they compare, what scatters."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.curves import contributions
from pipeline.errors import BadInput
from pipeline.objective import Objective
from pipeline.uncertainty import Interval, VarianceComponents, difference_interval


@dataclass(frozen=True, eq=False)
class ConfirmedTrial:
    """One trial's monitored metric on crossed seeds and folds.

    n_epochs: after how many epochs; the search's own folds decided on them
    n_updates: optimizer steps, summed over seeds and folds
    scores: [n_seeds, n_folds]; not all finite if it diverged
    weights: how much each fold counts in the mean, [n_folds]; None: alike
    """

    number: int
    n_epochs: int
    n_updates: int
    scores: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        scores = np.array(self.scores, dtype=np.float64)
        if scores.ndim != 2 or 0 in scores.shape:
            raise BadInput(
                f"trial {self.number}: scores must be [n_seeds, n_folds] with at least one of "
                f"each, got shape {scores.shape}"
            )
        scores.flags.writeable = False
        object.__setattr__(self, "scores", scores)

    @property
    def diverged(self) -> bool:
        """Whether a loss was no longer finite."""
        return not np.isfinite(self.scores).all()

    @property
    def n_fold_epochs(self) -> int:
        """Epochs trained, summed over folds and seeds."""
        return self.n_epochs * self.scores.size

    @property
    def mean(self) -> float:
        """The confirmed score."""
        return float(self.contributions.mean())

    @property
    def contributions(self) -> np.ndarray:
        """What each fold contributes to it, [n_folds]: seeds are averaged first, no new rows."""
        return contributions(self.scores.mean(axis=0, keepdims=True).T, self.weights)[:, 0]

    def in_words(self, objective: Objective) -> str:
        """Return the line shown when it has been trained."""
        found = "diverged" if self.diverged else f"{objective.metric} {self.mean:.4g}"
        return f"trial {self.number:>3}  again  {found} after {self.n_epochs} epochs"


@dataclass(frozen=True, eq=False)
class Confirmation:
    """Trials compared on the same crossed seeds and folds.

    trials: all that met, in the order of the search
    n_new_splits: how often the rows were split anew; 0 when these are the study's own folds
    n_repeats: how often all folds were drawn; the folds of one draw lie together
    validation_to_training: validation rows over training rows of a fold
    """

    objective: Objective
    trials: tuple[ConfirmedTrial, ...]
    n_new_splits: int
    n_repeats: int
    validation_to_training: float

    def __post_init__(self) -> None:
        shapes = sorted({trial.scores.shape for trial in self.trials})
        if len(shapes) != 1:
            raise BadInput(f"trials must be confirmed on the same seeds and folds, got {shapes}")

    @property
    def ranked(self) -> list[ConfirmedTrial]:
        """The trials that did not diverge, best mean first, the search's better one of equals."""
        finite = [trial for trial in self.trials if not trial.diverged]
        sign = 1 if self.objective.direction == "minimize" else -1
        return sorted(finite, key=lambda trial: sign * trial.mean)

    @property
    def diverged(self) -> list[int]:
        """The numbers of the trials that diverged."""
        return [trial.number for trial in self.trials if trial.diverged]

    @property
    def n_fold_epochs(self) -> int:
        """Epochs trained, summed over folds and seeds."""
        return sum(trial.n_fold_epochs for trial in self.trials)

    @property
    def n_updates(self) -> int:
        """Optimizer steps, summed over folds and seeds."""
        return sum(trial.n_updates for trial in self.trials)

    @property
    def winner(self) -> ConfirmedTrial:
        """The trial with the best confirmed mean."""
        return self.ranked[0]

    @property
    def components(self) -> VarianceComponents | None:
        """Where the winner's scatter comes from, folds alike; None for one seed or one fold."""
        scores = self.winner.scores
        return VarianceComponents.of(scores) if min(scores.shape) > 1 else None

    @property
    def differences(self) -> dict[int, Interval | None]:
        """By runner-up, the interval of its score less the winner's; None for one fold a draw."""
        return {
            trial.number: difference_interval(
                trial.contributions,
                self.winner.contributions,
                validation_to_training=self.validation_to_training,
                n_repeats=self.n_repeats,
            )
            for trial in self.ranked[1:]
        }

    @property
    def where(self) -> str:
        """The seeds and folds, in words."""
        n_seeds, n_folds = self.winner.scores.shape
        return seeds_and_folds(n_seeds, n_folds, self.n_new_splits)

    def as_plain(self) -> dict[str, Any]:
        """Return everything as values that JSON knows."""
        components, differences = self.components, self.differences
        return {
            "winner": self.winner.number,
            "n_seeds": self.winner.scores.shape[0],
            "n_folds": self.winner.scores.shape[1],
            "n_new_splits": self.n_new_splits,
            "variance": None if components is None else asdict(components),
            "diverged": self.diverged,
            "fold_epochs": self.n_fold_epochs,
            "trials": [
                {
                    "trial": trial.number,
                    "n_epochs": trial.n_epochs,
                    "mean": trial.mean,
                    "scores": trial.scores.tolist(),
                    "less_winner": _plain(differences.get(trial.number)),
                }
                for trial in self.ranked
            ],
        }


def seeds_and_folds(n_seeds: int, n_folds: int, n_new_splits: int) -> str:
    """Return "3 seeds × 10 new folds", or what it is where there are no new ones."""
    if n_new_splits:
        return f"{n_seeds} seeds × {n_folds} new folds"
    return f"{n_seeds} seeds × the study's own {n_folds} fold(s): its splitter has no others"


def in_words(confirmation: Confirmation) -> dict[str, str]:
    """Return the lines of the answer: label -> text."""
    winner, *others = confirmation.ranked
    text = f"trial {winner.number}, {confirmation.objective.metric} {winner.mean:.4g} "
    text += f"after {winner.n_epochs} epochs"
    if len(confirmation.trials) > 1:
        text += f", the best of {len(confirmation.trials)}"
    lines = {"confirmed": f"{text} on {confirmation.where}"}
    if others:
        differences = confirmation.differences
        lines["others, less it"] = ", ".join(
            f"trial {trial.number} {trial.mean - winner.mean:+.2g}"
            + _between(differences[trial.number])
            for trial in others
        )
    if confirmation.diverged:
        lines["diverged again"] = f"trial {', '.join(map(str, confirmation.diverged))}"
    if (components := confirmation.components) is not None:
        lines["of its variance"] = _in_words(components)
    return lines


def _in_words(components: VarianceComponents) -> str:
    """Return shares of the variance, and standard deviations in the metric's unit."""
    parts = []
    for name, share in components.shares.items():
        part = getattr(components, name)
        low, high = np.sqrt([part.interval.low, part.interval.high])
        parts.append(
            f"{name} {share:.0%}, sd {np.sqrt(part.estimate):.2g} ({low:.2g} to {high:.2g})"
        )
    return f"{'; '.join(parts)}; {components.seed.interval.confidence:.0%} intervals"


def _between(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f" ({interval.confidence:.0%} interval {interval.low:.2g} to {interval.high:.2g})"


def _plain(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
