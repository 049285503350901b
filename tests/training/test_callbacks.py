"""Users' callbacks are told what `fit` tells them, and change what they change there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from pipeline.data import take_rows
from pipeline.errors import BadInput
from pipeline.schedules import Cosine
from pipeline.strategy import Ladder
from pipeline.training import Setup, check_callbacks, fit_on_all_rows, remarks_on_callbacks
from pipeline.training.models import fold_seed, row_order
from pipeline.training.recover import Kept, restore
from pipeline.training.snapshot_file import as_bytes, of_bytes
from tests.training.fit import some_long
from tests.training.models import (
    advanced,
    all_curves,
    case,
    compiled,
    dense,
    dropout,
    hidden,
    softmax,
)

EVENTS = [
    f"on_{what}_{when}"
    for what in ("train", "epoch", "train_batch", "test", "test_batch")
    for when in ("begin", "end")
]


class Recorder(keras.callbacks.Callback):
    """Notes what it is told, with the learning rate and a weight that it finds then."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple] = []

    def note(self, event, *args):
        *of_event, logs = args
        rate = float(self.model.optimizer.learning_rate)
        weight = float(np.sum(np.array(self.model.trainable_weights[0])))
        self.events.append((event, *of_event, logs or {}, rate, weight))


for event in EVENTS:
    takes_logs_alone = event in ("on_train_begin", "on_train_end", "on_test_begin", "on_test_end")

    def told(self, *args, event=event, takes_logs_alone=takes_logs_alone, **options):
        logs = options.get("logs", args[-1] if len(args) > (not takes_logs_alone) else None)
        self.note(event, *(() if takes_logs_alone else args[:1]), dict(logs or {}))

    setattr(Recorder, event, told)


class Averages(keras.callbacks.Callback):
    """A moving average of the weights, validated in their place, and left there at the end."""

    def on_train_begin(self, logs=None):
        self.average = self.model.get_weights()

    def on_train_batch_end(self, batch, logs=None):
        pairs = zip(self.average, self.model.get_weights(), strict=True)
        self.average = [0.7 * average + 0.3 * weight for average, weight in pairs]

    def on_test_begin(self, logs=None):
        self.raw = self.model.get_weights()
        self.model.set_weights(self.average)

    def on_test_end(self, logs=None):
        self.model.set_weights(self.raw)

    def on_train_end(self, logs=None):
        self.model.set_weights(self.average)


class Nudges(keras.callbacks.Callback):
    """Changes weights and learning rate, from what is in the model alone."""

    resumable = True

    def on_train_begin(self, logs=None):
        self.model.set_weights([weight + 0.5 for weight in self.model.get_weights()])

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate) * 0.9

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([weight * 0.95 for weight in self.model.get_weights()])


def halved(epoch, rate):
    return rate if epoch < 1 else rate * 0.5


