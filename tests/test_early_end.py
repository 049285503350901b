"""The early end: the trials at the top have been the same ones for as long as the study states."""

import json
import subprocess
import sys

import pytest

from pipeline import wording
from pipeline.early_end import EarlyEnd, Top
from pipeline.errors import BadInput, ExitCode, Interrupted
from pipeline.results import Outcome
from pipeline.search import search
from tests.tiny_study import Heard, StopAt, bits, tiny, write_study

N_TRIALS = 12
STATED = 60
PLAIN = "dict(budget=Budget(n_trials={n}, unchanged_fold_epochs={stated}{budget}){more})"
LADDER = (
    ", pruner=None, strategy=Ladder(rungs=(0.25, 0.5, 1), n_finalists=2), "
    'space={"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "max_epochs": 8}'
)


def study(home, *, n=N_TRIALS, stated=STATED, budget="", more=""):
    return tiny(home, fields=PLAIN.format(n=n, stated=stated, budget=budget, more=more))


def test_the_top_is_unchanged_from_when_it_came_to_be():
    top = Top().seen((), 10).seen((4, 2), 30).seen((2, 4), 50)
    assert top == Top((2, 4), 30, 50)
    assert top.n_unchanged == 20
    assert top.seen((2,), 60).n_unchanged == 0
    assert Top.of_plain(json.loads(json.dumps(top.as_plain()))) == top


def test_nothing_at_the_top_is_not_unchanged():
    assert Top().seen((), 10).seen((), 50).n_unchanged == 0


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_database):
    """One search that several tests look at."""
    home, heard = tmp_path_factory.mktemp("searched"), Heard()
    return home, search(study(home), display=heard), heard.lines


def test_a_search_ends_early_and_says_what_was_saved(searched):
    _, result, said = searched
    early = result.early_end
    n_each = [trial.n_fold_epochs for trial in result.trials]
    assert len(result.trials) < N_TRIALS
    assert early.trials == result.evidence.equivalent_trials == (result.best.number,)
    # It is the same one from its own end on.
    assert early.unchanged_fold_epochs == sum(n_each[result.best.number + 1 :])
    assert early.unchanged_fold_epochs - n_each[-1] < STATED <= early.unchanged_fold_epochs
    assert early.saved_trials == N_TRIALS - len(result.trials)
    assert early.saved_fold_epochs == early.saved_trials * (sum(n_each) // len(n_each))
    assert result.budget_over == f"unchanged_fold_epochs={STATED}"
    assert f"ended early: {early.in_words()}" in said
    assert f"saved: {early.saved_trials} trial(s)" in early.in_words()
    decided = json.loads(result.decision_path.read_text())["early_end"]
    assert EarlyEnd.of_plain(decided) == early
    assert ("ended early", early.in_words()) in wording.findings(result)
    assert early.in_words() in result.report_path.read_text()


def test_what_is_saved_is_no_more_than_was_left(searched, home):
    n = searched[1].early_end
    spent = sum(trial.n_fold_epochs for trial in searched[1].trials)
    budget = f", max_fold_epochs={spent + 30}"
    early = search(study(home, budget=budget, more=", refit=Refit(False)")).early_end
    assert early.trials == n.trials
    assert early.saved_fold_epochs == 30
    assert early.saved_trials < n.saved_trials


def test_a_signal_changes_nothing(searched, home):
    with pytest.raises(Interrupted):
        search(study(home), display=StopAt(4, 3))
    result = search(study(home))
    assert bits(result) == bits(searched[1])
    assert result.early_end == searched[1].early_end


def test_a_process_that_dies_before_it_looked_changes_nothing(searched, home, monkeypatch):
    """Its last trial has ended, and the study does not know yet what that means for the top."""

    class DiedError(Exception):
        pass

    looks = []

    def dies(top, trials, n_fold_epochs):
        looks.append(n_fold_epochs)
        if len(looks) == 4:
            raise DiedError
        return seen(top, trials, n_fold_epochs)

    seen = Top.seen
    monkeypatch.setattr(Top, "seen", dies)
    with pytest.raises(DiedError):
        search(study(home))
    result = search(study(home))
    assert bits(result) == bits(searched[1])
    assert result.early_end == searched[1].early_end


def test_a_search_that_ended_early_stays_so_until_the_study_says_otherwise(searched):
    home, result, _ = searched
    again = search(study(home))
    assert bits(again) == bits(result)
    assert again.early_end == result.early_end
    assert search(study(home, n=N_TRIALS + 5)).trials[-1].number == result.trials[-1].number
    on = search(study(home, n=N_TRIALS - 2, stated=10**6))
    assert len(on.trials) == N_TRIALS - 2
    assert on.early_end is None
    assert on.budget_over == ""


def test_a_search_whose_trials_pause_finishes_those_at_the_top(home):
    result = search(study(home, n=60, stated=15, more=LADDER))
    early = result.early_end
    ended = [trial.number for trial in result.trials if trial.outcome is Outcome.COMPLETED]
    assert len(result.trials) < 60
    assert early.unchanged_fold_epochs >= 15
    assert ended == list(early.trials)
    assert len(ended) == 2
    assert {t.outcome for t in result.trials} == {Outcome.COMPLETED, Outcome.PRUNED}
    again = search(study(home, n=60, stated=15, more=LADDER))
    assert bits(again) == bits(result)
    assert again.early_end == early


def test_one_fold_cannot_tell_trials_apart(home):
    spec = study(home, more=", load_data=load_with_validation_set, splitter=None")
    with pytest.raises(BadInput, match="unchanged_fold_epochs must be None with one fold"):
        search(spec)
    with pytest.raises(BadInput, match="unchanged_fold_epochs must be a whole number ≥ 1"):
        study(home, stated=0)


@pytest.mark.long
def test_workers_end_early_together(home):
    path = write_study(home, fields=PLAIN.format(n=40, stated=STATED, budget="", more=""))
    command = [sys.executable, "-m", "pipeline.search", str(path), "--workers", "2", "--json"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    told = json.loads(process.stdout)
    assert told["exit_code"] in (0, int(ExitCode.UNDETERMINED)), process.stderr
    early = EarlyEnd.of_plain(told["decision"]["early_end"])
    assert early.unchanged_fold_epochs >= STATED
    assert sum(told["costs"]["trials"].values()) + early.saved_trials == 40
    assert "ended early: " in process.stderr
