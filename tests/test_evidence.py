"""How sure the answer is: gathered from curves and from rows, and what is said where it is not."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline import out_of_fold
from pipeline.choice import BestOfMean
from pipeline.curves import FoldCurves
from pipeline.evidence import equivalent_epochs, equivalent_trials, gathered
from pipeline.folds import Fold, Folds
from pipeline.objective import Objective
from pipeline.results import Evidence, Outcome, TrialResult

ROWS = np.arange(40)
FOLDS = Folds(tuple(Fold(k, ROWS[k != ROWS % 4], ROWS[k == ROWS % 4]) for k in range(4)), 40)


def row_losses(seed=0, best=3):
    """Return four folds' losses [10, 6], lowest at epoch `best`."""
    rng = np.random.default_rng(seed)
    mean = (np.arange(1, 7) - best) ** 2 / 4
    return [mean + 1 + rng.normal(0, 0.2, (10, 1)) + rng.normal(0, 0.1, (10, 6)) for _ in FOLDS]


def trial(number=0, seed=0, best=3, any_epoch=True, outcome=Outcome.COMPLETED, worse=0.0):
    rows = row_losses(seed, best)
    values = np.stack([losses.mean(axis=0) for losses in rows]) + worse
    params = {"learning_rate": 0.1, "max_epochs": 6}
    curves = FoldCurves(values, Objective())
    return TrialResult(number, params, outcome, curves, 1.0, 6, any_epoch=any_epoch)


@pytest.fixture
def question(tmp_path):
    spec = SimpleNamespace(seed=0, rule=BestOfMean(), objective=Objective())
    return SimpleNamespace(folder=tmp_path, folds=FOLDS, spec=spec)


def evidence_for(question, winner, trials, rows) -> Evidence:
    choice = BestOfMean().choose(winner.curves, winner.horizon)
    return gathered(choice, winner, trials, question, row_losses=rows)


def test_it_is_gathered_from_folds_and_rows(question):
    trials = [trial(0), trial(1, seed=1, worse=2.0), trial(2, seed=2)]
    for each in trials:
        out_of_fold.keep(question, each, row_losses(each.number))
    pruned = trial(3, outcome=Outcome.PRUNED)
    found = evidence_for(question, trials[0], [*trials, pruned], row_losses(0))
    assert 3 in found.equivalent_epochs
    assert 6 not in found.equivalent_epochs
    assert found.equivalent_trials == (0, 2)
    assert found.score is not None
    assert trials[0].value in found.score
    assert found.resampled_epochs is not None
    assert found.resampled_epochs.low <= 3 <= found.resampled_epochs.high
    assert found.epochs_optimism is not None
    assert found.epochs_optimism >= 0
    assert found.corrected_score is not None
    # Near the best trials' losses, far from the trial that is worse by 2.
    assert found.corrected_score == pytest.approx(trials[0].value, abs=0.1)
    assert found.n_training_rows == 30


def test_without_row_losses_what_needs_them_is_missing(question):
    found = evidence_for(question, trial(0), [trial(0)], None)
    assert found.resampled_epochs is None
    assert found.corrected_score is None
    assert found.score is not None


def test_one_trial_without_row_losses_leaves_the_correction_out(question):
    found = evidence_for(question, trial(0), [trial(0), trial(1)], row_losses(0))
    assert found.corrected_score is None
    assert found.resampled_epochs is not None


def test_an_annealed_winner_has_one_epoch_and_no_choice_among_them(question):
    annealed = trial(0, any_epoch=False)
    found = gathered(
        BestOfMean().choose(annealed.curves, 6), annealed, [annealed], question,
        row_losses=row_losses(0),
    )  # fmt: skip
    assert found.resampled_epochs is None
    assert found.epochs_optimism is None
    assert len(found.equivalent_epochs) == 1


def test_one_fold_has_its_best_and_nothing_else():
    curves = FoldCurves(np.array([[3.0, 1.0, 2.0, 1.0]]), Objective())
    assert equivalent_epochs(curves) == (2, 4)
    best = TrialResult(0, {"max_epochs": 4}, Outcome.COMPLETED, curves, 1.0, 4)
    assert equivalent_trials([best]) is None


def test_a_maximised_metric_has_the_set_of_its_mirror_image():
    values = trial(0).curves.values
    up = FoldCurves(-values, Objective("val_accuracy", "maximize"))
    assert equivalent_epochs(up) == equivalent_epochs(FoldCurves(values, Objective()))


@pytest.mark.parametrize(
    ("epochs", "score", "words"),
    [((3,), True, ""), ((3, 4, 5, 6), True, "67% of the 6"), ((3,), None, "one fold cannot say")],
)
def test_what_the_data_cannot_decide_is_said(question, epochs, score, words):
    interval = evidence_for(question, trial(0), [trial(0)], None).score if score else None
    found = Evidence(epochs, (0,), interval, None, None, None, 30)
    said = found.undecided(6)
    assert words in said if words else said == ""


def test_row_losses_have_the_folds_mean_when_the_loss_holds_a_penalty():
    curves = trial(0, worse=0.5).curves
    moved = out_of_fold.as_in(curves, row_losses(0))
    np.testing.assert_allclose([m.mean(axis=0) for m in moved], curves.values, rtol=1e-6)
    assert out_of_fold.as_in(curves, None) is None


def test_candidates_are_every_trial_at_every_epoch_it_may_be_chosen_at(question):
    whole, annealed = trial(0), trial(1, seed=1, any_epoch=False)
    out_of_fold.keep(question, annealed, row_losses(1))
    found = out_of_fold.of_candidates(question, [whole, annealed], row_losses(0))
    assert found is not None
    assert found.shape == (40, 6 + 1)
    np.testing.assert_allclose(found[FOLDS[2].validation, :6], row_losses(0)[2], rtol=1e-6)
    np.testing.assert_allclose(found[FOLDS[1].validation, 6], row_losses(1)[1][:, -1], rtol=1e-6)


def test_rows_that_no_fold_validates_are_nan_and_repeats_are_averaged(question):
    twice = Folds((Fold(0, ROWS[10:], ROWS[:10]), Fold(1, ROWS[20:], ROWS[:10])), 40)
    question.folds = twice
    rows = [np.ones((10, 2)), np.full((10, 2), 3.0)]
    found = out_of_fold.of_candidates(question, [trial(0)], rows)
    assert found is not None
    assert (found[:10] == 2).all()
    assert np.isnan(found[10:]).all()


def test_too_many_losses_are_not_gathered(question, monkeypatch):
    monkeypatch.setattr(out_of_fold, "MAX_VALUES", 100)
    out_of_fold.keep(question, trial(1), row_losses(1))
    assert out_of_fold.of_candidates(question, [trial(0), trial(1)], row_losses(0)) is None


def test_the_winners_losses_come_back_as_they_were(question):
    moved = out_of_fold.as_in(trial(0).curves, row_losses(0))
    assert out_of_fold.of_winner(question) is None
    out_of_fold.keep_winner(question, moved)
    again = out_of_fold.of_winner(question)
    assert moved is not None
    assert again is not None
    for before, after in zip(moved, again, strict=True):
        np.testing.assert_array_equal(before, after)
    out_of_fold.keep_winner(question, None)
    assert out_of_fold.of_winner(question) is None
