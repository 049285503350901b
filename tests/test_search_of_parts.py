"""A whole search of a model with two inputs and two outputs, to the model that MLflow serves."""

import json

import mlflow
import numpy as np
import pytest

from pipeline.search import search
from pipeline.study_file import load_study
from tests.tiny_study import Heard, client, runs_of

TEXT = """
import numpy as np
from optuna.distributions import FloatDistribution
from sklearn.preprocessing import StandardScaler

from pipeline import *

NAMED = {named}


def load_data():
    random = np.random.default_rng(0)
    table, image = random.normal(3.0, 2.0, (60, 3)), random.normal(size=(60, 2, 2))
    x = {{"table": table, "image": image}}
    y = {{"kind": (table[:, 0] > 3.0).astype(int), "size": table[:, 1] + image.sum((1, 2))}}
    if NAMED:
        return x, y
    return Dataset(tuple(x.values()), tuple(y.values()))


def build_model(params):
    import keras

    table, image = keras.Input((3,), name="table"), keras.Input((2, 2), name="image")
    joined = keras.layers.Concatenate()([table, keras.layers.Flatten()(image)])
    kind = keras.layers.Dense(1, "sigmoid", name="kind")(joined)
    size = keras.layers.Dense(1, name="size")(joined)
    model = keras.Model([table, image], [kind, size])
    if NAMED:
        model = keras.Model(
            {{"table": table, "image": image}}, {{"kind": kind, "size": size}}
        )
    model.compile(
        keras.optimizers.Adam(params["learning_rate"]),
        loss={{"kind": "binary_crossentropy", "size": "mse"}},
        metrics={{"kind": ["accuracy"], "size": ["mae"]}},
    )
    return model


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    space={{"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "max_epochs": 3}},
    objective=Objective("val_size_mae", "minimize"),
    preprocess={{"table": StandardScaler()}} if NAMED else None,
    batch_size=16,
    engine="plain",
    budget=Budget(n_trials=2),
    refit=Refit(n_seeds=2, keep_folds=True),
    test_size=0.2,
)
"""


@pytest.mark.parametrize("named", [True, pytest.param(False, marks=pytest.mark.long)])
def test_it_is_searched_refitted_and_served(home, named, monkeypatch):
    path = home / "studies" / "parts.py"
    path.parent.mkdir()
    path.write_text(TEXT.format(named=named), encoding="utf-8")
    spec, display = load_study(path), Heard()
    result = search(spec, display=display)
    assert "the folds are not stratified: y is " in "".join(display.lines)
    assert result.refit is not None
    assert {"loss", "kind_accuracy", "size_mae"} <= set(result.refit.test_metrics)
    decision = json.loads(result.decision_path.read_text())
    assert decision["refit"]["test_metrics"]["size_mae"] == result.refit.test_metrics["size_mae"]

    parent, _ = runs_of(home, "parts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlruns' / 'mlflow.db'}")
    (dataset,) = parent.inputs.dataset_inputs
    features = json.loads(json.loads(dataset.dataset.schema)["mlflow_tensorspec"]["features"])
    names = ["table", "image"] if named else ["0", "1"]
    assert [column["name"] for column in features] == names
    files = {file.path for file in client(home).list_artifacts(parent.info.run_id, "folds")}
    assert "folds/out_of_fold.npz" in files

    random = np.random.default_rng(1)
    parts = random.normal(3, 2, (7, 3)), random.normal(size=(7, 2, 2))
    rows = dict(zip(names, parts, strict=True))
    for uri in (result.refit.model_uri, result.refit.folds_model_uri):
        model = mlflow.pyfunc.load_model(uri)
        assert model.metadata.signature.inputs.input_names() == names
        assert model.metadata.signature.outputs.input_names() == ["kind", "size"]
        predictions = model.predict(rows)
        assert {name: part.shape for name, part in predictions.items()} == {
            "kind": (7, 1), "size": (7, 1),
        }  # fmt: skip
        alone = model.predict({name: part[3:4] for name, part in rows.items()})
        np.testing.assert_allclose(alone["size"], predictions["size"][3:4], rtol=1e-4)
        assert 0 < predictions["kind"].min() < predictions["kind"].max() < 1
