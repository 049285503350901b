"""The answer as Markdown: `report.md`, and the description of the study's run in MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import wording
from pipeline.results import StudyResult, TrialResult, ranked
from pipeline.review.account import Account
from pipeline.review.tables import ways_table

N_TOP = 5
"""Trials in the table; the page has all of them."""

ELSEWHERE = ("decision", "report", "MLflow", "its trials", "")
"""Findings that say where things lie: not in a text that lies there."""


def headline(result: StudyResult) -> str:
    """Return the answer in one sentence, with how sure it is."""
    best, choice, evidence = result.best, result.choice, result.evidence
    score = wording.with_error(choice.score, choice.standard_error)
    text = f"{wording.advice(result)}: {result.spec.objective.metric} {score}"
    if evidence.score is not None:
        text += f" ({wording.in_words(evidence.score)})"
    unsure = []
    if best.any_epoch and best.curves is not None:
        n_epochs = len(evidence.equivalent_epochs)
        unsure.append(f"{n_epochs} of its {best.curves.n_epochs} trained epochs")
    if others := [n for n in evidence.equivalent_trials or () if n != best.number]:
        unsure.append(f"{len(others)} other trial{'s' * (len(others) > 1)}")
    if unsure:
        text += f"; {' and '.join(unsure)} cannot be told from the best"
    return f"{text}."


def markdown(result: StudyResult, account: Account, picture: Path | None = None) -> str:
    """Return the answer, the best trials and the ways as Markdown, in a few thousand characters.

    picture: of the curves, beside the text
    """
    found = [pair for pair in wording.findings(result) if pair[0] not in ELSEWHERE]
    ways = ways_table(result, account)
    rows = [[_plain(cell.text) for cell in row[:-1]] for row in ways.rows]
    lines = [
        # First what MLflow shows unfolded.
        f"**{_plain(headline(result))}**",
        "",
        *(f"- {_plain(label)}: {_plain(text)}" for label, text in found if text),
        "",
        *([] if picture is None else [f"![Learning curves]({picture.name})", ""]),
        f"## The best of {len(result.trials)} trials",
        "",
        *_top(result),
        "",
        "## Ways of choosing the number of epochs",
        "",
        *_table([name for name, _ in ways.columns[:-1]], rows),
        "",
        "## To repeat it",
        "",
        *(f"- {_plain(label)}: {_plain(text)}" for label, text in account.repeating(result)),
    ]
    return "\n".join(lines) + "\n"


def _top(result: StudyResult) -> Iterator[str]:
    names = [name for name in result.spec.varied if name != "learning_rate"]
    metric = result.spec.objective.metric
    top = ranked(result.trials, result.spec.objective)[:N_TOP]
    rows = [_trial(trial, names) for trial in top]
    return _table(["trial", "outcome", "learning rate", *names, "best epoch", metric], rows)


def _trial(trial: TrialResult, names: Sequence[str]) -> list[str]:
    curves, n_epochs = trial.curves, trial.best_n_epochs
    assert curves is not None
    assert n_epochs is not None
    score = wording.with_error(curves.mean_after(n_epochs), curves.standard_error_after(n_epochs))
    values = [_plain(str(trial.params.get(name, "–"))) for name in names]
    rate = f"{trial.params['learning_rate']:.3g}"
    return [str(trial.number), trial.outcome.label, rate, *values, str(n_epochs), score]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in ([_plain(name) for name in head], ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _plain(text: str) -> str:
    """Return a text as Markdown that shows just it, in one line."""
    return re.sub(r"([\\`*_<>|\[\]#])", r"\\\1", " ".join(text.split()))
