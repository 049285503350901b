"""A model from a file: from fresh weights or its own, at the search's learning rate."""

import keras
import numpy as np
import pytest

from pipeline.data_file.saved import described
from pipeline.errors import BadInput
from pipeline.training.saved_model import saved_model


def small(path, *layers, compiled=True, **compile_with):
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)])
    if compiled:
        optimizer = compile_with.pop("optimizer", keras.optimizers.SGD(0.5, momentum=0.9))
        model.compile(optimizer, loss="mae", metrics=["mse"], **compile_with)
    model.save(path / "model.keras")
    return model


def read(path, **options):
    found = described(path / "model.keras")
    keras.utils.set_random_seed(options.pop("seed", 0))
    fields = {"sha256": found.sha256, "learning_rate": 0.01, **options}
    return saved_model("model.keras", project_of=path / "study.py", **fields)


def test_fresh_weights_follow_the_seed_and_are_not_the_files(tmp_path):
    saved = small(tmp_path).get_weights()[0]
    first, again, other = (read(tmp_path, seed=seed).get_weights()[0] for seed in (1, 1, 2))
    assert (first == again).all()
    assert not (first == other).any()
    assert not (first == saved).any()


def test_its_own_weights_are_kept_when_asked(tmp_path):
    saved = small(tmp_path).get_weights()
    kept = read(tmp_path, keep_weights=True).get_weights()
    assert all((a == b).all() for a, b in zip(saved, kept, strict=True))


def test_loss_metrics_and_optimizer_are_its_own_at_the_searchs_rate(tmp_path):
    small(tmp_path)
    model = read(tmp_path, loss="mse")
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert model.optimizer.momentum == 0.9
    x, y = np.ones((4, 3)), np.zeros((4, 1))
    scores = model.evaluate(x, y, verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(np.abs(model.predict(x, verbose=0)).mean(), rel=1e-5)
    assert "mse" in scores


def test_a_schedule_in_its_optimizer_gives_way_to_the_searchs_rate(tmp_path):
    decay = keras.optimizers.schedules.CosineDecay(0.1, 100)
    small(tmp_path, optimizer=keras.optimizers.Adam(decay))
    assert float(read(tmp_path).optimizer.learning_rate) == pytest.approx(0.01)


def test_a_model_that_is_not_compiled_gets_the_tasks_loss(tmp_path):
    small(tmp_path, compiled=False)
    assert not described(tmp_path / "model.keras").is_compiled
    assert read(tmp_path, loss="mse", metrics=["mae"]).loss == "mse"


def test_what_a_layer_was_adapted_to_is_no_weight(tmp_path):
    layer = keras.layers.Normalization()
    layer.adapt(np.array([[1.0, 2.0, 3.0], [3.0, 6.0, 3.0]]))
    small(tmp_path, layer)
    fresh = read(tmp_path).layers[0]
    rows = np.array([[5.0, 4.0, 3.0]])
    assert np.allclose(fresh(rows), layer(rows))


def test_code_in_a_file_is_not_run_unless_trusted(tmp_path):
    small(tmp_path, keras.layers.Lambda(lambda x: x * 2.0))
    with pytest.raises(BadInput, match=r"holds Python code .*--trust-model"):
        read(tmp_path)
    x = np.ones((2, 3))
    model = read(tmp_path, trust=True)
    assert np.allclose(model.predict(x, verbose=0), 2 * x @ model.get_weights()[0])


@keras.saving.register_keras_serializable("own")
class OwnLayer(keras.layers.Layer):
    def call(self, x):
        return x


def test_custom_objects_are_named_with_advice(tmp_path):
    small(tmp_path, OwnLayer())
    keras.saving.get_custom_objects().pop("own>OwnLayer")
    with pytest.raises(BadInput, match=r"needs code of its own.*write a study"):
        read(tmp_path, trust=True)


def test_another_file_than_the_studys_is_refused(tmp_path):
    small(tmp_path)
    with pytest.raises(BadInput, match="must be the file that the study was written for"):
        read(tmp_path, sha256="0" * 64)


@pytest.mark.parametrize(
    ("name", "says"),
    [("model.h5", "must be a .keras file"), ("none.keras", "'none.keras' does not exist")],
)
def test_a_file_that_is_none_is_refused(tmp_path, name, says):
    with pytest.raises(BadInput, match=says):
        described(tmp_path / name)


def test_a_file_that_went_away_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"'gone\.keras' does not exist"):
        saved_model("gone.keras", project_of=tmp_path / "study.py", sha256="", learning_rate=0.1)


def test_a_torn_file_is_refused(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"torn")
    with pytest.raises(BadInput, match="must be a model saved by Keras 3"):
        described(tmp_path / "model.keras")


def test_what_a_file_says_of_its_input_is_read_without_loading_it(tmp_path):
    small(tmp_path)
    assert described(tmp_path / "model.keras").input_shape == (3,)
    inputs = keras.Input((8, 8))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(tmp_path / "model.keras")
    assert described(tmp_path / "model.keras").input_shape == (8, 8)
    late = keras.Sequential([keras.layers.Dense(1)])
    late(np.zeros((2, 5)))
    late.save(tmp_path / "model.keras")
    assert described(tmp_path / "model.keras").input_shape == (5,)


def test_several_inputs_are_refused(tmp_path):
    inputs = [keras.Input((2,)), keras.Input((2,))]
    model = keras.Model(inputs, keras.layers.Add()(inputs))
    model.save(tmp_path / "model.keras")
    with pytest.raises(BadInput, match="must have one input, got 2"):
        described(tmp_path / "model.keras")
