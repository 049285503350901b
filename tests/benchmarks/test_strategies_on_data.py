"""The benchmark of strategies runs, and its arithmetic is right. No outcome is expected."""

import json
from dataclasses import replace

import pytest

from tests.benchmarks import rules_studies, strategies_on_data
from tests.benchmarks.strategies_report import WHOLE, Compared, Score, in_words


@pytest.fixture(autouse=True)
def studies(monkeypatch):
    """Make studies small; TensorFlow keeps the threads that earlier tests gave it."""
    for name, spec in strategies_on_data.STUDIES.items():
        space = {**spec.space, "max_epochs": 6, "units": 4, "layers": 1}
        tiny = replace(spec, space=space, threads=None, operation_threads=None)
        monkeypatch.setitem(strategies_on_data.STUDIES, name, tiny)
    return strategies_on_data.STUDIES


@pytest.mark.long
def test_a_study_is_searched_in_all_ways(studies, tmp_path, capsys):
    tiny = studies["breast-cancer"]
    file = tmp_path / "out.json"
    arguments = ["--data", tiny.name, "--seeds", "1", "--trials", "7"]
    arguments += ["--strategies", "ladder", "pruning, again"]
    arguments += ["--share", "0.9"]  # room for three finalists and as much again
    assert strategies_on_data.main([*arguments, "--json", str(file)]) == 0
    scores = json.loads(file.read_text())[0]["scores"]
    assert list(scores) == [WHOLE, "pruning, as few", "ladder", "pruning, again"]
    assert scores["pruning, again"]["params"] != scores[WHOLE]["params"]
    most = 0.9 * scores[WHOLE]["fold_epochs"]
    assert scores[WHOLE]["n_trials"] == 7
    for way in ("pruning, as few", "ladder"):
        assert 0 < scores[way]["fold_epochs"] <= most
        assert scores[way]["params"].keys() == scores[WHOLE]["params"].keys()
    assert scores["pruning, as few"]["loss"] >= scores[WHOLE]["loss"]
    assert scores["ladder"]["n_trials"] > scores["pruning, as few"]["n_trials"]
    assert f"| {tiny.name} |" in capsys.readouterr().out


def test_a_data_set_whose_package_is_missing_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(rules_studies, "PACKAGE", "no-such-package")
    assert strategies_on_data.main(["--data", "diamonds"]) == 1
    assert capsys.readouterr().err.count("diamonds is left out: ") == 1


def compared(data, seed, loss_of_other):
    def score(loss):
        return Score(loss, 0.5, 100, 3, 5, {})

    other = None if loss_of_other is None else score(loss_of_other)
    return Compared(data, seed, {WHOLE: score(2.0), "other": other})


def test_differences_are_counted_in_standard_errors_of_the_whole_search():
    assert [compared("a", 0, loss).errors_worse("other") for loss in (2.5, 1.0)] == [1.0, -2.0]
    assert compared("a", 0, None).errors_worse("other") == float("inf")
    rows = in_words([compared("a", 0, 2.5), compared("a", 1, 3.5), compared("b", 0, 2.0)])
    assert "| a | 2.0000 ± 0.5000 | 100 | 100 | +2.00 ± 1.00 | 1 of 2 |" in rows
    assert "| all |  | 100 | 100 | +1.33 ± 0.88 | 2 of 3 |" in rows


def test_a_way_that_not_all_were_searched_in_is_not_in_the_table():
    one, two = compared("a", 0, 2.5), compared("a", 1, 3.5)
    fewer = replace(two, scores={WHOLE: two.whole})
    assert "other" not in in_words([one, fewer])
    assert "| a | 2.0000 ± 0.5000 | 100 |" in in_words([one, fewer])
