"""--nested: what searching like this is worth, by hand and with real searches inside real folds."""

import dataclasses
import json
import signal
from pathlib import Path

import numpy as np
import pytest

from pipeline import Dataset, nested_search
from pipeline.cli import check_together, search_options
from pipeline.ending import main
from pipeline.errors import BadInput, ExitCode, Interrupted, NoResult
from pipeline.nested import NestedResult, OuterFold, in_words, inner_questions, outer_folds
from pipeline.objective import Objective
from pipeline.question import pose
from pipeline.uncertainty import score_interval
from tests.tiny_study import Heard, StopAt, client, tiny, write_study

FAST = "dict(test_size=0.2, budget=Budget(n_trials=2), splitter=KFold(2, shuffle=True))"


# --- by hand ---


def by_hand(*pairs, metric: str = "val_loss", direction="minimize", **changes) -> NestedResult:
    """Return outer folds of (claimed, on new rows)."""
    fold = OuterFold(0.01, 5, 0.0, 0.0, 40, 20, "", Path("decision.json"))
    folds = [dataclasses.replace(fold, inner_score=i, outer_score=o, **changes) for i, o in pairs]
    objective = Objective(metric, direction)
    return NestedResult("named-0", objective, tuple(folds), 0.5, Path("nested.json"))


def test_the_score_is_the_mean_on_new_rows_with_its_interval():
    result = by_hand((1.0, 1.5), (2.0, 2.25), (3.0, 3.0))
    assert result.score == pytest.approx(2.25)
    assert result.claimed == pytest.approx(2.0)
    assert result.score_interval == score_interval(
        np.array([1.5, 2.25, 3.0]), validation_to_training=0.5
    )


def test_optimism_is_positive_where_claims_were_too_good_in_either_direction():
    loss = by_hand((1.0, 1.5), (2.0, 2.25))
    accuracy = by_hand((0.9, 0.7), (0.8, 0.8), metric="val_accuracy", direction="maximize")
    assert loss.optimism == pytest.approx(0.375)
    assert accuracy.optimism == pytest.approx(0.1)
    assert loss.optimism_interval.low < 0.375 < loss.optimism_interval.high


def test_optimism_is_named_only_where_it_can_be_told_from_none():
    assert "the claims were too good" in in_words(by_hand((1.0, 2.0), (2.0, 3.0)))
    assert "the claims were too bad" in in_words(by_hand((2.0, 1.0), (3.0, 2.0)))
    assert "cannot be told from none" in in_words(by_hand((1.0, 1.5), (2.0, 2.0)))


def test_it_is_told_by_fold_and_as_json():
    result = by_hand((1.0, 1.5), (2.0, 2.25))
    text = in_words(result)
    assert text.startswith("Searching like this is worth val_loss 1.875 on new rows (95% interval ")
    assert "lower is better." in text
    assert "searching and refitting on 40 rows" in text
    plain = json.loads(json.dumps(result.as_plain(), default=str))
    assert (plain["score"], plain["claimed"], plain["optimism"]) == (1.875, 1.5, 0.375)
    assert plain["folds"][1]["outer_score"] == 2.25


def test_an_open_end_inside_leaves_the_whole_undetermined():
    result = by_hand((1.0, 1.5), (2.0, 2.25), open_end="the last epoch is the best")
    assert not result.determined
    assert in_words(result).count("UNDETERMINED") == 2


def test_a_score_that_is_not_finite_has_no_interval():
    result = by_hand((1.0, np.inf), (2.0, 2.25))
    assert result.score_interval is None
    assert in_words(result)


# --- refused before training ---

