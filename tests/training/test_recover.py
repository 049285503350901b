"""The best trial's models at the chosen epoch: from a snapshot or trained again, the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.curves import FoldCurves
from pipeline.folds import Folds
from pipeline.results import Outcome, TrialResult
from pipeline.training import Kept, advance_to, restore, say_if_not_repeated, write_fold_models
from tests.training.models import advanced, case, with_every_state


class Search:
    """A study with one finished trial of three epochs."""

    def __init__(self, mode):
        self.case = case(with_every_state)
        self.engine = self.case.engine(mode)
        self.folds = Folds(self.case.folds, self.case.data.n_rows)
        training = self.case.training(self.engine)
        self.snapshots = {}
        for _ in range(3):
            training.advance()
            self.snapshots[training.n_epochs] = training.snapshot()
        curves = FoldCurves(training.history("val_loss"), self.case.spec.objective)
        self.best = TrialResult(4, self.case.params, Outcome.COMPLETED, curves, 1.0, 18)
        self.said: list[str] = []

    def states_at(self, n_epochs, kept, best=None):
        lockstep = self.case.training(self.engine)
        restore(lockstep, kept, n_epochs=n_epochs)
        advance_to(n_epochs, lockstep)
        curves = (best or self.best).curves
        assert curves is not None
        say_if_not_repeated(curves, lockstep.history("val_loss"), say=self.said.append)
        return lockstep


@pytest.fixture(scope="module", params=["plain", "stream"])
def search(request):
    return Search(request.param)


@pytest.fixture(autouse=True)
def nothing_said_yet(search):
    search.said.clear()


@pytest.mark.parametrize("kept_at", [None, 1, 2, 3])
def test_every_way_to_an_epoch_gives_the_same_states(search, kept_at):
    kept = kept_at and Kept(search.case.params, search.snapshots[kept_at])
    training = search.states_at(2, kept)
    assert training.n_epochs == 2
    for fold, state in search.snapshots[2].states.items():
        for ours, theirs in zip(training.states[fold], state, strict=True):
            np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    assert search.said == []


def test_a_snapshot_at_the_epoch_trains_nothing(search, monkeypatch):
    program = search.engine.program(search.best.params)
    monkeypatch.setattr(type(program), "run_epoch", None)
    assert search.states_at(2, Kept(search.case.params, search.snapshots[2])).n_epochs == 2


def test_another_trials_snapshot_is_not_used(search):
    other = advanced(search.case.training(search.engine, learning_rate=0.5), 2).snapshot()
    training = search.states_at(2, Kept({**search.case.params, "learning_rate": 0.5}, other))
    np.testing.assert_array_equal(training.history("val_loss"), search.best.curves.values[:, :2])


def test_a_curve_that_does_not_repeat_is_said(search):
    curves = search.best.curves
    moved = replace(search.best, curves=FoldCurves(curves.values + 0.25, curves.objective))
    search.states_at(2, None, moved)
    assert len(search.said) == 1
    assert "differs from its record by up to 0.25" in search.said[0]


def test_fold_models_are_written_with_their_out_of_fold_predictions(search, tmp_path):
    case_, training = search.case, search.states_at(2, None)
    folder = write_fold_models(tmp_path / "folds", training, search.folds, case_.data)
    table = np.load(folder / "out_of_fold.npz")
    assert sorted(table["row"]) == list(range(44))  # KFold validates every row once
    np.testing.assert_array_equal(table["label"], case_.data.y[table["row"]])
    for fold in case_.folds:
        mine = table["fold"] == fold.index
        np.testing.assert_array_equal(table["row"][mine], fold.validation)
        model = case_.spec.build_model(case_.params)
        with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
            model.load_weights(folder / f"fold_{fold.index}.weights.h5")
        x = case_.data.x[fold.validation]
        np.testing.assert_allclose(
            table["prediction"][mine], model.predict(x, verbose=0), rtol=1e-5
        )
        accuracy = (table["prediction"][mine].argmax(1) == table["label"][mine]).mean()
        logged = training.history("val_accuracy")[fold.index, -1]
        assert accuracy == pytest.approx(logged)  # the averaged weights, as they were validated
