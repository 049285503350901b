"""Schedules against Keras's own: callbacks and schedule objects, through `fit`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.curves import FoldCurves
from pipeline.schedules import (
    Cosine,
    Exponential,
    ReduceOnPlateau,
    Step,
    WarmUp,
    given,
    replayed,
    start_times,
)
from pipeline.training import Setup, fit_on_all_rows
from pipeline.training.snapshot_file import as_bytes, of_bytes
from tests.test_schedules import named
from tests.training.fit import fit, some_long
from tests.training.models import advanced, all_curves, case, compiled, dense, hidden, softmax

N_UPDATES = 5
EPOCHS = np.concatenate([start_times(n, N_UPDATES) for n in range(8)])
STEPS = range(8 * N_UPDATES)
KERAS = keras.optimizers.schedules


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            WarmUp(Cosine(final_share=0.1), n_epochs=2),
            KERAS.CosineDecay(0.0, 30, alpha=0.1, warmup_target=0.5, warmup_steps=10),
        ),
        (Cosine(), KERAS.CosineDecay(0.5, 40)),
        (Exponential(0.7, decay_epochs=2), KERAS.ExponentialDecay(0.5, 10, 0.7)),
    ],
    ids=named,
)
def test_a_schedule_counts_in_epochs_what_keras_counts_in_updates(ours, theirs):
    rates = ours.learning_rates(0.5, EPOCHS, horizon=8)
    np.testing.assert_allclose(rates, [float(theirs(step)) for step in STEPS], atol=1e-7)


def halved(epoch):
    return 0.1 * 0.5**epoch


def halved_tensor(epoch):
    return tf.constant(0.1) * tf.pow(0.5, float(epoch))


def halved_from_the_rate(epoch, rate):
    return rate if epoch < 1 else rate * 0.5


def step(epoch):
    return 0.1 * 0.5 ** np.floor((1 + epoch) / 2)


@pytest.mark.parametrize(
    ("schedule", "function"),
    [
        pytest.param(halved, halved, marks=pytest.mark.long),
        (halved_tensor, halved),
        (halved_from_the_rate, halved_from_the_rate),
        (Step(0.5, epochs_drop=2), step),
    ],
    ids=["number", "tensor", "from the rate before", "step"],
)
def test_a_schedule_is_kerass_learning_rate_scheduler_through_fit(schedule, function):
    case_ = case(dense, schedule=schedule, max_epochs=3, learning_rate=0.1)
    training, fold = case_.trained(3), case_.folds[1]
    # One call of `fit` an epoch, on the search's order of rows: the callback is given each epoch.
    seen = _Rates(keras.callbacks.LearningRateScheduler(function))
    curves = fit(case_, fold, 3, rates=seen).curves
    np.testing.assert_array_equal(training.history("val_loss")[1], curves["val_loss"])
    np.testing.assert_array_equal(training.history("loss")[1], curves["loss"])


class _Rates:
    """What a LearningRateScheduler sets for an epoch, asked of the callback itself."""

    def __init__(self, callback):
        self.callback, self.optimizer = callback, keras.optimizers.SGD(0.1)
        self.callback.set_model(type("Model", (), {"optimizer": self.optimizer})())
        self.asked = -1

    def __call__(self, fold, epoch, update):
        if epoch > self.asked:
            self.asked = epoch
            self.callback.on_epoch_begin(epoch)
        return float(self.optimizer.learning_rate)


PLATEAU = ReduceOnPlateau(factor=0.5, patience=1, min_delta=0.05, cooldown=1, min_rate=0.01)


def test_a_plateau_is_kerass_callback_on_the_mean_curve():
    rng = np.random.default_rng(0)
    for _ in range(20):
        losses = np.round(np.cumsum(rng.normal(-0.02, 0.1, 15)) + 3, 2)
        schedule = ReduceOnPlateau(
            factor=0.5, patience=int(rng.integers(1, 4)), cooldown=int(rng.integers(0, 3)),
            min_delta=0.05, min_rate=0.01,
        )  # fmt: skip
        callback = keras.callbacks.ReduceLROnPlateau(
            factor=0.5, patience=schedule.patience, cooldown=schedule.cooldown, min_delta=0.05,
            min_lr=0.01, mode="min",
        )  # fmt: skip
        optimizer = keras.optimizers.SGD(0.1)
        callback.set_model(type("Model", (), {"optimizer": optimizer})())
        callback.on_train_begin()
        theirs = []
        for epoch, loss in enumerate(losses):
            callback.on_epoch_end(epoch, {"val_loss": loss})
            theirs.append(float(optimizer.learning_rate))
        ours = given(schedule, losses).learning_rates(0.1, np.arange(1.0, 16.0), 15)
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("direction", some_long(["minimize", "maximize"], ["maximize"]))
def test_all_folds_react_to_their_mean(direction):
    from pipeline.objective import Objective

    metric = "val_loss" if direction == "minimize" else "val_accuracy"
    case_ = case(
        dense, schedule=PLATEAU, max_epochs=6, learning_rate=0.3,
        objective=Objective(metric, direction),
    )  # fmt: skip
    training = case_.trained(6)
    mean = case_.spec.objective.as_loss(training.history(metric)).mean(axis=0)
    rates = given(PLATEAU, mean).learning_rates(0.3, np.arange(6.0), 6)
    assert len(set(rates)) > 1
    assert [training.learning_rate_in(n) for n in range(1, 7)] == list(rates)
    curves = fit(case_, case_.folds[1], 6, rates=lambda fold, epoch, update: rates[epoch]).curves
    np.testing.assert_array_equal(training.history("loss")[1], curves["loss"])


def test_a_snapshot_goes_on_at_the_rates_that_its_curves_led_to():
    case_ = case(dense, schedule=PLATEAU, max_epochs=6, learning_rate=0.3)
    engine = case_.engine()
    through = advanced(case_.training(engine), 6)
    stopped = advanced(case_.training(engine), 4)
    going_on = case_.training(engine)
    going_on.restore(of_bytes(as_bytes(stopped.snapshot(), case_.params))[0])
    np.testing.assert_array_equal(all_curves(advanced(going_on, 2)), all_curves(through))


def test_the_refit_repeats_the_rates_of_the_search():
    case_ = case(dense, schedule=PLATEAU, max_epochs=6, learning_rate=0.3)
    training = case_.trained(6)
    curves = FoldCurves(training.history("val_loss"), case_.spec.objective)
    seen = []
    fit_on_all_rows(
        case_.spec, case_.data, case_.params, 6, folds=[7], setup=Setup("plain"),
        schedule=replayed(case_.spec.schedule, curves.losses),
        each_epoch=lambda refit: seen.append(refit.learning_rate_in(refit.n_epochs + 1)),
    )  # fmt: skip
    assert seen[:6] == [training.learning_rate_in(n) for n in range(1, 7)]
    assert len(set(seen)) > 1


def test_a_keras_schedule_may_be_the_studys():
    schedule = KERAS.CosineDecay(0.2, decay_steps=9)
    field = case(dense, schedule=schedule).trained(3)
    inside = case(
        lambda params: compiled(
            hidden(), softmax(), params=params,
            optimizer=keras.optimizers.SGD(schedule, momentum=0.9),
        )
    ).trained(3)  # fmt: skip
    np.testing.assert_array_equal(all_curves(field), all_curves(inside))
    assert not field.horizon_free


def test_trials_of_all_schedules_share_one_program():
    schedules = {
        "cosine": Cosine(), "step": Step(0.5, 1), "own": halved, "plateau": PLATEAU,
        "keras": KERAS.CosineDecay(0.1, 9),
    }  # fmt: skip
    case_ = case(dense, schedule=schedules, params={"schedule": "cosine"}, max_epochs=3)
    engine = case_.engine()
    curves, n_compiled = {}, 0
    for name, schedule in schedules.items():
        training = advanced(case_.training(engine, schedule=name), 3)
        curves[name] = all_curves(training).tolist()
        if name in ("keras", "own"):
            alone = case(dense, schedule=schedule, max_epochs=3)
            assert curves[name] == all_curves(alone.trained(3)).tolist()
        n_compiled = n_compiled or engine.n_compiled
    assert engine.n_compiled == n_compiled
    assert len(set(map(str, curves.values()))) == len(schedules)
