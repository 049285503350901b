"""python -m pipeline.report A B: two answers side by side, as they were written down."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.answers import Answer, found
from pipeline.cli import report_options
from pipeline.ending import main
from pipeline.errors import BadInput, ExitCode, NoResult
from pipeline.review import Comparison, in_words
from pipeline.review.comparison import UNKNOWN
from pipeline.search import search
from tests.tiny_study import runs_of, tiny, write_study

FOLDS = np.array([1.0, 1.2, 1.4, 1.1, 1.3])
RUN_ID = "0123456789abcdef0123456789abcdef"


def answer(root, signature, scores=FOLDS, *, direction="minimize", age_secs=0, **values):
    """Write the answer of a study of that name, best after 2 of 3 epochs, and return it."""
    folder = root / "mlruns" / "studies" / f"named-{signature * 12}"
    folder.mkdir(parents=True)
    n_folds, mean = len(scores), float(np.mean(scores))
    reach = 0.2
    given = {
        "study": "named", "signature": signature * 12, "run_id": signature * 32, "trial": 4,
        "learning_rate": 0.01, "n_epochs": 2, "score": mean, "standard_error": 0.07,
        "objective": {"metric": "val_accuracy", "direction": direction},
        "rule": "best", "determined": True, "open_end": "", "n_folds": n_folds,
        "evidence": {"score": {"low": mean - reach, "high": mean + reach, "confidence": 0.95}},
        "params": {"learning_rate": 0.01, "max_epochs": 3}, "refit": None,
        "data_fingerprint": "d" * 64, "splits_hash": "e" * 64, "source": "f" * 64,
        "fields": {"seed": "0", "space.max_epochs": "3"}, "engine": {"mode": "plain"},
        "rows": {"development": 60, "test": 0, "validation_to_training": 0.25, "n_repeats": 1},
        "trials": {"completed": 3, "pruned": 0}, "fold_epochs": 45, "seconds": 3.0,
        "wall_seconds": 4.0, "version.keras": "3.15.1",
    }  # fmt: skip
    values = {key: value for key, value in {**given, **values}.items() if value is not ...}
    (folder / "decision.json").write_text(json.dumps(values))
    curves = np.stack([scores + 1, scores, scores + 2], axis=1).tolist()
    trial = {"curves": curves, "folds": list(range(n_folds)), "n_repeats": 1}
    (folder / "winner.json").write_text(json.dumps({"of": [4, {}], "trial": trial}))
    written = folder.stat().st_mtime - age_secs
    os.utime(folder / "decision.json", (written, written))
    return Answer.read(folder)


def compared(tmp_path, now=FOLDS, **fields):
    return Comparison(answer(tmp_path, "a"), answer(tmp_path, "b", now, **fields))


def test_the_same_rows_split_alike_are_paired_by_fold(tmp_path):
    """All folds gain about as much, though they scatter by far more than that among themselves."""
    gain = np.array([0.05, 0.06, 0.05, 0.04, 0.05])
    difference = compared(tmp_path, FOLDS - gain).difference
    assert difference.gain == pytest.approx(0.05)
    # s of the gains is 0.00707; corrected: s √(1/5 + 1/4), times t(0.975, 4) = 2.776.
    reach = 2.776 * np.std(gain, ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert difference.interval.low == pytest.approx(0.05 - reach, abs=1e-4)
    assert "can be told from no change" in difference.verdict
    assert "paired by fold" in difference.verdict


def test_a_loss_that_rose_is_worse(tmp_path):
    difference = compared(tmp_path, FOLDS + np.array([0.05, 0.06, 0.05, 0.04, 0.05])).difference
    assert difference.verdict.startswith("worse by 0.05, which can be told")
    assert difference.interval.high < 0


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"data_fingerprint": "0" * 64}, "the data are others"),
        ({"splits_hash": "0" * 64}, "the rows were split otherwise"),
        ({"rows": ...}, "is of an earlier version"),
    ],
)
def test_what_is_no_pair_is_compared_by_intervals(tmp_path, changed, why):
    difference = compared(tmp_path, FOLDS - 0.05, **changed).difference
    # Two intervals of ± 0.2 make one of ± 0.2 √2.
    assert difference.interval.low == pytest.approx(0.05 - 0.2 * np.sqrt(2))
    assert difference.interval.high == pytest.approx(0.05 + 0.2 * np.sqrt(2))
    assert "cannot be told from no change" in difference.verdict
    assert why in difference.how


def test_where_curves_are_gone_the_intervals_decide(tmp_path):
    comparison = compared(tmp_path, FOLDS - 0.05)
    (comparison.before.folder / "winner.json").unlink()
    assert "the curves of named-aaaaaaaaaaaa are gone" in comparison.difference.how


def test_a_higher_accuracy_is_better_in_both_ways_of_comparing(tmp_path):
    better = {"direction": "maximize"}
    before = answer(tmp_path, "a", **better)
    paired = Comparison(before, answer(tmp_path, "b", FOLDS + 0.5, **better))
    assert paired.difference.verdict.startswith("better by 0.5, which can be told")
    other_data = answer(tmp_path, "c", FOLDS + 0.5, data_fingerprint="0" * 64, **better)
    assert Comparison(before, other_data).difference.verdict.startswith("better by 0.5, which can")


def test_one_fold_cannot_say(tmp_path):
    alone = {"evidence": {"score": None}, "standard_error": None}
    difference = Comparison(
        answer(tmp_path, "a", FOLDS[:1], **alone), answer(tmp_path, "b", FOLDS[:1] - 0.5, **alone)
    ).difference
    assert difference.interval is None
    assert "cannot be told: one fold" in difference.verdict


def test_what_changed_is_marked_and_what_did_not_is_left_out(tmp_path):
    fields = {"seed": "1", "space.max_epochs": "3", "precision": "'half'"}
    comparison = compared(tmp_path, fields=fields, n_epochs=3, source=...)
    rows = {row.label: row for row in comparison.rows()}
    assert rows["seed"].changed
    assert rows["epochs"].changed
    assert not rows["space.max_epochs"].changed
    assert (rows["code"].now, rows["code"].changed) == (UNKNOWN, False)
    assert (rows["precision"].before, rows["precision"].changed) == ("–", True)
    printed = in_words(comparison).splitlines()
    assert any(line.split() == ["seed", "0", "≠", "1"] for line in printed)
    assert any(line.split() == ["rows", "60", "60"] for line in printed)
    assert not any("space.max_epochs" in line for line in printed)


def test_what_an_earlier_version_did_not_note_is_no_change(tmp_path):
    comparison = Comparison(answer(tmp_path, "a", source=..., fields=...), answer(tmp_path, "b"))
    seed = next(row for row in comparison.rows() if row.label == "seed")
    assert (seed.before, seed.now, seed.changed) == (UNKNOWN, "0", False)


def test_answers_of_another_metric_or_direction_are_refused(tmp_path):
    before = answer(tmp_path, "a")
    with pytest.raises(BadInput, match=r"of one metric and direction .* val_accuracy \(maximize\)"):
        Comparison(before, answer(tmp_path, "b", direction="maximize"))
    with pytest.raises(BadInput, match=r"two answers must be compared, got named-a+ twice"):
        Comparison(before, Answer.read(before.folder))


def test_an_answer_is_found_by_folder_name_run_and_study(tmp_path, monkeypatch):
    old, new = answer(tmp_path, "a", age_secs=86400), answer(tmp_path, "b")
    monkeypatch.chdir(tmp_path)
    names = {
        str(old.folder): old, str(old.folder / "decision.json"): old, "named-" + "a" * 12: old,
        "a" * 32: old, "named": new, "named~0": new, "named~1": old,
    }  # fmt: skip
    for name, meant in names.items():
        assert found(name).folder == meant.folder


def test_a_run_of_another_project_is_found_in_the_store_that_it_was_logged_to(
    home, make_home, monkeypatch
):
    result = search(tiny(home))
    here = make_home("another")
    monkeypatch.chdir(here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlruns/mlflow.db")
    run, _ = runs_of(home)
    answer = found(run.info.run_id)
    assert answer.name == f"tiny-{result.signature}"
    assert answer.folder == here / "mlruns" / "answers" / run.info.run_id
    assert np.array_equal(answer.curves.values, result.best.curves.values)
    with pytest.raises(NoResult, match=f"run {RUN_ID} in sqlite.* must have an answer"):
        found(RUN_ID)


def test_what_is_not_found_is_said(tmp_path, monkeypatch):
    answer(tmp_path, "a")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "journal.log").touch()
    write_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="unknown answer 'namd'; did you mean 'named'"):
        found("namd")
    with pytest.raises(BadInput, match="must have 3 answers for named~2, got 1"):
        found("named~2")
    with pytest.raises(BadInput, match="STUDY~1, STUDY~2, …, got 'named~x'"):
        found("named~x")
    with pytest.raises(NoResult, match="begun must have been searched to its end"):
        found("begun")
    with pytest.raises(NoResult, match="study tiny must have been searched before"):
        found("tiny")


def report(*options):
    return main("pipeline.report", report_options([*map(str, options), "--json"]))


def test_options_of_one_answer_are_refused(tmp_path, capsys):
    folders = [answer(tmp_path, each).folder for each in "ab"]
    assert report(*folders, "--compare", "--set", "rule=plateau") == ExitCode.BAD_INPUT
    assert "got --compare, --set: leave it out" in capsys.readouterr().err


def test_last_night_and_tonight_are_compared(home, monkeypatch, capsys):
    """Two whole searches of one study, the second on fewer rows; nothing is trained after them."""
    before = search(tiny(home, fields="dict(budget=Budget(n_trials=1))"))
    new_data = "load_data=lambda: tuple(array[:54] for array in load_data())"
    now = search(tiny(home, fields=f"dict({new_data}, budget=Budget(n_trials=1))"))
    monkeypatch.setattr("pipeline.training.LockstepTraining.advance", None)
    monkeypatch.chdir(home)
    assert report("tiny~1", "studies/tiny.py") == ExitCode.SUCCESS
    told = json.loads(capsys.readouterr().out)
    compared = told["compared"]
    assert (compared["before"], compared["now"]) == (
        str(before.decision_path.parent), str(now.decision_path.parent),
    )  # fmt: skip
    gain = before.choice.score - now.choice.score
    assert compared["difference"]["gain"] == pytest.approx(gain)
    rows = {row["label"]: row for row in compared["rows"]}
    assert (rows["rows"]["before"], rows["rows"]["now"]) == ("60", "54")
    assert rows["code"]["changed"]
    assert not rows["space.max_epochs"]["changed"]
    assert rows["on the clock"]["now"] != UNKNOWN
    page = now.decision_path.with_name(f"compare-{before.decision_path.parent.name}.html")
    assert told["report"] == str(page)
    text = page.read_text()
    assert "Both learning curves" in text
    assert f"chosen: {before.choice.n_epochs} epochs" in text


def test_curves_that_were_cleaned_away_leave_a_page_of_tables(tmp_path, capsys):
    folders = [answer(tmp_path, each).folder for each in "ab"]
    for folder in folders:
        (folder / "winner.json").unlink()
    assert report(*folders) == ExitCode.SUCCESS
    page = Path(json.loads(capsys.readouterr().out)["report"])
    assert "The curves are gone" in page.read_text()
