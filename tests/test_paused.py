"""Which paused trials' states are dropped, and how such trials end: with a session made by hand."""

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pipeline import asking
from pipeline.asking import ENDED
from pipeline.budget import Budget
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.paused import drop_states_of_the_last, end_paused
from pipeline.results import Outcome, TrialResult, trial_name
from pipeline.strategy import Ladder
from tests.tiny_study import Heard

PARAMS = {"learning_rate": 0.1, "max_epochs": 8}


def paused(number: int) -> TrialResult:
    curves = FoldCurves(np.ones((1, 2)), Objective())
    return TrialResult(number, PARAMS, Outcome.PAUSED, curves, 1.0, 4, "paused after epoch 2")


class Made:
    """A session of which trials 0 to 3 are paused; 0 is next in line."""

    def __init__(self, taken=()) -> None:
        self.stop = False
        self.display = Heard()
        self.taken, self.kept = set(taken), {trial_name(n) for n in range(4)}
        self.done: list[Any] = []
        self.claims = SimpleNamespace(asking=self.asking, is_taken=self.taken.__contains__)
        self.snapshots = SimpleNamespace(has=self.kept.__contains__, drop=self.drop)
        self.climbs = SimpleNamespace(in_line=lambda is_taken: {0}, end=self.end)
        self.run = SimpleNamespace(flush=lambda: self.done.append("flush"))
        self.study = SimpleNamespace(set_user_attr=self.note, user_attrs={}, get_trials=self.begun)
        self.spec = SimpleNamespace(budget=Budget(), pausing=Ladder())
        self.is_asking = self.has_ended = False

    @contextmanager
    def asking(self):
        self.is_asking = True
        yield
        self.is_asking = False

    def begun(self, **_: Any):
        return self.at_rest()

    def at_rest(self):
        return [paused(number) for number in range(4)]

    def drop(self, name):
        assert self.is_asking
        self.kept.discard(name)

    def end_run(self, trial):
        self.done.append(("run", trial.number))

    def end(self, trial):
        assert self.has_ended
        assert trial.outcome is Outcome.PRUNED
        self.done.append(("end", trial.number))

    def note(self, key, value):
        assert key == ENDED
        self.has_ended = True


def test_states_of_trials_that_others_are_at_stay():
    session = Made(taken={2})
    drop_states_of_the_last(cast(Any, session))
    assert session.kept == {trial_name(0), trial_name(2)}
    assert [line.split()[1] for line in session.display.lines] == ["1", "3"]


@pytest.fixture(autouse=True)
def _never_exhausted(monkeypatch):
    monkeypatch.setattr(asking.optimization, "exhausted", lambda study, spec: False)


def test_all_end_in_mlflow_first_then_it_is_noted_that_they_end():
    session = Made()
    end_paused(cast(Any, session))
    runs, ends = ([(what, number) for number in range(4)] for what in ("run", "end"))
    assert session.done == [*runs, "flush", *ends]
    assert session.display.lines == ["4 trial(s) that were paused are not trained further"]


@pytest.mark.parametrize("left_alone", [{"taken": {1}}, {}])
def test_none_ends_while_others_are_at_work_or_after_a_signal(left_alone):
    session = Made(**left_alone)
    session.stop = not left_alone
    end_paused(cast(Any, session))
    assert session.done == []