REFUSED = {
    "one fold": (FAST, 1, "nested must be a whole number of outer folds ≥ 2, got 1"),
    "half a fold": (FAST, 2.5, "nested must be a whole number of outer folds ≥ 2, got 2.5"),
    "no refit": ("dict(refit=Refit(enabled=False))", 3, "refit.enabled is False"),
    "a fixed validation set": (
        "dict(load_data=load_with_validation_set, splitter=None)",
        3,
        "a fixed validation set",
    ),
    "more folds than rows": ("{}", 61, "nested=61, the outer folds: .* got 61 folds of 60 rows"),
    "too few groups": (
        "dict(load_data=lambda: Dataset(*load_data(), groups=np.arange(60) // 20), "
        "splitter=__import__('sklearn').model_selection.GroupKFold(2))",
        4,
        "nested=4, the outer folds: .* greater than the number of groups: 3",
    ),
    "too few members of a class": (
        "dict(load_data=lambda: (load_data()[0], np.arange(60) % 20 // 19))",
        4,
        "nested=4, the outer folds: .* got 4 folds and 3 member",
    ),
    "too few rows inside": (
        "dict(splitter=KFold(41))",
        3,
        "outer fold 1 of 3: .* got 41 folds of 40 rows",
    ),
    "rows in order of time": (
        "dict(splitter=__import__('sklearn').model_selection.TimeSeriesSplit(3))",
        3,
        "draws shuffled outer folds",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_nested_is_refused_before_training(case, tmp_path):
    fields, n_folds, message = REFUSED[case]
    with pytest.raises(BadInput, match=message):
        nested_search(tiny(tmp_path, fields=fields), n_folds)
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize(
    "options", [["--confirm", "2", "--nested", "3"], ["--dry-run", "--nested", "3"]]
)
def test_options_that_do_not_go_together_are_refused(options, tmp_path, capsys):
    arguments = search_options([str(write_study(tmp_path)), *options])
    with pytest.raises(BadInput, match="one at a time, got"):
        check_together(arguments)
    assert main("pipeline.search", arguments) == ExitCode.BAD_INPUT
    assert "error: of --confirm, --nested, --dry-run and --range-test" in capsys.readouterr().err


# --- real ones ---


def test_inner_searches_never_see_their_outer_fold_nor_the_test_rows(tmp_path):
    question = pose(tiny(tmp_path, fields=FAST))
    outer = outer_folds(question, 3)
    inner = inner_questions(question, outer)
    rows = question.development.x.tolist()
    assert sorted(x for each in inner for x in each.test.x.tolist()) == sorted(rows)
    for each in inner:
        seen, kept = each.development.x.tolist(), each.test.x.tolist()
        assert not [x for x in kept if x in seen]
        assert sorted(seen + kept) == sorted(rows)
    assert len({each.signature for each in inner}) == 3
    assert {each.spec.name for each in inner} == {"tiny-nested"}


def test_groups_stay_together_and_classes_are_spread(tmp_path):
    question = pose(tiny(tmp_path))
    groups = np.arange(60) // 5
    of_groups = dataclasses.replace(
        question, development=Dataset(question.development.x, question.development.y, groups=groups)
    )
    for fold in outer_folds(of_groups, 3):
        assert not set(groups[fold.train]) & set(groups[fold.validation])
    y = question.development.y
    shares = [y[fold.validation].mean() for fold in outer_folds(question, 3)]
    assert max(shares) - min(shares) <= 1 / 20


@pytest.fixture(scope="module")
def refereed(tmp_path_factory, migrated_database):
    """One nested run that several tests look at."""
    home = tmp_path_factory.mktemp("refereed")
    heard = Heard()
    return home, nested_search(tiny(home, fields=FAST), 2, display=heard), heard


def values(result: NestedResult) -> list:
    """Return what must not depend on when, where or how often it was run."""
    return [dataclasses.replace(fold, decision_path=Path()) for fold in result.folds]


def test_each_outer_fold_is_a_search_scored_once_on_rows_it_never_saw(refereed):
    home, result, heard = refereed
    assert [fold.n_rows for fold in result.folds] == [24, 24]
    for fold in result.folds:
        decision = json.loads(fold.decision_path.read_text())
        assert fold.learning_rate == decision["learning_rate"]
        assert fold.inner_score == decision["score"]
        assert fold.outer_score == decision["refit"]["test_metrics"]["loss"]
    written = json.loads(result.path.read_text())
    assert result.path.parent.name == result.study
    assert written["score"] == np.mean([fold.outer_score for fold in result.folds])
    assert [fold["n_epochs"] for fold in written["folds"]] == [f.n_epochs for f in result.folds]
    store = client(home)
    experiment = store.get_experiment_by_name("tiny-nested")
    tops = store.search_runs([experiment.experiment_id], "tags.best_trial LIKE '%'")
    assert len(tops) == 2
    assert store.get_experiment_by_name("tiny") is None
    assert len([line for line in heard.lines if line.startswith("outer fold")]) == 2


def test_the_same_command_again_trains_nothing_and_says_the_same(refereed):
    home, result, _ = refereed
    heard = Heard()
    again = nested_search(tiny(home, fields=FAST), 2, display=heard)
    assert again == result
    assert not [line for line in heard.lines if "…" in line]


@pytest.mark.long
def test_interrupted_in_its_second_fold_it_continues_to_the_same_bits(refereed, home):
    class StopInSecond(StopAt):
        def __init__(self):
            super().__init__(-2, -2, signal.SIGTERM)

        def say(self, line):
            if line.startswith("outer fold 2"):
                self.at = (1, 2)

    spec = tiny(home, fields=FAST)
    with pytest.raises(Interrupted, match=r"outer fold 2 of 2: .*the same command continues"):
        nested_search(spec, 2, display=StopInSecond())
    assert len(list(home.glob("mlruns/studies/tiny-nested-*/decision.json"))) == 1
    assert not list(home.glob("mlruns/studies/*/nested.json"))
    assert values(nested_search(spec, 2)) == values(refereed[1])


def test_a_search_without_an_answer_names_its_fold(home):
    fields = "dict(budget=Budget(n_trials=2, timeout_secs=1e-6))"
    with pytest.raises(NoResult, match="outer fold 1 of 2: the budget ended before"):
        nested_search(tiny(home, fields=fields), 2)
