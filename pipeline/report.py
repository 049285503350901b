"""python -m pipeline.report STUDY: a finished search, answered again from what it stored.

    python -m pipeline.report digits --compare
    python -m pipeline.report digits --compare --refit-each
    python -m pipeline.report digits~1 digits

`--compare` puts the five ways of choosing a number of epochs side by side, on the winner's curves.
`--refit-each` also trains on all rows for each way's number, and scores it on the test rows.
Two studies are two answers side by side: what changed from the first to the second.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the heavy imports below: --help and mistyped options answer at once.
    from pipeline.cli import report_options
    from pipeline.ending import end_process

    end_process("pipeline.report", report_options())

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline import confirm, decision, holdout, optimization, review, training, wording
from pipeline.addresses import storage_of
from pipeline.answers import found
from pipeline.changes import with_options
from pipeline.conclusion import concluded
from pipeline.data_file import with_study_file
from pipeline.early_end import EarlyEnd
from pipeline.ending import Ending
from pipeline.errors import BadInput, ExitCode, NoResult, unexpected_errors
from pipeline.question import Question, pose
from pipeline.range_test import as_begun
from pipeline.refit_length import RefitLength
from pipeline.results import StudyResult
from pipeline.schedules import replayed
from pipeline.study_file import load_study
from pipeline.ways import Way
from pipeline.winner import saved

OF_ONE_ANSWER = (
    "compare", "confirm", "drop", "fixed", "groups", "keep_weights", "model", "nested",
    "refit_each", "seed", "set", "target", "task", "time", "trust_model",
)  # fmt: skip
"""Options that say how one study is answered."""


def result_of(question: Question, study: Any) -> tuple[StudyResult, dict[str, Any]]:
    """Return a finished search's result with the study's rule of today, and its written decision.

    study: Optuna's
    Raises NoResult when the search has not come to an answer yet.
    """
    path = question.folder / "decision.json"
    trials = optimization.finished(study, question.spec)
    written = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    # Not always the best of the search: --confirm may have named another.
    decided = next((trial for trial in trials if trial.number == written.get("trial")), None)
    winner = None if decided is None else saved(question, decided)
    if winner is None:
        raise NoResult(
            f"study {question.name} must have been searched to its end, got {len(trials)} finished "
            "trial(s) and no answer yet; the search's command continues it"
        )
    confirmation = None
    if met := written["confirmation"]:
        n_met = len(met["trials"]) + len(met["diverged"])
        confirmation = confirm.known(trials, n_met, question)
    result = concluded(
        question,
        study,
        trials,
        winner,
        confirmation,
        run_id=written["run_id"],
        run_url=written["mlflow_run"],
        trials_url=written.get("mlflow_trials", ""),  # absent from answers of before there was any
        ui_command=written["mlflow_ui"],
        budget_over=written["budget_over"],
        early_end=EarlyEnd.of_plain(early) if (early := written.get("early_end")) else None,
    )
    return result, written


def refit_each(
    ways: Sequence[Way], result: StudyResult, question: Question, *, setup: training.Setup
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
    first, best = len(question.folds), result.best
    assert best.curves is not None
    fitted = training.fitted_after(
        sorted({length.n_epochs for length in lengths.values()}),
        spec,
        rows,
        {**best.params, "max_epochs": next(iter(lengths.values())).horizon},
        folds=range(first, first + spec.refit.n_seeds),
        setup=setup,
        schedule=replayed(spec.schedule_of(best.params), best.curves.losses),
    )
    with unexpected_errors("the answer stands, but no model could be refitted for each way"):
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
        score = wording.with_error(way.score, way.standard_error)
        rows.append(
            [way.name, way.rule, str(way.n_epochs), score, f"{way.n_fold_epochs:,}", *tests]
        )
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in whole) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )


def compared(
    options: argparse.Namespace, result: StudyResult, question: Question, study: Any
) -> tuple[tuple[Way, ...], dict[int, dict[str, float]]]:
    """Return the five ways, and where refits were asked for their scores by number of epochs."""
    ways = decision.ways_of(result, n_fixed=options.fixed)
    if not options.refit_each:
        return ways, {}
    setup = training.Setup.of(study.user_attrs["engine"])
    return ways, refit_each(ways, result, question, setup=setup)


def remarks_on(
    scores: Mapping[int, Mapping[str, float]],
    result: StudyResult,
    question: Question,
) -> list[str]:
    """Return what to mind about the ways, in sentences."""
    remarks = []
    if not result.best.any_epoch:
        remarks.append(
            f"mind: the schedule is laid out for {result.best.horizon} epochs; an earlier epoch of "
            "it is another schedule"
        )
    if scores:
        remarks.append(
            f"{holdout.n_uses(question)} models have been scored on these test rows by now: the "
            "more they are looked at, the less they are a test"
        )
    return remarks


def answered(options: argparse.Namespace, facts: dict[str, Any]) -> Ending:
    """Do what the command's options say and return what there is to tell.

    facts: what is known so far goes here, to be told also when this raises
    """
    if options.other is not None:
        return side_by_side(options, facts)
    options = with_study_file(options, say=say)
    spec = with_options(load_study(options.study), options)
    facts["study"] = spec.name
    question = pose(spec)
    journal = storage_of(options.storage) or question.folder / "journal.log"
    if isinstance(journal, Path) and not journal.exists():
        raise NoResult(
            f"study {question.name} must have been searched before it is reported: "
            f"python -m pipeline.search {options.study}"
        )
    study = optimization.read_study(journal, question.name, patience_secs=options.store_patience)
    question = as_begun(study, question)
    result, written = result_of(question, study)
    facts |= {
        "run_url": result.run_url,
        "costs": decision.costs_of(result),
        # What the search knew of itself stays; what the rule of today decides may be new.
        "decision": {**written, **decision.decision(result, {})},
    }
    ways, scores = compared(options, result, question, study)
    remarks = remarks_on(scores, result, question)

    def account() -> review.Account:
        found = review.Account.of(result, study, written)
        return dataclasses.replace(found, ways=ways, scores=scores, remarks=remarks)

    page = review.reported(result, account, stem=stem_of(result, written), say=say).page
    text = wording.answer(dataclasses.replace(result, report_path=page))
    facts["report"] = page and str(page)
    if options.compare or options.refit_each:
        facts["comparison"] = [
            {**asdict(way), "test_metrics": scores.get(way.n_epochs or 0)} for way in ways
        ]
        lines = [table(ways, scores, spec.objective.metric), *remarks]
        text += "\n\n" + "\n".join(lines)
    return Ending(ExitCode.UNDETERMINED if result.open_end else ExitCode.SUCCESS, text)


def side_by_side(options: argparse.Namespace, facts: dict[str, Any]) -> Ending:
    """Compare two answers as they were written down; return what there is to tell."""
    if given := sorted(name for name in OF_ONE_ANSWER if getattr(options, name)):
        raise BadInput(
            "two answers are compared as they were written down, got "
            f"{', '.join('--' + name.replace('_', '-') for name in given)}: leave it out, or name "
            "one study"
        )
    comparison = review.Comparison(found(options.study), found(options.other))
    facts |= {
        "study": comparison.now.values["study"],
        "decision": comparison.now.values,
        "compared": comparison.as_plain(),
    }
    page = review.compared(comparison, say=say)
    facts["report"] = page and str(page)
    text = review.in_words(comparison)
    return Ending(ExitCode.SUCCESS, f"{text}\n\n{wording.short(page)}" if page else text)


def stem_of(result: StudyResult, written: Mapping[str, Any]) -> str:
    """Return the name of the page: another answer than the written one gets its own."""
    choice = result.choice
    same = (choice.rule, choice.n_epochs) == (written["rule"], written["n_epochs"])
    return review.STEM if same else f"{review.STEM}-{choice.rule}-{choice.n_epochs}"


def say(line: str) -> None:
    """Tell a line that is no part of the answer."""
    print(line, file=sys.stderr)