class _Rows(keras.utils.PyDataset):
    """A fold's training rows, in the search's order of the epoch that `told` sees begin."""

    def __init__(self, case_, fold) -> None:
        super().__init__()
        self.case, self.fold, self.epoch = case_, fold, 0
        self.told = keras.callbacks.LambdaCallback(on_epoch_begin=self.begin)

    def begin(self, epoch, logs) -> None:
        self.epoch = epoch + 1

    def __len__(self) -> int:
        return -(-len(self.fold.train) // self.case.params["batch_size"])

    def __getitem__(self, number) -> tuple:
        size, data = self.case.params["batch_size"], self.case.data
        order = row_order(self.case.spec.seed, self.fold.index, self.epoch, self.fold.train)
        rows = order[number * size : (number + 1) * size]
        return take_rows(data.x, rows).astype(np.float32), take_rows(data.y, rows)


def fit(case_, fold, n_epochs, callbacks) -> keras.Model:
    """Train by one call of `fit`, on the search's rows in its order."""
    keras.utils.set_random_seed(fold_seed(case_.spec.seed, fold.index))
    model = case_.spec.build_model(dict(case_.params))
    held = [take_rows(part, fold.validation) for part in (case_.data.x, case_.data.y)]
    rows = _Rows(case_, fold)
    model.fit(
        rows, epochs=n_epochs, validation_data=tuple(held), verbose=0, shuffle=False,
        validation_batch_size=case_.params["batch_size"], callbacks=[rows.told, *callbacks],
    )  # fmt: skip
    return model


def made(*kinds: Any) -> tuple[Any, list]:
    """Return a study's function, and every list that it has made."""
    lists: list[list] = []

    def callbacks():
        lists.append([kind() for kind in kinds])
        return lists[-1]

    return callbacks, lists


def scheduler():
    return keras.callbacks.LearningRateScheduler(halved)


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param([], marks=pytest.mark.long),
        pytest.param([scheduler], marks=pytest.mark.long),
        [Averages],
        [Nudges, scheduler],
    ],
    ids=["none", "rates", "averages", "nudges"],
)
def test_each_fold_is_told_what_fit_tells_in_the_same_order_with_the_same_logs(kinds):
    callbacks, lists = made(*kinds, Recorder)
    case_ = case(dropout, callbacks=callbacks)
    training = case_.training(case_.engine("stream"))
    del lists[:-2]
    advanced(training, 3).end()
    for fold, ours in zip(case_.folds, lists, strict=True):
        theirs = [kind() for kind in (*kinds, Recorder)]
        model = fit(case_, fold, 3, theirs)
        assert ours[-1].events == theirs[-1].events
        assert ours[-1].params == theirs[-1].params
        trained = training.program.model(fold.index, training.states[fold.index], case_.params)
        for our, their in zip(trained.weights, model.weights, strict=True):
            np.testing.assert_array_equal(np.array(our), np.array(their))


def test_the_learning_rate_that_callbacks_set_is_the_one_that_is_told():
    case_ = case(dense, callbacks=lambda: [scheduler()])
    training = case_.trained(3, mode="stream")
    rates = [training.learning_rate_in(n) for n in (1, 2, 3)]
    assert rates == pytest.approx([0.05, 0.025, 0.0125])
    scheduled = case(dense, schedule=halved).trained(3, mode="stream")
    np.testing.assert_array_equal(all_curves(training), all_curves(scheduled))
    going_on = case_.training(case_.engine("stream"))
    going_on.restore(training.snapshot())
    assert [going_on.learning_rate_in(n) for n in (1, 2, 3)] == rates


def test_callbacks_that_hold_nothing_go_on_from_a_snapshot_to_the_same_bits():
    case_ = case(dropout, callbacks=lambda: [Nudges(), scheduler()])
    engine = case_.engine("stream")
    stopped = advanced(case_.training(engine), 1)
    snapshot = stopped.snapshot()
    through = advanced(stopped, 2)
    advanced(case_.training(engine, learning_rate=0.5), 1)  # another trial, meanwhile
    going_on = case_.training(case_.engine("stream"))
    snapshot, _ = of_bytes(as_bytes(snapshot, case_.params))
    assert going_on.fits(snapshot)
    going_on.restore(snapshot)
    advanced(going_on, 2)
    np.testing.assert_array_equal(all_curves(going_on), all_curves(through))
    assert going_on.learning_rate_in(3) == through.learning_rate_in(3)


def test_callbacks_that_may_hold_something_begin_again():
    case_ = case(dropout, callbacks=lambda: [Averages()])
    training = case_.training(case_.engine("stream"))
    assert not training.resumable
    snapshot = advanced(training, 1).snapshot()
    anew = case_.training(case_.engine("stream"))
    assert not anew.fits(snapshot)
    restore(anew, Kept(case_.params, snapshot))
    assert anew.n_epochs == 0
    (remark,) = remarks_on_callbacks(case_.spec)
    assert "no snapshot holds what Averages may keep" in remark
    assert not remarks_on_callbacks(case(dense, callbacks=lambda: [Nudges(), scheduler()]).spec)


