"""What training a study's models costs: epochs timed on its own data, times how many there are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipeline.folds import Fold
from pipeline.space import values
from pipeline.spec import StudySpec
from pipeline.training.architectures import n_architectures, typical_params
from pipeline.training.engine import Engine
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.lanes import Lanes
from pipeline.training.lockstep import LockstepTraining

TIMED_SECS = 0.5
"""Epochs are timed for so long; the fastest counts, since noise only adds."""

STEADY_SECS = 5.0
"""Until then at least three epochs are timed: the longer they are, the less they scatter."""

TRAINED_SHARE = 0.5
"""Of all epochs that trials propose: what pruning and early stopping usually leave."""


@dataclass(frozen=True)
class SearchWork:
    """How much a search is expected to train."""

    n_fold_epochs: float
    n_programs: float

    def share(self, n: int) -> SearchWork:
        """Return what each of n kinds of models takes of it, if they are proposed equally often."""
        return SearchWork(self.n_fold_epochs / n, self.n_programs / n)


@dataclass(frozen=True)
class Timing:
    """What training costs: seconds per compiled program and per fold-epoch."""

    compile_secs: float
    fold_epoch_secs: float

    def search_secs(self, work: SearchWork) -> float:
        """Return the predicted time of the whole search."""
        return work.n_programs * self.compile_secs + work.n_fold_epochs * self.fold_epoch_secs


@dataclass(frozen=True)
class Timings:
    """Of one kind of models: as many folds at once as there are lanes, and one after the other."""

    at_once: Timing
    in_turn: Timing

    def of(self, *, in_turn: bool) -> Timing:
        """Return the one or the other."""
        return self.in_turn if in_turn else self.at_once


def expected_work(spec: StudySpec, folds: Sequence[Fold]) -> SearchWork:
    """Return the search's expected fold-epochs and programs, before any trial is known."""
    choices = values(spec.space["max_epochs"])
    epochs = sum(choices) / len(choices)
    n_trials = spec.budget.n_trials
    if (strategy := spec.pausing) is None:
        n_fold_epochs = n_trials * len(folds) * epochs * TRAINED_SHARE
    else:
        n_fold_epochs = strategy.expected_fold_epochs(n_trials, len(folds), epochs)
    return SearchWork(
        n_fold_epochs=n_fold_epochs,
        n_programs=int(min(n_trials, n_architectures(spec))) * _n_last_batches(spec, folds),
    )


def mean(timings: Sequence[Timing]) -> Timing:
    """Return the mean over kinds of models."""
    n = len(timings)
    return Timing(
        sum(each.compile_secs for each in timings) / n,
        sum(each.fold_epoch_secs for each in timings) / n,
    )


def timed(
    engine: KerasEngine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> Timings:
    """Return what the engine takes for models of these parameters, as it is set up.

    Raises NotResident and XlaRefused where it cannot train them.
    """
    alike = folds_alike(engine, folds, params)
    start = time.perf_counter()
    train_once(engine, spec, alike, params)
    first_secs = time.perf_counter() - start
    at_once = epoch_secs(engine, spec, alike, params)
    in_turn = at_once
    if len(alike) > 1 and engine.lanes.n_each > 1:
        with _in_turn(engine):
            in_turn = epoch_secs(engine, spec, alike, params)
    compile_secs = max(first_secs - at_once, 0.0)
    return Timings(*(Timing(compile_secs, secs / len(alike)) for secs in (at_once, in_turn)))


def epoch_secs(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> float:
    """Return how long an epoch of these folds takes: the fastest of some."""
    seconds: list[float] = []
    training = training_of(engine, spec, folds, params)
    while sum(seconds) < (TIMED_SECS if len(seconds) >= 3 else STEADY_SECS):
        if training.n_epochs == training.horizon:  # a schedule ends there
            training.end()
            training = training_of(engine, spec, folds, params)
        start = time.perf_counter()
        training.advance()
        seconds.append(time.perf_counter() - start)
    training.end()
    return min(seconds)


def folds_alike(
    engine: KerasEngine, folds: Sequence[Fold], params: Mapping[str, Any]
) -> Sequence[Fold]:
    """Return folds that share the first one's program, as others would compile one more.

    As many as train at once.
    """
    sizes = int(params["batch_size"]), engine.validation_batch_size(params)
    first = _last_batches(folds[0], *sizes)
    return [fold for fold in folds if _last_batches(fold, *sizes) == first][: engine.lanes.n]


def training_of(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> LockstepTraining:
    """Return a training of these folds, at its beginning."""
    return LockstepTraining(engine.program(params), params, folds, spec=spec)


def train_once(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> None:
    """Train these folds for an epoch and no more."""
    training = training_of(engine, spec, folds, params)
    training.advance()
    training.end()


@contextmanager
def _in_turn(engine: KerasEngine) -> Iterator[None]:
    at_once, engine.lanes = engine.lanes, Lanes(1, len(engine.devices))
    try:
        yield
    finally:
        engine.lanes = at_once


def _last_batches(fold: Fold, size: int, validation_size: int) -> tuple[int, int]:
    return len(fold.train) % size, len(fold.validation) % validation_size


def _n_last_batches(spec: StudySpec, folds: Sequence[Fold]) -> int:
    size = int(typical_params(spec)["batch_size"])
    return len({_last_batches(fold, size, spec.validation_batch_size or size) for fold in folds})
