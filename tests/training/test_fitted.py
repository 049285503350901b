"""The final fit: deterministic, on all rows, and it takes raw rows."""

from __future__ import annotations

import joblib
import keras
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from pipeline.folds import Fold
from pipeline.schedules import Cosine
from pipeline.training import FittedModel, fit_on_all_rows
from tests.training.fit import fit
from tests.training.models import Case, case, dropout, with_every_state


def refit(case: Case) -> FittedModel:
    number = len(case.folds)
    return fit_on_all_rows(case.spec, case.data, case.params, n_epochs=2, fold=number, jit=False)


def test_it_is_fit_on_all_rows_stopped_within_the_horizon():
    case_ = case(dropout, schedule=Cosine(), max_epochs=5)
    fitted = refit(case_)
    rows = np.arange(case_.data.n_rows)

    def rate(fold, epochs, update):
        return 0.05 * (1 + np.cos(np.pi * (epochs + update / 6) / 5)) / 2

    reference = fit(case_, Fold(len(case_.folds), rows, rows[:0]), 2, rates=rate)
    for ours, theirs in zip(fitted.model.weights, reference.model.weights, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))
    assert fitted.n_updates == 2 * 6  # epochs × ceil(44 / 8)


def test_it_repeats_itself_and_takes_raw_rows_also_when_it_is_loaded(tmp_path):
    case_ = case(with_every_state, preprocess=StandardScaler())
    first, again = refit(case_), refit(case_)
    x = case_.data.x
    predictions = first.predict(x)
    np.testing.assert_array_equal(predictions, again.predict(x))
    assert np.abs(predictions - first.model.predict(x, verbose=0)).max() > 0.01

    files = first.save(tmp_path)
    loaded = FittedModel(
        keras.saving.load_model(files["model"], safe_mode=True),
        joblib.load(files["preprocess"]), first.n_updates, first.batch_size,
    )  # fmt: skip
    np.testing.assert_allclose(loaded.predict(x), predictions, rtol=1e-6)
    assert loaded.score(case_.data) == pytest.approx(first.score(case_.data), rel=1e-5)


def test_its_score_is_the_models_on_raw_rows():
    case_ = case(dropout)
    fitted = refit(case_)
    scores = fitted.score(case_.data)
    hits = fitted.predict(case_.data.x).argmax(1) == case_.data.y
    assert set(scores) == {"loss", "accuracy"}
    assert scores["accuracy"] == pytest.approx(hits.mean())
    assert fitted.preprocess is None
