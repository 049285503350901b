"""--confirm: plans of seeds and splits, and whole searches whose best trials meet again."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import KFold, LeaveOneOut, RepeatedKFold, ShuffleSplit

from pipeline.cli import report_options
from pipeline.confirm import FIRST, N_NEW_SPLITS, N_SEEDS, Plan, _Kept
from pipeline.confirmation import ConfirmedTrial
from pipeline.data import Dataset
from pipeline.ending import main
from pipeline.errors import BadInput, Interrupted, StudyFailed
from pipeline.folds import split
from pipeline.question import Question
from pipeline.results import ranked
from pipeline.search import search
from pipeline.spec import StudySpec
from tests.tiny_study import Heard, bits, client, runs_of, tiny

ROWS = Dataset(np.arange(24.0)[:, None], np.arange(24.0))


def question_of(splitter, data: Dataset = ROWS) -> Question:
    spec = StudySpec(
        name="named",
        load_data=lambda: data,
        build_model=lambda params: params,
        space={"learning_rate": 0.1, "max_epochs": 5},
        splitter=splitter,
    )
    return Question(spec, data, None, split(data, splitter, spec.seed), "", "", "", Path())


def rows_of(folds) -> list:
    return [(fold.train.tolist(), fold.validation.tolist()) for fold in folds]


def test_new_splits_are_others_than_the_studys_and_the_same_each_time():
    question = question_of(KFold(3, shuffle=True))
    plan = Plan.of(2, question)
    assert (plan.n_splits, plan.n_repeats, len(plan.folds)) == (2, 2, 6)
    validation = [tuple(fold.validation) for fold in (*question.folds, *plan.folds)]
    assert len(set(validation)) == 9
    assert rows_of(Plan.of(2, question).folds) == rows_of(plan.folds)
    assert plan.folds.n_repeats == N_NEW_SPLITS


def test_repeats_of_a_repeated_splitter_count_as_draws():
    assert Plan.of(1, question_of(RepeatedKFold(n_splits=3, n_repeats=2))).n_repeats == 4
    assert Plan.of(1, question_of(ShuffleSplit(3))).n_repeats == 2


FIXED = Dataset(ROWS.x, ROWS.y, validation_rows=np.arange(6))


@pytest.mark.parametrize(
    ("splitter", "data", "n_folds"),
    [
        (KFold(3, shuffle=True, random_state=1), ROWS, 3),
        (KFold(3), ROWS, 3),
        (LeaveOneOut(), ROWS, 24),
        (None, FIXED, 1),
    ],
    ids=["fixed random_state", "no shuffling", "no choice", "fixed validation set"],
)
def test_a_splitter_that_draws_the_same_again_leaves_the_studys_own_folds(splitter, data, n_folds):
    question = question_of(splitter, data)
    plan = Plan.of(1, question)
    assert plan.n_splits == 0
    assert rows_of(plan.folds) == rows_of(question.folds)
    assert f"the study's own {n_folds} fold(s): its splitter has no others" in plan.where


def test_seeds_are_crossed_with_folds_and_none_is_the_studys():
    plan = Plan.of(1, question_of(KFold(3, shuffle=True)))
    cells = plan.crossed
    assert len(cells) == N_SEEDS * 6
    assert len({fold.index for fold in cells}) == len(cells)
    assert [fold.start for fold in cells] == [FIRST + seed for seed in range(3) for _ in range(6)]
    for seed in range(N_SEEDS):
        assert rows_of(cells[6 * seed : 6 * seed + 6]) == rows_of(plan.folds)


@pytest.mark.parametrize("n_trials", [0, -1, 1.5, True, "3"])
def test_what_is_no_number_of_trials_is_refused_before_training(n_trials, tmp_path):
    with pytest.raises(BadInput, match="confirm must be a whole number of trials ≥ 1, got"):
        search(tiny(tmp_path), confirm=n_trials)
    assert not (tmp_path / "mlruns").exists()


class StopAtLine(Heard):
    """Sends this process a signal when a line is said."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self.start = start

    def say(self, line):
        super().say(line)
        if line.startswith(self.start):
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory, migrated_database):
    """One confirmed search that several tests look at."""
    home = tmp_path_factory.mktemp("confirmed")
    heard = Heard()
    return home, search(tiny(home), confirm=2, display=heard), heard


def scores(result) -> list:
    return [(t.number, t.n_epochs, t.scores.tolist()) for t in result.confirmation.trials]


