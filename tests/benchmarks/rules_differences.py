"""What `rules_on_data.py` reads from its records: chosen epochs and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.choice import RULES, BestOfMean, Fixed, OneStandardError, Rule, rule_named
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.schedules import updates_per_epoch

FIXED_COUNTS = (10, 20, 50)
"""What somebody may have had in mind, cut at the horizon."""

REFERENCE = BestOfMean.name
ORACLE = "best epoch on the test rows"


@dataclass(frozen=True, eq=False)
class Record:
    """What one outer split gave.

    curves: validation loss of the best trial to its horizon, [n_folds, horizon]
    test_losses: of the refits after every epoch, [n_seeds, n_epochs]
    n_fold_rows, n_development_rows, n_test_rows: rows trained on in a fold and in the refit, and
        rows that neither saw
    """

    data: str
    number: int
    learning_rate: float
    batch_size: int
    curves: list[list[float]]
    test_losses: list[list[float]]
    n_fold_rows: int
    n_development_rows: int
    n_test_rows: int

    @cached_property
    def chosen(self) -> dict[str, int]:
        """How many epochs every rule chooses, and the oracle, by name."""
        curves = FoldCurves(np.array(self.curves), Objective())
        horizon = curves.n_epochs
        rules: dict[str, Rule] = {name: rule_named(name) for name in RULES if name != Fixed.name}
        rules |= {f"fixed {count}": Fixed(min(count, horizon)) for count in FIXED_COUNTS}
        counts = {name: rule.choose(curves, horizon).n_epochs for name, rule in rules.items()}
        return counts | {ORACLE: int(np.argmin(self.test_loss)) + 1}

    @cached_property
    def test_loss(self) -> np.ndarray:
        """The mean over seeds, [n_epochs]."""
        return np.mean(self.test_losses, axis=0)

    @property
    def n_folds(self) -> int:
        """Folds of the search."""
        return len(self.curves)

    @property
    def more_updates(self) -> float:
        """Updates per epoch of the refit, relative to a fold's."""
        of_refit = updates_per_epoch(self.n_development_rows, self.batch_size)
        return of_refit / updates_per_epoch(self.n_fold_rows, self.batch_size)


POLICIES: dict[str, Callable[[int, Record], int]] = {
    "epochs": lambda n_epochs, record: n_epochs,
    "updates": lambda n_epochs, record: max(1, round(n_epochs / record.more_updates)),
    "scaled": lambda n_epochs, record: round(n_epochs * record.n_folds / (record.n_folds - 1)),
}
"""How long the refit trains when a rule chose `n_epochs` on the folds.

epochs: as many epochs; on more rows these are more updates
updates: as many updates, in whole epochs
scaled: K/(K − 1) times the epochs, for K/(K − 1) times the rows
"""

REFITTED = (BestOfMean.name, OneStandardError.name)
"""The rules for which the policies are compared."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences over outer splits, and how sure it is.

    standard_error: as if the splits were independent; they share rows, so it is too small
    corrected_error: allows for the shared rows: its square is the variance of the differences
        times 1/n_splits + n_test/n_train (Nadeau & Bengio 2003, the corrected resampled t-test)
    n_better, n_worse: splits with a smaller and with a larger loss than the reference
    """

    mean: float
    standard_error: float
    corrected_error: float
    n_better: int
    n_worse: int

    @classmethod
    def of(cls, losses: np.ndarray, reference: np.ndarray, test_to_train: float) -> Difference:
        """Return the difference of losses to the reference's, both [n_splits].

        test_to_train: test rows / rows trained on
        """
        differences = np.asarray(losses) - np.asarray(reference)
        variance = float(differences.var(ddof=1))
        return cls(
            mean=float(differences.mean()),
            standard_error=(variance / len(differences)) ** 0.5,
            corrected_error=(variance * (1 / len(differences) + test_to_train)) ** 0.5,
            n_better=int((differences < 0).sum()),
            n_worse=int((differences > 0).sum()),
        )

    def scaled(self, factor: float) -> Difference:
        """Return this in another unit."""
        return Difference(
            self.mean * factor,
            self.standard_error * factor,
            self.corrected_error * factor,
            self.n_better,
            self.n_worse,
        )


@dataclass(frozen=True)
class Pooled:
    """A difference averaged over data sets, each of which counts the same.

    standard_error, corrected_error: for these data sets, from those of each
    between_error: for data sets like these, from how much their means scatter
    n_better, n_worse: data sets whose mean is better and worse
    """

    mean: float
    standard_error: float
    corrected_error: float
    between_error: float
    n_better: int
    n_worse: int

    @classmethod
    def of(cls, differences: Sequence[Difference]) -> Pooled:
        """Return the average of the data sets' differences."""
        n = len(differences)
        means = np.array([each.mean for each in differences])
        return cls(
            mean=float(means.mean()),
            standard_error=sum(each.standard_error**2 for each in differences) ** 0.5 / n,
            corrected_error=sum(each.corrected_error**2 for each in differences) ** 0.5 / n,
            between_error=float(means.std(ddof=1) / n**0.5) if n > 1 else float("nan"),
            n_better=int((means < 0).sum()),
            n_worse=int((means > 0).sum()),
        )


def epochs_of(records: Sequence[Record], rule: str, policy: str = "epochs") -> np.ndarray:
    """Return how many epochs a rule and a policy refit for, [n_splits]."""
    return np.array([POLICIES[policy](record.chosen[rule], record) for record in records])


def losses_of(records: Sequence[Record], rule: str, policy: str = "epochs") -> np.ndarray:
    """Return the refits' test losses, [n_splits]."""
    n_epochs = epochs_of(records, rule, policy)
    return np.array([record.test_loss[n - 1] for record, n in zip(records, n_epochs, strict=True)])


def test_to_train(records: Sequence[Record]) -> float:
    """Return test rows / development rows, the same in every outer split."""
    return records[0].n_test_rows / records[0].n_development_rows


def differences_of_rules(records: Sequence[Record]) -> dict[str, Difference]:
    """Return each rule's difference to the reference rule, all refitted for as many epochs."""
    reference = losses_of(records, REFERENCE)
    return {
        rule: Difference.of(losses_of(records, rule), reference, test_to_train(records))
        for rule in records[0].chosen
    }


def differences_of_policies(records: Sequence[Record]) -> dict[tuple[str, str], Difference]:
    """Return the difference of each policy to `epochs`, under the same rule."""
    return {
        (rule, policy): Difference.of(
            losses_of(records, rule, policy), losses_of(records, rule), test_to_train(records)
        )
        for rule in REFITTED
        for policy in POLICIES
    }
