"""Last night's best trials are the first of tonight's search, and its answer is looked at again."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from pipeline import warm_start, wording
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, Interrupted
from pipeline.evidence import equivalent_trials
from pipeline.objective import Objective
from pipeline.results import Evidence, Outcome, TrialResult
from pipeline.search import search
from tests.tiny_study import Heard, StopAt, bits, tiny

NEW_DATA = "load_data=lambda: tuple(array[:54] for array in load_data())"


@pytest.fixture(scope="module")
def last_night(tmp_path_factory, migrated_database):
    home = tmp_path_factory.mktemp("last_night")
    return home, search(tiny(home))


@pytest.fixture
def tonight(last_night, tmp_path):
    return shutil.copytree(last_night[0], tmp_path / "tonight")


@pytest.fixture(scope="module")
def warm(last_night, tmp_path_factory):
    """Tonight's search, begun with two trials of last night's."""
    home = shutil.copytree(last_night[0], tmp_path_factory.mktemp("warm") / "home")
    heard = Heard()
    return search(tiny(home, fields=f"dict({NEW_DATA})"), n_warm_trials=2, display=heard), heard


def ranked(result):
    return sorted(result.trials, key=lambda trial: trial.value)


def test_the_best_trials_are_tried_first(last_night, warm):
    _, before = last_night
    result, heard = warm
    first = [trial.params for trial in ranked(before)[:2]]
    assert [trial.params for trial in result.trials[:2]] == first
    assert len(result.trials) == 3
    name = before.decision_path.parent.name
    assert f"warm start: 2 trial(s) of {name} first" in heard.lines


def test_the_decision_says_whether_the_answer_moved(last_night, warm):
    _, before = last_night
    result, _ = warm
    written = json.loads(result.decision_path.read_text())["warm_start"]
    assert written["from"] == before.decision_path.parent.name
    assert written["enqueued"] == 2
    assert written["previous"] == {
        "learning_rate": before.best.params["learning_rate"],
        "n_epochs": before.choice.n_epochs,
        "score": before.choice.score,
    }
    assert isinstance(written["moved"], bool)
    line = next(line for line in wording.answer(result).splitlines() if "last time" in line)
    rate = before.best.params["learning_rate"]
    assert f"learning rate {rate:.3g} for {before.choice.n_epochs} epochs" in line
    assert ("not moved: " in line) is not written["moved"]


@pytest.mark.parametrize(
    "at",
    [
        pytest.param((0, 2), marks=pytest.mark.long),
        (1, 1),
        pytest.param((2, 2), marks=pytest.mark.long),
    ],
)
def test_a_warm_search_that_was_killed_continues_to_the_same_bits(warm, tonight, at):
    """The second command need not even ask for a warm start again."""
    spec = tiny(tonight, fields=f"dict({NEW_DATA})")
    with pytest.raises(Interrupted):
        search(spec, n_warm_trials=2, display=StopAt(*at))
    result = search(spec)
    assert bits(result) == bits(warm[0])
    assert result.warm_start == warm[0].warm_start


def test_the_same_data_go_on_with_the_same_study(tonight, last_night):
    heard = Heard()
    result = search(tiny(tonight), n_warm_trials=2, display=heard)
    assert "the study goes on with its 3 trial(s): no warm start" in heard.lines
    assert result.warm_start is None
    assert bits(result) == bits(last_night[1])


def test_what_is_outside_of_the_new_space_is_left_out(tonight, last_night):
    _, before = last_night
    best = ranked(before)[0]
    rate = best.params["learning_rate"]
    space = f"""space={{
        "learning_rate": FloatDistribution(1e-3, {rate * 0.99}, log=True),
        "max_epochs": IntDistribution(3, 6)}}"""
    heard = Heard()
    fields = f"dict({space}, budget=Budget(n_trials=1))"
    result = search(tiny(tonight, fields=fields), n_warm_trials=5, display=heard)
    left_out = [line for line in heard.lines if line.startswith("left out trial ")]
    assert left_out[0].startswith(f"left out trial {best.number} of tiny-")
    assert f"learning_rate={rate!r} is not in FloatDistribution" in left_out[0]
    assert result.warm_start.n_enqueued == 3 - len(left_out)
    assert result.warm_start.moved
    assert result.warm_start.reason == "its parameters lie outside the space of today"


def test_without_an_earlier_study_the_start_is_cold(home):
    heard = Heard()
    spec = tiny(home, fields="dict(budget=Budget(n_trials=1))")
    result = search(spec, n_warm_trials=3, display=heard)
    assert "no earlier study 'tiny' with trials to begin from: a cold start" in heard.lines
    assert result.warm_start is None
    assert json.loads(result.decision_path.read_text())["warm_start"] is None


@pytest.mark.long
def test_an_earlier_study_whose_trials_are_gone_is_passed_over(tonight, last_night):
    name = last_night[1].decision_path.parent.name
    (tonight / "mlruns" / "studies" / name / "journal.log").unlink()
    heard = Heard()
    fields = f"dict({NEW_DATA}, budget=Budget(n_trials=1))"
    search(tiny(tonight, fields=fields), n_warm_trials=3, display=heard)
    assert any(line.startswith(f"no warm start from {name}: ") for line in heard.lines)
    # Looking for it must not make it anew: `maintain clean` would take it for the latest study.
    assert not (tonight / "mlruns" / "studies" / name / "journal.log").exists()


def test_a_number_below_zero_is_refused(home):
    with pytest.raises(BadInput, match="n_warm_trials must be ≥ 0, got -1"):
        search(tiny(home), n_warm_trials=-1)


def trial(number, means, *, outcome=Outcome.COMPLETED, n_folds=5):
    """Return a trial whose folds differ by far less than its epochs do."""
    noise = np.random.default_rng(number).normal(0, 0.01, (n_folds, len(means)))
    curves = FoldCurves(np.array([means] * n_folds) + noise, Objective())
    params = {"learning_rate": 0.1, "max_epochs": len(means)}
    return TrialResult(number, params, outcome, curves, 1.0, 10)


def moved(n_epochs, again, best):
    """Return whether an answer of `n_epochs` moved; `again` is trial 0, its parameters."""
    contenders = [best] if again in (best,) or again.value is None else [best, again]
    evidence = Evidence((1,), equivalent_trials(contenders), None, None, None, None, 40)
    record = {
        "from": "digits-0a1b2c3d4e5f",
        "previous": {"learning_rate": 0.1, "n_epochs": n_epochs, "score": 1.0},
        "params": [{}],
        "answer_first": True,
    }
    study = type("Study", (), {"user_attrs": {"warm_start": record}})
    return warm_start.compared(study, best, [again, best], evidence)


GOOD, BAD = [3.0, 1.0, 1.0, 2.0], [4.0, 3.0, 3.0, 3.0]


def test_the_same_answer_has_not_moved():
    best = trial(0, GOOD)
    assert moved(2, best, best).moved is False
    assert moved(3, trial(0, GOOD), trial(1, GOOD)).moved is False


def test_other_epochs_have_moved():
    found = moved(4, trial(0, GOOD), trial(1, GOOD))
    assert found.moved is True
    assert "it is best after" in found.reason


def test_worse_parameters_have_moved():
    found = moved(2, trial(0, BAD), trial(1, GOOD))
    assert found.moved is True
    assert found.reason.endswith("worse than trial 1")


def test_pruned_parameters_have_moved():
    assert moved(2, trial(0, BAD, outcome=Outcome.PRUNED), trial(1, GOOD)).moved is True


def test_what_cannot_be_compared_is_said():
    assert moved(2, trial(0, GOOD, n_folds=1), trial(1, GOOD, n_folds=1)).moved is None
    assert moved(2, trial(0, GOOD, outcome=Outcome.FAILED), trial(1, GOOD)).moved is None


def test_an_answer_chosen_past_the_trial_is_compared_with_its_end():
    assert moved(9, trial(0, GOOD[:3]), trial(1, GOOD)).moved is False


def test_a_whole_schedule_is_compared_with_its_horizon():
    again, best = (dataclasses.replace(trial(n, [3.0, 2.0, 1.0]), any_epoch=False) for n in (0, 1))
    assert moved(3, again, best).moved is False
    assert moved(5, again, best).moved is True
