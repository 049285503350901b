"""Whole searches of texts, to the model that takes texts where this project is not installed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from pipeline.errors import Interrupted
from pipeline.question import pose
from pipeline.search import search
from pipeline.study_file import load_study
from tests.tiny_study import Heard, StopAt, bits, runs_of

TEXT = """
import numpy as np
from optuna.distributions import FloatDistribution
from sklearn.preprocessing import StandardScaler

from pipeline import *

SEVERAL = {several}
WORDS = "good great fine bad poor weak film play plot the a of".split()


def load_data():
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(WORDS, 6)) + "\\u2028end" for _ in range(60)]
    y = np.array([sum(text.count(word) for word in WORDS[:3]) > 1 for text in texts]).astype(int)
    return ({{"text": texts, "table": random.normal(3.0, 2.0, (60, 2))}} if SEVERAL else texts), y


def words():
    import keras

    return keras.layers.TextVectorization(
        max_tokens=16, output_mode="tf_idf", pad_to_max_tokens=True
    )


def build_model(params):
    import keras

    inputs = keras.Input((16,), name="text")
    x, table = inputs, keras.Input((2,), name="table")
    if SEVERAL:
        x = keras.layers.Concatenate()([x, table])
        inputs = {{"text": inputs, "table": table}}
    model = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(x))
    model.compile(keras.optimizers.Adam(params["learning_rate"]), "binary_crossentropy")
    return model


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    space={{"learning_rate": FloatDistribution(1e-2, 1e-1, log=True), "max_epochs": 4}},
    preprocess={{"text": words, "table": StandardScaler()}} if SEVERAL else words,
    batch_size=16,
    engine="plain",
    budget=Budget(n_trials=2),
    refit=Refit(keep_folds=SEVERAL),
    test_size=0.2,
)
"""

SERVER = """
import json, mlflow, numpy as np, sys
rows = json.loads(sys.stdin.read())
if isinstance(rows, dict):
    rows = {name: np.array(part) for name, part in rows.items()}
else:
    rows = np.array(rows)
for uri in sys.argv[1:]:
    print(json.dumps(mlflow.pyfunc.load_model(uri).predict(rows).tolist()))
assert not any(name.split(".")[0] == "pipeline" for name in sys.modules)
"""


def written(home, *, several):
    path = home / "studies" / "texts.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(TEXT.format(several=several), encoding="utf-8")
    return load_study(path)


@pytest.mark.long
@pytest.mark.parametrize("several", [True, False])
def test_texts_are_searched_refitted_and_served(home, several, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlruns' / 'mlflow.db'}")
    spec, display = written(home, several=several), Heard()
    result = search(spec, display=display)
    assert result.refit is not None
    assert not [line for line in display.lines if "cannot be served" in line]
    assert 0 < result.refit.test_metrics["loss"] < 2
    assert "words" in runs_of(home, "texts")[0].data.params["preprocess"]

    raw, _ = spec.load_data()
    texts = [*(raw["text"] if several else raw)[:5], "a word that nobody knows", ""]
    rows = {"text": texts, "table": raw["table"][:7].tolist()} if several else texts
    uris = [result.refit.model_uri, *filter(None, [result.refit.folds_model_uri])]
    served = subprocess.run(
        [sys.executable, "-c", SERVER, *uris],
        input=json.dumps(rows), capture_output=True, text=True, check=True, cwd=home,
    )  # fmt: skip
    predictions = [np.array(json.loads(line)) for line in served.stdout.splitlines()]
    assert [each.shape for each in predictions] == [(7, 1)] * (1 + several)
    np.testing.assert_allclose(predictions[0], by_hand(spec, rows, uris[0]), rtol=1e-5)
    assert several == bool(
        np.ptp(predictions, axis=0).any()
    )  # the folds' models say something else


def by_hand(spec, rows, uri):
    """Return what the refit's model says of rows that were preprocessed as all development rows."""
    development = pose(spec).development.x
    several = isinstance(rows, dict)
    layer = (spec.preprocess["text"] if several else spec.preprocess)()
    layer.adapt(development["text"] if several else development)
    x: Any = np.asarray(layer(np.array(rows["text"] if several else rows)))
    if several:
        scaler = StandardScaler().fit(development["table"])
        x = {"text": x, "table": scaler.transform(np.array(rows["table"]))}
    folder = Path(mlflow.artifacts.download_artifacts(uri))
    model = keras.models.load_model(folder / "artifacts" / "model_0.keras", compile=False)
    return model.predict(x, verbose=0)


@pytest.mark.long
def test_a_search_of_texts_that_is_stopped_goes_on_to_the_same_bits(home, tmp_path_factory):
    spec = written(home, several=True)
    with pytest.raises(Interrupted):
        search(spec, display=StopAt(1, 2))
    other = tmp_path_factory.mktemp("other")
    assert bits(search(spec)) == bits(search(written(other, several=True)))