def test_the_best_trials_meet_again_and_the_better_mean_is_the_winner(confirmed):
    _, result, heard = confirmed
    first, second = ranked(result.trials, result.spec.objective)[:2]
    met = result.confirmation.trials
    assert [(t.number, t.n_epochs) for t in met] == [
        (first.number, first.best_n_epochs),
        (second.number, second.best_n_epochs),
    ]
    assert {t.scores.shape for t in met} == {(3, 6)}
    assert result.best.number == min(met, key=lambda t: t.mean).number
    assert len({float(score) for t in met for score in t.scores.ravel()}) == 2 * 18
    assert result.n_extra_fold_epochs >= 18 * (met[0].n_epochs + met[1].n_epochs)
    assert "the best 2 trial(s) meet again on 3 seeds × 6 new folds …" in heard.lines


def test_the_confirmation_is_in_the_decision_and_in_the_run(confirmed):
    home, result, _ = confirmed
    plain = json.loads(result.decision_path.read_text())["confirmation"]
    assert plain["winner"] == result.best.number
    assert len(plain["trials"]) == 2
    run = client(home).get_run(runs_of(home)[0].info.run_id).data
    assert run.metrics["confirmed_val_loss"] == pytest.approx(result.confirmation.winner.mean)
    assert run.metrics["variance_fold"] == pytest.approx(plain["variance"]["fold"]["estimate"])
    assert run.tags["confirmed_trials"] == ", ".join(str(t["trial"]) for t in plain["trials"])


def test_a_report_says_so_too(confirmed, capsys):
    home, result, _ = confirmed
    options = report_options([str(home / "studies" / "tiny.py"), "--json"])
    main("pipeline.report", options)
    reported = json.loads(capsys.readouterr().out)["decision"]
    written = json.loads(result.decision_path.read_text())
    assert reported["confirmation"] == written["confirmation"]
    assert reported["fold_epochs"] == written["fold_epochs"]


def test_a_repeated_command_trains_nothing_and_one_more_trial_trains_one(confirmed):
    home, result, _ = confirmed
    heard = Heard()
    again = search(tiny(home), confirm=2, display=heard)
    assert bits(again) == bits(result)
    assert scores(again) == scores(result)
    assert not [line for line in heard.lines if "again" in line]
    three = search(tiny(home), confirm=3, display=heard)
    assert scores(three)[:2] == scores(result)
    assert len([line for line in heard.lines if line.startswith("trial") and "again" in line]) == 1


@pytest.mark.long
def test_interrupted_between_two_trials_it_continues_to_the_same_bits(confirmed, home):
    spec, stop = tiny(home), StopAtLine("trial")
    with pytest.raises(Interrupted, match="the same command continues"):
        search(spec, confirm=2, display=stop)
    kept = json.loads(next(home.glob("mlruns/studies/*/confirmation.json")).read_text())
    assert len(kept["trials"]) == 1
    again = search(spec, confirm=2)
    assert scores(again) == scores(confirmed[1])
    assert bits(again) == bits(confirmed[1])


def test_without_time_it_is_dropped_with_a_line(confirmed):
    home, _, _ = confirmed
    heard = Heard()
    fields = "dict(seed=1, budget=Budget(n_trials=1, timeout_secs=1e-6))"
    search(tiny(home, fields="dict(seed=1, budget=Budget(n_trials=1))"))
    result = search(tiny(home, fields=fields), confirm=1, display=heard)
    assert result.confirmation is None
    assert "not confirmed: the budget's time is over; the same command goes on" in heard.lines


def test_where_every_trial_diverges_the_searchs_best_stands(confirmed, monkeypatch):
    home, result, _ = confirmed
    nothing = np.full((3, 6), np.nan)
    monkeypatch.setattr(_Kept, "of", lambda self, t: ConfirmedTrial(t.number, 1, 1, nothing))
    heard = Heard()
    again = search(tiny(home), confirm=2, display=heard)
    assert again.confirmation is None
    assert again.best.number == ranked(result.trials, result.spec.objective)[0].number
    assert "not confirmed: every trial diverged; the search's best stands" in heard.lines


@pytest.mark.long
def test_a_whole_schedule_is_confirmed_on_the_studys_own_folds_where_there_are_no_others(home):
    fields = """dict(schedule=Cosine(), splitter=KFold(3, shuffle=True, random_state=1),
        space=dict(learning_rate=0.01, max_epochs=3), budget=Budget(n_trials=1))"""
    result = search(tiny(home, fields=fields), confirm=2)
    (met,) = result.confirmation.trials
    assert met.n_epochs == 3
    assert met.scores.shape == (3, 3)
    assert result.confirmation.n_new_splits == 0
    assert result.confirmation.differences == {}


@pytest.mark.long
def test_what_needs_too_much_memory_is_said_and_the_search_stands(home, monkeypatch):
    def too_much(training):
        raise MemoryError("for so many folds")

    spec = tiny(home, fields="dict(budget=Budget(n_trials=1))")
    search(spec)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.training.lockstep.LockstepTraining.advance", too_much)
        with pytest.raises(StudyFailed, match=r"could not meet again .*MemoryError: for so many"):
            search(spec, confirm=1)
    assert search(spec, confirm=1).confirmation is not None
