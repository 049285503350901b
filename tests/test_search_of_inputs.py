"""Whole searches on rows that are not in memory, or not dense, find what they find on arrays."""

import mlflow
import numpy as np
import pytest

from pipeline.search import search
from tests.tiny_study import bits, tiny

SCALED = "__import__('sklearn.preprocessing').preprocessing.MaxAbsScaler()"
SPARSE = "(__import__('scipy.sparse').sparse.csr_array(load_data()[0]), load_data()[1])"
MAPPED = "(np.save(FILE, load_data()[0]), (np.load(FILE, mmap_mode='r'), load_data()[1]))[1]"
FIELDS = "dict(load_data=lambda: {load}, preprocess={preprocess}, engine={engine!r}, test_size=0.2,"
FIELDS += "budget=Budget(n_trials=2))"


@pytest.mark.parametrize(
    ("load", "preprocess", "engine"),
    [
        pytest.param(
            SPARSE, SCALED, "plain", id="sparse, with a transformer", marks=pytest.mark.long
        ),
        pytest.param(SPARSE, "None", "stream", id="sparse, streamed", marks=pytest.mark.long),
        pytest.param(MAPPED, "None", "stream", id="mapped, streamed"),
    ],
)
def test_a_search_finds_the_same_as_on_an_array(home, load, preprocess, engine):
    load = load.replace("FILE", repr(str(home / "x.npy")))
    of = {"preprocess": preprocess, "engine": engine}
    ours, theirs = (
        search(tiny(home, fields=FIELDS.format(load=each, **of), name=name))
        for name, each in (("given", load), ("array", "load_data()"))
    )
    assert bits(ours)[:-1] == bits(theirs)[:-1]
    assert ours.refit is not None
    assert theirs.refit is not None
    assert ours.refit.test_metrics == pytest.approx(theirs.refit.test_metrics, rel=1e-5)
    # The served model takes dense rows, whatever it was trained on.
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlruns/mlflow.db")
    try:
        rows = np.random.default_rng(1).normal(size=(4, 3))
        served = [mlflow.pyfunc.load_model(each.refit.model_uri) for each in (ours, theirs)]
        predicted = [model.predict(rows) for model in served]
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # it takes that, too
    np.testing.assert_allclose(predicted[0], predicted[1], rtol=1e-5)
