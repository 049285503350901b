"""python -m pipeline.report: the answer again, the five ways, and refits for each of them."""

import json

import pytest

from pipeline.cli import report_options
from pipeline.ending import main
from pipeline.errors import ExitCode
from pipeline.search import search
from tests.tiny_study import client, runs_of, tiny, write_study

FIELDS = "dict(test_size=0.2, refit=Refit(n_seeds=2, keep_folds=True), budget=Budget(n_trials=2))"


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_database):
    home = tmp_path_factory.mktemp("reported")
    return home, search(tiny(home, fields=FIELDS))


def report(home, *options):
    return main("pipeline.report", report_options([str(home / "studies" / "tiny.py"), *options]))


def test_a_finished_search_answers_again_without_training(searched, capsys, monkeypatch):
    home, result = searched
    monkeypatch.setattr("pipeline.training.LockstepTraining.advance", None)
    code = report(home)
    printed = capsys.readouterr().out
    assert code == (ExitCode.UNDETERMINED if result.open_end else ExitCode.SUCCESS)
    assert f"for {result.choice.n_epochs} epochs" in printed
    assert result.refit.model_uri in printed
    assert result.refit.folds_model_uri in printed
    assert "fixed number" not in printed
    assert str(result.report_path) in printed


def test_a_search_leaves_its_page_in_its_folder_and_in_mlflow(searched):
    home, result = searched
    assert result.report_path == result.decision_path.with_name("report.html")
    run, _ = runs_of(home)
    summary, address = result.report_path.with_suffix(".md").read_text(), "get-artifact?path="
    address += f"curves_small.png&run_uuid={run.info.run_id}"
    shown = summary.replace(
        "![Learning curves](curves_small.png)", f"![Learning curves]({address})"
    )
    assert run.data.tags["mlflow.note.content"] == shown != summary
    logged = {item.path for item in client(home).list_artifacts(run.info.run_id)}
    assert {"decision.json", "report.html", "report.md", "curves.png", "curves_small.png"} <= logged


def test_the_page_of_another_rule_does_not_replace_that_of_the_decision(searched):
    home, result = searched
    before = result.report_path.read_bytes()
    report(home, "--set", "rule=fixed(n_epochs=2)")
    assert result.report_path.read_bytes() == before
    assert "for 2 epochs" in result.report_path.with_name("report-fixed-2.html").read_text()


def test_the_five_ways_are_compared(searched, capsys):
    home, result = searched
    report(home, "--compare", "--fixed", "3")
    rows = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {
        "fixed number", "early stopping", "learning curves", "grid", "cross-validation",
    } <= set(rows)  # fmt: skip
    assert rows["fixed number"].split()[2:4] == ["fixed", "3"]
    ways = json.loads(result.decision_path.read_text())["ways"]
    best = next(way for way in ways if way["rule"] == "best")
    assert best["n_epochs"] == result.choice.n_epochs
    assert best["n_fold_epochs"] == result.best.curves.values.size


def test_each_choice_is_refit_and_scored_and_the_looks_are_counted(searched, capsys):
    home, result = searched
    report(home, "--refit-each")
    printed = capsys.readouterr().out
    best = next(line for line in printed.splitlines() if line.startswith("cross-validation  best"))
    loss = result.refit.test_metrics["loss"]
    assert best.split()[-1] == f"{loss:.4g}"  # the same refit, trained again
    # The search scored the refit, each of its two seeds and the fold ensemble; the report one model
    # a number of epochs.
    (log,) = (home / "mlruns" / "studies" / "test_rows").iterdir()
    uses = [json.loads(line)["n_models"] for line in log.read_text().splitlines()]
    assert uses[0] == 4
    page = result.report_path.read_text()
    assert "test accuracy" in page
    assert f"{sum(uses)} models have been scored" in page
    assert f"{sum(uses)} models have been scored on these test rows" in printed


def test_several_seeds_and_the_fold_ensemble_are_scored(searched):
    _, result = searched
    refit = result.refit
    assert refit.n_seeds == len(refit.seeds_test_metrics) == 2
    assert refit.seeds_test_metrics[0] != refit.seeds_test_metrics[1]
    assert set(refit.folds_test_metrics) == {"loss", "accuracy"}
    assert refit.folds_model_uri != refit.model_uri


def test_another_rule_is_answered_from_the_same_curves(searched, capsys):
    home, _ = searched
    report(home, "--set", "rule=fixed(n_epochs=2)")
    assert "for 2 epochs" in capsys.readouterr().out


def test_what_was_not_searched_cannot_be_reported(home, capsys):
    write_study(home)
    assert report(home) == ExitCode.NO_RESULT
    error = capsys.readouterr().err
    assert "must have been searched before it is reported: python -m pipeline.search" in error
    assert not (home / "mlruns" / "studies").exists()


def test_refits_cannot_be_scored_without_test_rows(home, capsys):
    search(tiny(home, fields="dict(budget=Budget(n_trials=1))"))
    assert report(home, "--refit-each") == ExitCode.BAD_INPUT
    assert "must have test rows to score; set test_size" in capsys.readouterr().err


def test_a_refit_that_needs_too_much_memory_is_no_traceback(searched, capsys, monkeypatch):
    def too_much(training):
        raise MemoryError("for so many rows")

    home, _ = searched
    monkeypatch.setattr("pipeline.training.lockstep.LockstepTraining.advance", too_much)
    assert report(home, "--refit-each") == ExitCode.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the answer stands, but")
    assert line.endswith("MemoryError: for so many rows")
