"""A search may end when the trials at its top have been the same ones for long enough.

The top is the set of trials that cannot be told from the best one; where trials pause, so that
they are told apart only in the end, it is those that would be finished.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Top:
    """The trials at the top, as they were last seen.

    trials: their numbers, in order
    since, until: fold-epochs that the search had trained when they came to be these, and when they
        were last seen
    """

    trials: tuple[int, ...] = ()
    since: int = 0
    until: int = 0

    @property
    def n_unchanged(self) -> int:
        """Fold-epochs for which these have been the same ones."""
        return self.until - self.since

    def seen(self, trials: Collection[int], n_fold_epochs: int) -> Top:
        """Return what is seen after so many fold-epochs; nothing, seen again, is not unchanged."""
        now = tuple(sorted(trials))
        is_same = now == self.trials and now != ()
        return Top(now, self.since if is_same else n_fold_epochs, n_fold_epochs)

    def as_plain(self) -> dict[str, Any]:
        """Return this as values that JSON knows."""
        return {**asdict(self), "trials": list(self.trials)}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> Top:
        """Return what `as_plain` was taken of."""
        return cls(tuple(plain["trials"]), plain["since"], plain["until"])


@dataclass(frozen=True)
class EarlyEnd:
    """Why a search has ended before its budget, and what that saved.

    trials: at the top; unchanged_fold_epochs: for which they had been the same ones
    saved_trials, saved_fold_epochs: what was left of the budget, for trials like the others
    """

    trials: tuple[int, ...]
    unchanged_fold_epochs: int
    saved_trials: int
    saved_fold_epochs: int

    def as_plain(self) -> dict[str, Any]:
        """Return this for the decision."""
        return {**asdict(self), "trials": list(self.trials)}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> EarlyEnd:
        """Return what `as_plain` was taken of."""
        return cls(**{**plain, "trials": tuple(plain["trials"])})

    def in_words(self) -> str:
        """Return why and what for, in one sentence."""
        numbers = ", ".join(str(number) for number in self.trials)
        return (
            f"the best trials ({numbers}) were the same ones for {self.unchanged_fold_epochs} "
            f"fold-epochs; saved: {self.saved_trials} trial(s), about {self.saved_fold_epochs} "
            "fold-epochs"
        )
