"""Users' Keras callbacks: each fold's own ones through one training, told what `fit` would tell.

They are made new for each training. What they hold is Python's, and in no snapshot; so a training
goes on from one only where its callbacks say that they hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from pipeline.errors import BadInput, require
from pipeline.spec import StudySpec
from pipeline.training.models import inner

_ONE_FILE = "the callbacks of all folds and trials would write into the same files"

REFUSED: Mapping[type[keras.callbacks.Callback], str] = {
    keras.callbacks.EarlyStopping: "each fold would stop by itself, where the curve is the mean "
    "over all of them; early_stopping=EarlyStopping(patience=…) stops them on it",
    keras.callbacks.ReduceLROnPlateau: "each fold would have a learning rate of its own; "
    "schedule=ReduceOnPlateau(…) looks at the mean over all of them",
    keras.callbacks.ModelCheckpoint: f"{_ONE_FILE}; the best trial's fold models are kept as they "
    "are, and those of others by keep_checkpoints=…",
    keras.callbacks.BackupAndRestore: f"{_ONE_FILE}; the search goes on from snapshots of its own",
    keras.callbacks.TensorBoard: f"{_ONE_FILE}; each fold's epochs are in MLflow",
    keras.callbacks.CSVLogger: f"{_ONE_FILE}; each fold's epochs are in MLflow",
    keras.callbacks.SwapEMAWeights: "of an optimizer with use_ema=True the search validates, and "
    "keeps, the averaged weights as it is",
}
"""What Keras's own callbacks would spoil here, and what does the same."""

HOLD_NOTHING = (keras.callbacks.LearningRateScheduler, keras.callbacks.TerminateOnNaN)
"""Of Keras's own, those that keep nothing from one epoch to the next."""

RESUMABLE = "resumable"
"""The attribute by which a callback says that it keeps nothing from one epoch to the next."""

RATE_IS_DRIVEN = (
    "callbacks must leave the learning rate alone where a schedule drives it, the study's or the "
    "optimizer's: one of the two"
)


class NoCallbacks:
    """Nobody to tell anything: what an engine asks of a fold's callbacks, and the answers.

    resumable: whether training may go on from a snapshot
    """

    resumable = True

    def begin(self, model: keras.Model, epoch: int, rate: keras.Variable, first: float) -> bool:
        """Make ready for an epoch, counted from 0; return whether training began with it.

        Its first epoch, or the first one after a snapshot: `on_train_begin` was called.
        first: learning rate of the epoch
        """
        return False

    def begin_epoch(self, epoch: int, rate: keras.Variable, first: float) -> None:
        """Tell that an epoch begins, with this learning rate."""

    def drive(self, rate: keras.Variable, value: float) -> None:
        """Set the learning rate of the next update, where it is not for callbacks to set."""
        rate.assign(value)

    def tell(self, event: str, *args: Any) -> None:
        """Call a method of all callbacks, such as `on_test_begin`."""

    def stops(self, model: keras.Model) -> bool:
        """Whether a callback wants no more updates."""
        return False

    def left_rate(self, rate: keras.Variable) -> float | None:
        """Return the learning rate as callbacks left it; None where there are none."""
        return None

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Tell that an epoch has ended, with its logs."""

    def why_not(self, model: keras.Model, loss: float) -> str:
        """Return what callbacks did in an epoch that a search cannot go on with; "" is nothing."""
        return ""


NO_CALLBACKS = NoCallbacks()


class FoldCallbacks(NoCallbacks):
    """A fold's own callbacks in one training.

    fold: its number, for messages
    horizon, n_updates: epochs, and updates of each; `params` of the callbacks has them
    may_set_rate: whether no schedule drives the learning rate: it is then the sampled one until a
        callback sets another
    Raises BadInput, here and in what it does, when the study's function or a callback raises.
    """

    def __init__(
        self, spec: StudySpec, *, fold: int, horizon: int, n_updates: int, may_set_rate: bool
    ) -> None:
        made = made_by(spec)
        self.resumable = all(map(holds_nothing, made))
        self._history = keras.callbacks.History()
        self._callbacks = [*made, self._history]
        self._params = {"verbose": 0, "epochs": horizon, "steps": n_updates}
        self._fold, self._may_set_rate = fold, may_set_rate
        self._list: keras.callbacks.CallbackList | None = None
        self._made_of: Any = None
        self._driven: float | None = None
        self._logs: Mapping[str, Any] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether `on_train_begin` was called, and `on_train_end` was not."""
        return self._list is not None

    def begin(self, model: keras.Model, epoch: int, rate: keras.Variable, first: float) -> bool:
        """Tell of the training's begin, if it is one, and let the model be this fold's."""
        begins = self._list is None
        if begins:
            if epoch == 0:
                rate.assign(first)
            self._made_of = _made_of(model)
            with _told("set_model"):
                self._list = keras.callbacks.CallbackList(
                    self._callbacks, model=model, **self._params
                )
            self.tell("on_train_begin")
        model.history = self._history
        model.stop_training = model.stop_evaluating = False
        return begins

    def begin_epoch(self, epoch: int, rate: keras.Variable, first: float) -> None:
        """Tell that an epoch begins, with this learning rate."""
        self.drive(rate, first)
        self.tell("on_epoch_begin", epoch)

    def drive(self, rate: keras.Variable, value: float) -> None:
        """Set the next update's learning rate, unless it is for callbacks to set.

        Raises BadInput when one did although it is not.
        """
        if self._may_set_rate:
            return
        self._refuse_another(rate)
        rate.assign(value)
        self._driven = float(rate)

    def tell(self, event: str, *args: Any) -> None:
        """Call a method of all callbacks."""
        with _told(event):
            getattr(self._list, event)(*args)

    def stops(self, model: keras.Model) -> bool:
        """Whether a callback has set `stop_training`."""
        return bool(model.stop_training)

    def left_rate(self, rate: keras.Variable) -> float:
        """Return the learning rate as callbacks left it."""
        self._refuse_another(rate)
        return float(rate)

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Tell that an epoch has ended."""
        self.tell("on_epoch_end", epoch, logs)
        self._logs = logs

    def why_not(self, model: keras.Model, loss: float) -> str:
        """Return what callbacks did in an epoch that a search cannot go on with.

        One that stops a training whose loss is not finite is right: such a trial ends anyhow.
        """
        if _made_of(model) != self._made_of:
            return (
                "callbacks must not change what is trainable, nor compile the model, nor give its "
                "optimizer a schedule: all folds share it, and Keras's own fit takes no notice "
                "once it trains"
            )
        if model.stop_evaluating:
            return "callbacks must let all validation rows be scored, got model.stop_evaluating"
        if model.stop_training and np.isfinite(loss):
            return (
                f"callbacks must not set model.stop_training, got it in fold {self._fold}: no fold "
                "stops by itself, since the curve is the mean over all of them; "
                "early_stopping=EarlyStopping(patience=…) stops them on it"
            )
        return ""

    def end(self) -> None:
        """Tell that training is over."""
        self.tell("on_train_end", self._logs)
        self._list = None

    def _refuse_another(self, rate: keras.Variable) -> None:
        if self._driven is not None and float(rate) != self._driven:
            raise BadInput(f"{RATE_IS_DRIVEN}; got {float(rate):g} for {self._driven:g}")


class DrivenRate:
    """An optimizer's learning rate where it was built with a schedule: read, and never set."""

    def __init__(self, rate: keras.Variable) -> None:
        self._rate = rate

    def __call__(self) -> keras.Variable:
        """Return the rate: Keras reads it in each traced step."""
        return self._rate

    def assign(self, value: Any) -> None:
        """Refuse what `optimizer.learning_rate = value` asks for."""
        raise BadInput(f"{RATE_IS_DRIVEN}; got {value!r}")


