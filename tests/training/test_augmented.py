"""`augment` changes training rows alone, and draws the same numbers again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.lazy_rows import mapped
from pipeline.training import LockstepTraining, Setup, check_model, fit_on_all_rows
from pipeline.training.snapshot_file import as_bytes, of_bytes
from tests.training.fit import assert_equals_fit
from tests.training.models import (
    N_CLASSES,
    N_COLUMNS,
    advanced,
    all_curves,
    case,
    classes,
    compiled,
    dense,
    dropout,
    images,
    softmax,
)


def noisy(x, y, seed):
    return x + np.random.default_rng(seed).normal(0.0, 0.3, x.shape), y


def noisy_by_tensorflow(x, y, seed):
    return x + 0.3 * tf.random.stateless_normal(x.shape, seed=seed), y


class Seen:
    """Notes what a function is given."""

    def __init__(self, function) -> None:
        self.function = function
        self.batches: list[tuple] = []

    def __call__(self, x, y, seed):
        self.batches.append((x.copy(), y.copy(), tuple(seed)))
        return self.function(x, y, seed)


def marked(data: Dataset) -> Dataset:
    """Return rows that tell their numbers, in the first column."""
    x = data.x.copy()
    x[:, 0] = np.arange(len(x))
    return Dataset(x, data.y)


def test_it_sees_every_training_row_once_an_epoch_and_no_validation_row():
    seen = Seen(noisy)
    case_ = case(dense, marked(classes()), augment=seen)
    engine = case_.engine("stream")
    training = case_.training(engine)
    for _ in range(2):
        seen.batches.clear()
        training.advance()
        for fold in case_.folds:
            n_batches = -(-len(fold.train) // 8)
            rows = np.concatenate([x[:, 0] for x, _, _ in seen.batches[:n_batches]])
            del seen.batches[:n_batches]
            assert sorted(rows) == sorted(fold.train)
        assert not seen.batches


def test_validation_rows_are_scored_as_they_are():
    def to_nothing(x, y, seed):
        return x * 0, y * 0

    case_ = case(dense, augment=to_nothing)
    training = case_.trained(1, mode="stream")
    model = training.program.model(0, training.states[0], case_.params)
    held = case_.folds[0].validation
    loss, accuracy = model.evaluate(case_.data.x[held], case_.data.y[held], 8, verbose=0)
    assert training.history("val_loss")[0, 0] == pytest.approx(loss, rel=1e-6)
    assert training.history("val_accuracy")[0, 0] == pytest.approx(accuracy)
    assert training.history("accuracy")[0, 0] != accuracy


@pytest.mark.parametrize("augment", [noisy, noisy_by_tensorflow])
def test_it_is_the_augmented_rows_that_fit_would_be_given(augment):
    """Dense layers without any other draw, trained by hand on the batches that were made."""
    seen = Seen(augment)
    case_ = case(dense, augment=seen)
    training = case_.training(case_.engine("stream"))
    seen.batches.clear()
    advanced(training, 2)
    model = training.program.model(0, training.program.initial_state(0), case_.params)
    n_batches = -(-len(case_.folds[0].train) // 8)
    of_epochs = (seen.batches[:n_batches], seen.batches[2 * n_batches : 3 * n_batches])
    for batches in of_epochs:
        for x, y, seed in batches:
            x, y = augment(x, y, np.array(seed, np.int32))
            model.train_on_batch(np.asarray(x, np.float32), y)
    trained = training.program.model(0, training.states[0], case_.params)
    for ours, theirs in zip(trained.weights, model.weights, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(theirs))


def test_seeds_differ_from_batch_to_batch_fold_to_fold_and_epoch_to_epoch():
    seen = Seen(noisy)
    case_ = case(dense, augment=seen)
    training = case_.training(case_.engine("stream"))
    seen.batches.clear()
    advanced(training, 2)
    seeds = [seed for _, _, seed in seen.batches]
    assert len(set(seeds)) == len(seeds) == 2 * 2 * 3
    assert all(0 <= part < 2**31 for seed in seeds for part in seed)


def test_its_draws_are_those_of_seed_fold_and_epoch_whatever_else_is_trained():
    case_ = case(dropout, augment=noisy)
    engine = case_.engine("stream")
    stopped = advanced(case_.training(engine), 1)
    snapshot = stopped.snapshot()
    through = advanced(stopped, 2)
    alone = advanced(
        LockstepTraining(
            case_.engine("stream").program(case_.params), case_.params, case_.folds[1:],
            spec=case_.spec,
        ),
        3,
    )  # fmt: skip
    np.testing.assert_array_equal(all_curves(alone)[:, 0], all_curves(through)[:, 1])
    going_on = case_.training(case_.engine("stream"))
    going_on.restore(of_bytes(as_bytes(snapshot, case_.params))[0])
    np.testing.assert_array_equal(all_curves(advanced(going_on, 2)), all_curves(through))
    other = replace(case_, spec=replace(case_.spec, seed=4)).trained(1, mode="stream")
    assert not np.array_equal(all_curves(other)[:, :, 0], all_curves(through)[:, :, 0])


def test_mapped_rows_and_weights_stay_with_their_rows(tmp_path):
    flat = classes()
    weight = np.linspace(0.5, 2.0, len(flat.y))
    np.save(tmp_path / "x.npy", flat.x.astype(np.float32))
    lazy = mapped(np.load(tmp_path / "x.npy", mmap_mode="r"))
    curves = [
        all_curves(
            case(dense, Dataset(x, flat.y, sample_weight=weight), augment=noisy)
            .trained(2, mode="stream")
        )
        for x in (flat.x.astype(np.float32), lazy)
    ]  # fmt: skip
    np.testing.assert_array_equal(curves[0], curves[1])
    plain = case(dense, Dataset(flat.x, flat.y), augment=noisy).trained(2, mode="stream")
    assert not np.array_equal(curves[0], all_curves(plain))


def test_several_inputs_are_augmented_as_they_came():
    def with_parts(params):
        left, right = keras.Input((N_COLUMNS,), name="left"), keras.Input((1,), name="right")
        x = softmax()(keras.layers.Concatenate()([left, right]))
        model = keras.Model({"left": left, "right": right}, x)
        model.compile(
            keras.optimizers.SGD(params["learning_rate"]), "sparse_categorical_crossentropy"
        )
        return model

    def of_one_part(x, y, seed):
        x["left"] += np.random.default_rng(seed).normal(size=x["left"].shape).astype(np.float32)
        return x, y

    flat = classes()
    data = Dataset({"left": flat.x, "right": flat.x[:, :1]}, flat.y)
    case_ = case(with_parts, data, augment=of_one_part)
    check_model(case_.spec, data, case_.folds[0])
    training = case_.trained(1, mode="stream")
    plain = case(with_parts, data).trained(1, mode="stream")
    assert not np.array_equal(training.history("loss"), plain.history("loss"))
    np.testing.assert_array_equal(data.x["left"], flat.x)  # changed in place: not the rows


def test_the_refit_is_augmented_and_predictions_are_not():
    seen = Seen(noisy)
    case_ = case(dense, augment=seen)
    fitted = fit_on_all_rows(
        case_.spec, case_.data, case_.params, 2, folds=[7], setup=Setup("stream")
    )
    n_rows = sum(len(x) for x, _, _ in seen.batches)
    assert n_rows >= 2 * case_.data.n_rows
    fitted.predict(case_.data.x)
    assert sum(len(x) for x, _, _ in seen.batches) == n_rows


NOISE = keras.layers.GaussianNoise(0.1)
WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (lambda x, y, seed: None, r"must return \(x, y\), got NoneType"),
    "x alone": (lambda x, y, seed: x, r"must return \(x, y\), got ndarray"),
    "three": (lambda x, y, seed: (x, y, seed), r"must return \(x, y\), got 3 things"),
    "fewer rows": (lambda x, y, seed: (x[1:], y[1:]), r"x as it came, of shape \(8, 6\)"),
    "columns": (lambda x, y, seed: (x[:, :2], y), r"x as it came.*got \(8, 2\)"),
    "types": (lambda x, y, seed: (x, y.astype(float)), r"y as it came.*type int64.*got.*float64"),
    "parts": (lambda x, y, seed: ((x, x), y), r"x as one array, got a tuple of 2"),
    "NaN": (lambda x, y, seed: (x * np.nan, y), r"finite numbers, got 48 other\(s\) in x"),
    "an error": (lambda x, y, seed: (x / y["a"], y), r"augment raised IndexError"),
    "its own draws": (
        lambda x, y, seed: (x + np.random.normal(size=x.shape), y),
        r"got another x by the same seed; draw from np\.random\.default_rng\(seed\)",
    ),
    "a layer's draws": (
        lambda x, y, seed: (NOISE(x, training=True), y), r"got another x by the same seed"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_augmentation_is_refused_before_training(name):
    augment, why = WRONG[name]
    case_ = case(dense, augment=augment)
    with pytest.raises(BadInput, match=why):
        check_model(case_.spec, case_.data, case_.folds[0])


def test_labels_may_be_mixed_where_they_are_shares():
    def mixed(x, y, seed):
        random = np.random.default_rng(seed)
        share, other = random.beta(0.2, 0.2), random.permutation(len(x))
        return share * x + (1 - share) * x[other], share * y + (1 - share) * y[other]

    flat = classes()

    def of_shares(params):
        model = dense(params)
        model.compile(model.optimizer, "categorical_crossentropy", metrics=["accuracy"])
        return model

    case_ = case(of_shares, Dataset(flat.x, np.eye(N_CLASSES)[flat.y]), augment=mixed)
    check_model(case_.spec, case_.data, case_.folds[0])
    assert np.isfinite(all_curves(case_.trained(2, mode="stream"))).all()


def test_a_layer_belongs_into_the_model():
    with pytest.raises(BadInput, match=r"got the layer .*: put it into the model, where it works"):
        case(dense, augment=NOISE)


@pytest.mark.parametrize("mode", ["plain", pytest.param("stream", marks=pytest.mark.long)])
def test_layers_that_augment_in_the_model_equal_fit(mode):
    def augmenting(params):
        layers = keras.layers
        return compiled(
            layers.RandomFlip(), layers.RandomRotation(0.2), layers.Flatten(), softmax(),
            params=params, shape=(N_COLUMNS, 6, 1),
        )  # fmt: skip

    assert_equals_fit(case(augmenting, images()), mode=mode, n_epochs=2)
