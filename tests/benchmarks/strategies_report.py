"""What several searches of one study came to, side by side, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WHOLE = "pruning"
"""The search that all others are compared with."""


@dataclass(frozen=True)
class Score:
    """A search's best trial.

    loss, error: its mean over folds at its best epoch, and that mean's standard error
    fold_epochs, n_trials: of the search
    """

    loss: float
    error: float
    fold_epochs: int
    n_trials: int
    n_epochs: int
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """One study and seed, searched in several ways.

    scores: by way; None where a search has no trial with a value
    """

    data: str
    seed: int
    scores: Mapping[str, Score | None]

    @property
    def whole(self) -> Score:
        """The search that all others are compared with."""
        score = self.scores[WHOLE]
        assert score is not None
        return score

    def errors_worse(self, way: str) -> float:
        """Return by how many of its standard errors a way's loss is above the whole search's."""
        score = self.scores[way]
        return np.inf if score is None else (score.loss - self.whole.loss) / self.whole.error

    @property
    def line(self) -> str:
        """This in one line."""
        losses = [
            f"{way} nothing"
            if each is None
            else f"{way} {each.loss:.4f} ({each.n_trials} trials, {each.fold_epochs})"
            for way, each in self.scores.items()
        ]
        return f"{self.data} {self.seed}: ± {self.whole.error:.4f}, {', '.join(losses)}"


def in_words(done: Sequence[Compared]) -> str:
    """Return a table in Markdown, a row for each data set, of the ways that all have."""
    ways = [way for way in done[0].scores if all(way in each.scores for each in done)]
    others = [way for way in ways if way != WHOLE]
    heads = ["", "loss ± standard error", "fold-epochs"]
    for way in others:
        heads += [f"{way}: fold-epochs", "worse by, standard errors", "within one"]
    names = list(dict.fromkeys(each.data for each in done))
    rows = [_row(name, [each for each in done if each.data == name], others) for name in names]
    if len(names) > 1:
        everything = _row("all", done, others)
        rows.append([everything[0], "", *everything[2:]])
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def _row(name: str, done: Sequence[Compared], others: Sequence[str]) -> list[str]:
    loss = np.mean([each.whole.loss for each in done])
    error = np.mean([each.whole.error for each in done])
    cells = [name, f"{loss:.4f} ± {error:.4f}", _fold_epochs(done, WHOLE)]
    for way in others:
        worse = np.array([each.errors_worse(way) for each in done])
        of_mean = worse.std(ddof=1) / np.sqrt(len(worse)) if len(worse) > 1 else np.nan
        cells += [
            _fold_epochs(done, way),
            f"{worse.mean():+.2f} ± {of_mean:.2f}",
            f"{(worse <= 1).sum()} of {len(worse)}",
        ]
    return cells


def _fold_epochs(done: Sequence[Compared], way: str) -> str:
    return f"{np.mean([score.fold_epochs for each in done if (score := each.scores[way])]):.0f}"
