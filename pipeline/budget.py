"""When a search ends."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import require
from pipeline.fields import require_count
from pipeline.space import is_number


@dataclass(frozen=True)
class Budget:
    """When the search ends, whichever comes first; enough is kept back for the answer.

    n_trials: trials in all, over every session of the same study
    timeout_secs: of this session; checked between epochs
    max_fold_epochs, max_updates: trained in all, over every session, summed over folds
    max_failures_in_a_row: failed trials in a row that end the study with an error
    unchanged_fold_epochs: end the search early when the trials that cannot be told from the best,
        or the finalists of a strategy, have been the same ones while so many were trained; None
        does not
    """

    n_trials: int = 30
    timeout_secs: float | None = None
    max_fold_epochs: int | None = None
    max_updates: int | None = None
    max_failures_in_a_row: int = 10
    unchanged_fold_epochs: int | None = None

    def __post_init__(self) -> None:
        require_count("budget.n_trials", self.n_trials)
        require_count("budget.max_failures_in_a_row", self.max_failures_in_a_row)
        for name in ("max_fold_epochs", "max_updates", "unchanged_fold_epochs"):
            if getattr(self, name) is not None:
                require_count(f"budget.{name}", getattr(self, name))
        if self.timeout_secs is not None:
            is_positive = is_number(self.timeout_secs) and self.timeout_secs > 0
            require(is_positive, "budget.timeout_secs", "a number > 0, or None", self.timeout_secs)
