"""The page's tables as plain cells: what is read, and by what a column is sorted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline import decision, wording
from pipeline.results import StudyResult, TrialResult
from pipeline.review.account import Account
from pipeline.review.times import duration

OWN_COLUMNS = ("learning_rate", "max_epochs")
"""Parameters that every study has; the others follow them."""


@dataclass(frozen=True)
class Cell:
    """One cell.

    key: what its column is sorted by, a number or a text; None is last in either direction
    kind: a number is set flush right; quiet text is of less weight
    share: of the cell's width that a bar fills; None draws none
    """

    text: str
    key: float | str | None = None
    kind: Literal["text", "number", "quiet"] = "text"
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """Columns and rows. marked: the row that is the answer."""

    columns: Sequence[tuple[str, Literal["text", "number"]]]
    rows: Sequence[Sequence[Cell]]
    marked: int | None = None


def trials_table(result: StudyResult) -> Table:
    """Return a row a trial, in order of number; the best trial's is marked."""
    metric = result.spec.objective.metric
    sampled = [name for name in result.spec.varied if name not in OWN_COLUMNS]
    columns: list[tuple[str, Literal["text", "number"]]] = [
        ("trial", "number"), ("outcome", "text"), ("learning rate", "number"),
        ("max epochs", "number"), *((name, "text") for name in sampled), ("best epoch", "number"),
        (metric, "number"), ("± se", "number"), ("seconds", "number"), ("reason", "text"),
    ]  # fmt: skip
    equal = set(result.evidence.equivalent_trials or ()) - {result.best.number}
    rows = [list(_trial(trial, sampled, trial.number in equal)) for trial in result.trials]
    numbers = [trial.number for trial in result.trials]
    return Table(columns, rows, numbers.index(result.best.number))


def _trial(trial: TrialResult, sampled: Sequence[str], equal: bool) -> Iterator[Cell]:
    yield _number(trial.number)
    yield Cell(trial.outcome.label, trial.outcome.label)
    yield _number(trial.params["learning_rate"], "{:.3g}")
    yield _number(trial.params["max_epochs"])
    for name in sampled:
        value = trial.params.get(name, "–")
        yield _number(value, "{:.4g}") if _is_number(value) else Cell(str(value), str(value))
    curves = trial.curves
    if curves is None:
        yield from (Cell("–"), Cell("–"), Cell("–"))
    else:
        n_epochs = trial.best_n_epochs or curves.best_n_epochs
        # A trial without a value came to this and went no further: it does not compete.
        kind: Literal["number", "quiet"] = "quiet" if trial.value is None else "number"
        yield _number(n_epochs, kind=kind)
        yield _number(curves.mean_after(n_epochs), "{:.4g}", kind=kind)
        error = curves.standard_error_after(n_epochs)
        yield Cell("–") if error is None else _number(error, "{:.2g}", kind=kind)
    yield _number(trial.seconds, "{:.1f}")
    reason = trial.reason or trial.outcome.value
    yield Cell(f"{reason}; cannot be told from the best" if equal else reason, reason)


def ways_table(result: StudyResult, account: Account) -> Table:
    """Return a row for each way of choosing epochs; the row of the study's own rule is marked."""
    names = sorted({name for scores in account.scores.values() for name in scores})
    columns: list[tuple[str, Literal["text", "number"]]] = [
        ("way", "text"), ("rule", "text"), ("epochs", "number"),
        (result.spec.objective.metric, "number"), ("fold-epochs", "number"),
        *((f"test {name}", "number") for name in names), ("why", "text"),
    ]  # fmt: skip
    longest = max((way.n_epochs or 0 for way in account.ways), default=0)
    rows = []
    for way in account.ways:
        row = [Cell(way.name, way.name), Cell(way.rule, way.rule)]
        if way.n_epochs is None or way.score is None:
            row += [Cell("–")] * (3 + len(names))
        else:
            scores = account.scores.get(way.n_epochs, {})
            row += [
                Cell(str(way.n_epochs), way.n_epochs, "number", way.n_epochs / longest),
                Cell(wording.with_error(way.score, way.standard_error), way.score, "number"),
                _number(way.n_fold_epochs or 0, "{:,}"),
                *(_number(scores[name], "{:.4g}") for name in names),
            ]
        rows.append([*row, Cell(way.reason, way.reason)])
    rules = [way.rule for way in account.ways]
    own = rules.index(result.choice.rule) if result.choice.rule in rules else None
    return Table(columns, rows, own)


def counts(result: StudyResult) -> list[tuple[str, str]]:
    """Return the search in figures: (figure, what it counts)."""
    costs = decision.costs_of(result)
    ended = ", ".join(f"{n} {label}" for label, n in decision.outcomes(result.trials).items())
    n_folds = result.best.curves.n_folds if result.best.curves else 0
    return [
        (str(len(result.trials)), f"trials: {ended}"),
        (str(n_folds), "folds" if n_folds != 1 else "fold"),
        (f"{costs['fold_epochs']:,}", "fold-epochs trained"),
        (duration(costs["seconds"]), "of training in the trials"),
    ]


def _number(value: float, form: str = "{}", *, kind: Literal["number", "quiet"] = "number") -> Cell:
    return Cell(form.format(value), float(value), kind)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
