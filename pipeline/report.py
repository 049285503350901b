"""python -m pipeline.report STUDY: a finished search, answered again from what it stored.

    python -m pipeline.report digits --compare
    python -m pipeline.report digits --compare --refit-each

`--compare` puts the five ways of choosing a number of epochs side by side, on the winner's curves.
`--refit-each` also trains on all rows for each way's number, and scores it on the test rows.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the heavy imports below: --help and mistyped options answer at once.
    from pipeline.cli import report_options

    OPTIONS = report_options()

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import decision, holdout, optimization, training
from pipeline.cli import with_options
from pipeline.errors import BadInput, ExitCode, NoResult, PipelineError
from pipeline.evidence import gathered
from pipeline.question import Question, pose
from pipeline.refit_length import RefitLength
from pipeline.results import StudyResult, ranked
from pipeline.study_file import load_study
from pipeline.ways import Way
from pipeline.winner import chosen, saved


def result_of(question: Question, study: Any) -> StudyResult:
    """Return a finished search's result from its stores, with the study's rule of today.

    study: Optuna's
    Raises NoResult when the search has not come to an answer yet.
    """
    spec, path = question.spec, question.folder / "decision.json"
    trials = optimization.finished(study, spec)
    best = next(iter(ranked(trials, spec.objective)), None)
    winner = None if best is None else saved(question, best)
    if winner is None or not path.exists():
        raise NoResult(
            f"study {question.name} must have been searched to its end, got {len(trials)} finished "
            "trial(s) and no answer yet; the search's command continues it"
        )
    choice = chosen(spec, winner.trial)
    written = json.loads(path.read_text(encoding="utf-8"))
    return StudyResult(
        spec=spec,
        signature=question.signature,
        trials=trials,
        best=winner.trial,
        choice=choice,
        evidence=gathered(choice, winner.trial, trials, question, row_losses=winner.row_losses),
        open_end=winner.open_end,
        n_extra_fold_epochs=winner.n_fold_epochs,
        refit=decision.refit_in(path, winner.trial, choice, spec.refit, written["run_id"]),
        decision_path=path,
        run_url=written["mlflow_run"],
        ui_command=written["mlflow_ui"],
    )


def refit_each(
    ways: Sequence[Way], result: StudyResult, question: Question, *, jit: bool
) -> dict[int, dict[str, float]]:
    """Train on all development rows for each chosen number of epochs, and score the test rows.

    Returns the scores by chosen (not refit) number of epochs. One training passes through all of
    them, laid out for the study's own choice.
    Raises BadInput when no test rows were set aside.
    """
    spec, rows, test = question.spec, question.development, question.test
    if test is None:
        raise BadInput("--refit-each must have test rows to score; set test_size in the study")
    lengths = {
        n_epochs: RefitLength.of(
            spec.refit.policy,
            n_epochs=n_epochs,
            horizon=result.choice.horizon,
            folds=question.folds,
            n_rows=rows.n_rows,
            batch_size=int(result.best.params["batch_size"]),
        )
        for n_epochs in sorted({way.n_epochs for way in ways if way.n_epochs is not None})
    }
    first = len(question.folds)
    fitted = training.fitted_after(
        sorted({length.n_epochs for length in lengths.values()}),
        spec,
        rows,
        {**result.best.params, "max_epochs": next(iter(lengths.values())).horizon},
        folds=range(first, first + spec.refit.n_seeds),
        jit=jit,
    )
    scores = {n_epochs: model.score(test) for n_epochs, model in fitted}
    holdout.note_use(question, "report --refit-each", n_models=len(scores))
    return {n_epochs: scores[length.n_epochs] for n_epochs, length in lengths.items()}


def table(ways: Sequence[Way], scores: dict[int, dict[str, float]], metric: str) -> str:
    """Return the ways as a table for a terminal.

    scores: of the test rows after a refit, by chosen number of epochs; may be empty
    """
    names = sorted({name for each in scores.values() for name in each})
    rows = [["way", "rule", "epochs", metric, "fold-epochs", *(f"test {n}" for n in names)]]
    for way in ways:
        if way.n_epochs is None or way.score is None:
            rows.append([way.name, way.rule, "–", way.reason])
            continue
        tests = [f"{scores[way.n_epochs][name]:.4g}" for name in names]
        score = decision.with_error(way.score, way.standard_error)
        rows.append(
            [way.name, way.rule, str(way.n_epochs), score, f"{way.n_fold_epochs:,}", *tests]
        )
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in whole) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )


def comparison(
    options: argparse.Namespace, result: StudyResult, question: Question, study: Any
) -> str:
    """Return the five ways as text."""
    ways = decision.ways_of(result, n_fixed=options.fixed)
    scores = {}
    if options.refit_each:
        jit = study.user_attrs["engine"]["mode"] == "xla"
        scores = refit_each(ways, result, question, jit=jit)
    lines = [table(ways, scores, result.spec.objective.metric)]
    if not result.best.any_epoch:
        lines.append(
            f"mind: the schedule is laid out for {result.best.horizon} epochs; an earlier epoch of "
            "it is another schedule"
        )
    if scores:
        lines.append(
            f"{holdout.n_uses(question)} models have been scored on these test rows by now: the "
            "more they are looked at, the less they are a test"
        )
    return "\n".join(lines)


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        spec = with_options(load_study(options.study), options)
        question = pose(spec)
        journal = options.storage or question.folder / "journal.log"
        if isinstance(journal, Path) and not journal.exists():
            raise NoResult(
                f"study {question.name} must have been searched before it is reported: "
                f"python -m pipeline.search {options.study}"
            )
        study = optimization.open_study(journal, question.name, spec)
        result = result_of(question, study)
        print(decision.answer(result))
        if options.compare or options.refit_each:
            print("\n" + comparison(options, result, question, study))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return ExitCode.UNDETERMINED if result.open_end else ExitCode.SUCCESS


if __name__ == "__main__":
    raise SystemExit(main(OPTIONS))
