"""The final fit: deterministic, on all rows, and it takes raw rows."""

from __future__ import annotations

import joblib
import keras
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from pipeline.folds import Fold
from pipeline.schedules import Cosine
from pipeline.training import FittedModel, Mode, Setup, fit_on_all_rows
from pipeline.training.fitted import Member
from tests.training.fit import fit
from tests.training.models import Case, case, dropout, with_every_state


def refit(case: Case, mode: Mode = "plain") -> FittedModel:
    number = len(case.folds)
    return fit_on_all_rows(
        case.spec, case.data, case.params, n_epochs=2, folds=[number], setup=Setup(mode)
    )


def test_it_is_fit_on_all_rows_stopped_within_the_horizon(mode):
    case_ = case(dropout, schedule=Cosine(), max_epochs=5)
    fitted = refit(case_, mode)
    rows = np.arange(case_.data.n_rows)

    def rate(fold, epochs, update):
        return 0.05 * (1 + np.cos(np.pi * (epochs + update / 6) / 5)) / 2

    reference = fit(case_, Fold(len(case_.folds), rows, rows[:0]), 2, rates=rate)
    for ours, theirs in zip(fitted.members[0].model.weights, reference.model.weights, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    assert fitted.n_updates == 2 * 6  # epochs × ceil(44 / 8)


def test_it_repeats_itself_and_takes_raw_rows_also_when_it_is_loaded(tmp_path):
    case_ = case(with_every_state, preprocess=StandardScaler())
    first, again = refit(case_), refit(case_)
    x = case_.data.x
    predictions = first.predict(x)
    np.testing.assert_array_equal(predictions, again.predict(x))
    assert np.abs(predictions - first.members[0].model.predict(x, verbose=0)).max() > 0.01

    files = first.save(tmp_path)
    model = keras.saving.load_model(files["model_0"], safe_mode=True)
    member = Member(model, joblib.load(files["preprocess_0"]))
    loaded = FittedModel((member,), first.n_updates, first.batch_size)
    np.testing.assert_allclose(loaded.predict(x), predictions, rtol=1e-6)
    assert loaded.score(case_.data) == pytest.approx(first.score(case_.data), rel=1e-5)


def test_its_score_is_the_models_on_raw_rows():
    case_ = case(dropout)
    fitted = refit(case_)
    scores = fitted.score(case_.data)
    hits = fitted.predict(case_.data.x).argmax(1) == case_.data.y
    assert set(scores) == {"loss", "accuracy"}
    assert scores["accuracy"] == pytest.approx(hits.mean())
    assert fitted.members[0].preprocess is None


def test_several_predict_their_mean_and_are_scored_on_it(tmp_path):
    case_ = case(with_every_state, preprocess=StandardScaler())
    numbers = [len(case_.folds), len(case_.folds) + 1]
    both = fit_on_all_rows(
        case_.spec, case_.data, case_.params, n_epochs=2, folds=numbers, setup=Setup("plain")
    )
    first, second = both.each()
    np.testing.assert_array_equal(first.predict(case_.data.x), refit(case_).predict(case_.data.x))
    x, y = case_.data.x, case_.data.y
    mean = (first.predict(x) + second.predict(x)) / 2
    assert np.abs(first.predict(x) - second.predict(x)).max() > 0.01
    np.testing.assert_allclose(both.predict(x), mean, rtol=1e-6)
    scores = both.score(case_.data)
    assert scores["accuracy"] == pytest.approx((mean.argmax(1) == y).mean())
    assert scores["loss"] == pytest.approx(-np.log(mean[np.arange(len(y)), y]).mean(), rel=1e-5)
    files = both.save(tmp_path)
    assert set(files) == {"model_0", "model_1", "preprocess_0", "preprocess_1"}
    assert both.why_not_served(files, x[:5]) == ""