def test_a_trial_has_callbacks_of_its_own_whatever_is_trained_before():
    callbacks, lists = made(Averages)
    case_ = case(dropout, callbacks=callbacks)
    engine = case_.engine("stream")
    first = advanced(case_.training(engine), 2)
    advanced(case_.training(engine, learning_rate=0.5), 1)
    again = advanced(case_.training(engine), 2)
    np.testing.assert_array_equal(all_curves(first), all_curves(again))
    assert len({id(each) for (each,) in lists}) == len(lists) == 6


def test_the_refit_has_new_ones_and_is_what_fit_leaves():
    callbacks, lists = made(Averages, Recorder)
    case_ = case(dropout, callbacks=callbacks)
    fitted = fit_on_all_rows(
        case_.spec, case_.data, case_.params, 2, folds=[7], setup=Setup("stream")
    )
    ((averages, recorder),) = lists
    for weight, average in zip(fitted.members[0].model.weights, averages.average, strict=False):
        np.testing.assert_array_equal(np.array(weight), average)
    names = [event for event, *_ in recorder.events]
    assert names.count("on_train_begin") == names.count("on_train_end") == 1
    assert [event[1] for event in recorder.events if event[0] == "on_epoch_end"] == [0, 1]
    assert "on_test_begin" not in names