def made_by(spec: StudySpec) -> list[keras.callbacks.Callback]:
    """Return new callbacks; raise BadInput unless they are what the search can call."""
    assert spec.callbacks is not None
    try:
        made = spec.callbacks()
    except Exception as error:
        raise BadInput(f"callbacks() raised {type(error).__name__}: {error}") from error
    is_list = isinstance(made, list | tuple) and all(
        isinstance(each, keras.callbacks.Callback) for each in made
    )
    require(is_list, "callbacks()", "a list of Keras callbacks", made)
    for each in made:
        for kind, why in REFUSED.items():
            if isinstance(each, kind):
                raise BadInput(f"callbacks must be without {type(each).__name__}: {why}")
    return list(made)


def check_callbacks(spec: StudySpec) -> None:
    """Raise BadInput unless the study's callbacks are new each time, and the search can call them.

    Nor may they hold anything where trials pause.
    """
    if spec.callbacks is None:
        return
    first, second = made_by(spec), made_by(spec)
    if shared := {id(each) for each in first} & {id(each) for each in second}:
        name = next(type(each).__name__ for each in first if id(each) in shared)
        raise BadInput(
            f"callbacks must be a function that makes new ones each time, got the same {name} "
            "twice: each fold needs its own; for example lambda: [MyCallback()]"
        )
    if spec.pausing is not None and (names := _holding(first)):
        raise BadInput(
            f"strategy must be None with callbacks that may keep something, got {names}: trials "
            f"that pause go on without it. Allowed: {_DECLARED}"
        )


def remarks_on_callbacks(spec: StudySpec) -> list[str]:
    """Return, in sentences, what callbacks cost a search that is interrupted."""
    if spec.callbacks is None or not (names := _holding(made_by(spec))):
        return []
    return [
        f"no snapshot holds what {names} may keep: what is interrupted is trained again from its "
        f"first epoch, and the best trial for its models; {_DECLARED}"
    ]


_DECLARED = (
    f"`{RESUMABLE} = True` in a callback's class says that it keeps nothing from epoch to epoch"
)


def holds_nothing(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback keeps nothing from one epoch to the next, as far as it says."""
    return bool(getattr(callback, RESUMABLE, type(callback) in HOLD_NOTHING))


def _holding(made: list[keras.callbacks.Callback]) -> str:
    return ", ".join(dict.fromkeys(type(each).__name__ for each in made if not holds_nothing(each)))


def _made_of(model: keras.Model) -> tuple:
    """Return what all folds share of a model, and no state has."""
    flags = [each.trainable for each in (*model._flatten_layers(), *model.variables)]
    optimizer = model.optimizer and inner(model.optimizer)
    rate = optimizer and optimizer._learning_rate
    return flags, id(optimizer), id(rate), id(model.train_function)


@contextmanager
def _told(event: str) -> Iterator[None]:
    """Say in which method a callback raised."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # the user's own code
        kind = type(error).__name__
        raise BadInput(f"callbacks raised {kind} in {event}: {error}") from error