def test_what_on_train_end_leaves_is_kept_also_where_the_optimizer_averages():
    class Zeros(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights([0.0 * weight for weight in self.model.get_weights()])

    def averaging(params):
        optimizer = keras.optimizers.SGD(params["learning_rate"], use_ema=True)
        return compiled(hidden(), softmax(), params=params, optimizer=optimizer)

    said: list[str] = []
    case_ = case(averaging, callbacks=lambda: [Zeros()])
    training = advanced(case_.training(case_.engine("stream", say=said.append)), 1)
    training.end()
    model = training.program.model(0, training.states[0], case_.params)
    assert not any(np.any(weight) for weight in model.weights)
    assert sum("change the weights in on_train_end" in line for line in said) == 1


@pytest.mark.long
def test_a_callback_may_score_predict_and_save_the_model(tmp_path):
    class Looks(keras.callbacks.Callback):
        seen: list[Any] = []  # noqa: RUF012

        def on_epoch_end(self, epoch, logs=None):
            x, y = data.x[:8], data.y[:8]
            scores = self.model.evaluate(x, y, verbose=0, return_dict=True)
            right = self.model.predict(x, verbose=0).argmax(1) == y
            assert scores["accuracy"] == pytest.approx(right.mean())
            self.model.save(tmp_path / "model.keras")
            self.seen.append(self.model.get_weights())

    case_ = case(dropout, callbacks=lambda: [Looks()])
    data = case_.data
    training = case_.trained(2, mode="stream")
    np.testing.assert_array_equal(
        all_curves(training), all_curves(case(dropout).trained(2, mode="stream"))
    )
    saved = keras.models.load_model(tmp_path / "model.keras").get_weights()
    for ours, theirs in zip(saved, Looks.seen[-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def does(event, action):
    """Return a study's function: a callback that does something in one of its methods."""

    def told(self, *args, **options):
        action(self.model)

    return lambda: [type("Does", (keras.callbacks.Callback,), {event: told})()]


def set_rate(model):
    model.optimizer.learning_rate = 0.3


def set_schedule(model):
    model.optimizer.learning_rate = keras.optimizers.schedules.CosineDecay(0.1, 5)


def stop(model):
    model.stop_training = True


def stop_evaluating(model):
    model.stop_evaluating = True


def freeze(model):
    model.layers[0].trainable = False


def compile_again(model):
    model.compile(keras.optimizers.SGD(0.1), "mse")


def fail(model):
    raise RuntimeError("out of paper")


WRONG = {
    "stops training": ("on_epoch_end", stop, r"stop_training, got it in fold 0.*early_stopping="),
    "stops in an epoch": ("on_train_batch_end", stop, r"stop_training, got it in fold 0"),
    "stops evaluating": ("on_test_batch_end", stop_evaluating, r"all validation rows"),
    "freezes a layer": ("on_epoch_begin", freeze, r"what is trainable"),
    "compiles": ("on_epoch_end", compile_again, r"nor compile the model"),
    "sets a schedule": ("on_train_begin", set_schedule, r"nor compile the model, nor give"),
    "raises": ("on_test_end", fail, r"callbacks raised RuntimeError in on_test_end: out of paper"),
}


@pytest.mark.parametrize("name", some_long(WRONG, ["stops training", "freezes a layer", "raises"]))
def test_what_no_search_can_go_on_with_is_refused_and_spoils_no_other_training(name):
    event, action, why = WRONG[name]
    wrong, right = case(dense, callbacks=does(event, action)), case(dense)
    engine: Any = wrong.engine("stream")
    with pytest.raises(BadInput, match=why):
        wrong.training(engine).advance()
    engine.spec = right.spec
    after = advanced(right.training(engine), 2)
    np.testing.assert_array_equal(all_curves(after), all_curves(right.trained(2, mode="stream")))


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
@pytest.mark.parametrize("where", ["study", "optimizer"])
def test_the_learning_rate_has_one_master(event, where):
    def with_schedule(params):
        cosine = keras.optimizers.schedules.CosineDecay(0.1, 9)
        return compiled(hidden(), softmax(), params=params, optimizer=keras.optimizers.SGD(cosine))

    of_study: Any = {"schedule": Cosine()} if where == "study" else {}
    build = dense if where == "study" else with_schedule
    case_ = case(build, callbacks=does(event, set_rate), **of_study)
    with pytest.raises(BadInput, match=r"leave the learning rate alone .*; got 0\.3"):
        case_.trained(2, mode="stream")


def test_a_loss_that_is_nan_ends_the_trial_and_not_the_callback_that_sees_it():
    case_ = case(dense, callbacks=lambda: [keras.callbacks.TerminateOnNaN()], learning_rate=1e38)
    training = case_.trained(2, mode="stream")
    assert not np.isfinite(training.history("loss")).all()


one = keras.callbacks.History()
KERAS = keras.callbacks
REFUSED = {
    "a tuple of numbers": (lambda: (1, 2), r"callbacks\(\) must be a list of Keras callbacks"),
    "one callback": (lambda: KERAS.History(), r"callbacks\(\) must be a list of Keras callbacks"),
    "a class": (lambda: [KERAS.History], r"callbacks\(\) must be a list of Keras callbacks"),
    "an error": (lambda: [][1], r"callbacks\(\) raised IndexError"),
    "the same again": (lambda: [one], r"makes new ones each time, got the same History twice"),
    "early stopping": (lambda: [KERAS.EarlyStopping()], r"without EarlyStopping: .*early_stopping"),
    "plateau": (lambda: [KERAS.ReduceLROnPlateau()], r"without ReduceLROnPlateau: .*ReduceOnPlat"),
    "checkpoints": (lambda: [KERAS.ModelCheckpoint("a.keras")], r"without Model.*keep_checkpoints"),
    "backup": (lambda: [KERAS.BackupAndRestore("a")], r"without BackupAndRestore: .*snapshots"),
    "TensorBoard": (lambda: [KERAS.TensorBoard("a")], r"without TensorBoard: .*MLflow"),
    "CSV": (lambda: [KERAS.CSVLogger("a.csv")], r"without CSVLogger: .*MLflow"),
    "averages": (lambda: [KERAS.SwapEMAWeights()], r"without SwapEMAWeights: .*as it is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_callbacks_for_a_search_is_refused_before_training(name):
    callbacks, why = REFUSED[name]
    with pytest.raises(BadInput, match=why):
        check_callbacks(case(dense, callbacks=callbacks).spec)


def test_trials_may_pause_only_where_their_callbacks_hold_nothing():
    with pytest.raises(BadInput, match=r"strategy must be None .* got Averages.*resumable = True"):
        check_callbacks(case(dense, callbacks=lambda: [Averages()], strategy=Ladder()).spec)
    check_callbacks(case(dense, callbacks=lambda: [Nudges()], strategy=Ladder()).spec)
