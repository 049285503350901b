"""Which engine, and whether XLA pays: found out once per study, on its own model and data.

Compiled epochs where the model can run in them, Keras's own steps where it cannot. With XLA or
without as the model's author says in `model.compile(jit_compile=…)`, or else as is measured. Timed
is what a search does: as many folds at once as there are lanes, or one, if that is faster.

XLA makes small dense networks faster, costs seconds per compiled program, and is slower on CPU
convolutions and dropout masks. It also changes dropout's masks, so
the choice belongs to the study: it is recorded when the study is created and obeyed ever after.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.space import middle, values
from pipeline.spec import StudySpec
from pipeline.training.architectures import n_architectures
from pipeline.training.engine import Engine, Mode, NotResident, XlaRefused
from pipeline.training.engines import engine_for
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.lanes import Lanes
from pipeline.training.lockstep import LockstepTraining

TIMED_SECS = 0.5
"""Epochs are timed for so long, and at least three; the fastest counts, since noise only adds."""

REQUIRED_GAIN = 0.8
"""XLA must finish the search in this share of the time, or it is not used: a choice that is
recorded for ever should not hang on noise. The same for folds in turn instead of at once."""

WORTH_MEASURING_SECS = 20.0
"""Below this cost of the whole search without XLA, compiling once to find out costs more."""

TRAINED_SHARE = 0.5
"""Of all epochs that trials propose: what pruning and early stopping usually leave."""


@dataclass(frozen=True)
class Timing:
    """What an engine mode costs: seconds per compiled program and per fold-epoch."""

    mode: Mode
    compile_secs: float
    fold_epoch_secs: float

    def search_secs(self, work: SearchWork) -> float:
        """Return the predicted time of the whole search."""
        return work.n_programs * self.compile_secs + work.n_fold_epochs * self.fold_epoch_secs


@dataclass(frozen=True)
class SearchWork:
    """How much a search is expected to train."""

    n_fold_epochs: float
    n_programs: int


@dataclass(frozen=True)
class Measured:
    """The engine to use, why, and what was timed."""

    engine: Engine
    timing: Timing
    reason: str


def expected_work(spec: StudySpec, folds: Sequence[Fold]) -> SearchWork:
    """Return the search's expected fold-epochs and programs, before any trial is known."""
    choices = values(spec.space["max_epochs"])
    epochs = sum(choices) / len(choices)
    n_trials = spec.budget.n_trials
    return SearchWork(
        n_fold_epochs=n_trials * len(folds) * epochs * TRAINED_SHARE,
        n_programs=int(min(n_trials, n_architectures(spec))) * _n_last_batches(spec, folds),
    )


def typical_params(spec: StudySpec) -> dict[str, Any]:
    """Return one proposal from the middle of the space, without a sampler."""
    sampled = {name: middle(d) for name, d in spec.sampled.items()}
    sampled |= {name: middle(d) for name, d in spec.sampled_with(sampled).items()}
    return spec.params_of(sampled)


def chosen_engine(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Engine, str]:
    """Return a new study's engine and why: measured, unless the study sets it.

    A set engine is tried on the study's model, so that what it cannot train is refused now.
    Raises as `measured_engine` does.
    """
    if spec.engine == "auto":
        measured = measured_engine(spec, data, folds, say=say)
        return measured.engine, measured.reason
    engine, params = engine_for(spec.engine, spec, data, folds, say=say), typical_params(spec)
    # The first trial may be of another architecture, and compiling takes seconds.
    if n_architectures(spec) == 1 or not engine.program(params).compiles():
        _training(engine, spec, folds[:1], params).advance()
    return engine, _is_set(spec.engine)


def measured_engine(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Return the engine for this study, timed on its own model, with the program it compiled.

    Raises BadInput when the data or the model cannot be used, NotResident when the engine that is
    set cannot train it.
    """
    work = expected_work(spec, folds)
    params = typical_params(spec)
    if spec.engine != "auto":
        engine, timing = _timed(spec, data, folds, params, spec.engine, say)
        return Measured(engine, timing, _is_set(spec.engine))
    try:
        first, plain = _timed(spec, data, folds, params, "plain", say)
    except NotResident as why:
        engine, timing = _timed(spec, data, folds, params, "stream", say)
        return Measured(engine, timing, f"no compiled epoch can hold the model: {why.reason}")
    wish, why_wished = first.program(params).xla_wish
    if wish is False:
        return Measured(first, plain, why_wished)
    expected = plain.search_secs(work)
    if wish is None and expected < WORTH_MEASURING_SECS:
        return Measured(
            first, plain, f"the search needs about {expected:.0f} s without XLA: not worth a trial"
        )
    try:
        second, xla = _timed(spec, data, folds, params, "xla", say)
    except XlaRefused as why:
        return Measured(first, plain, f"XLA cannot compile the model: {why.reason}")
    if wish:
        return Measured(second, xla, why_wished)
    with_xla = xla.search_secs(work)
    reason = (
        f"about {with_xla:.0f} s with XLA ({1e3 * xla.fold_epoch_secs:.1f} ms a fold-epoch, "
        f"{xla.compile_secs:.1f} s a program), {expected:.0f} s without "
        f"({1e3 * plain.fold_epoch_secs:.1f} ms, {plain.compile_secs:.1f} s)"
    )
    if with_xla < REQUIRED_GAIN * expected:
        return Measured(second, xla, reason)
    return Measured(first, plain, reason)


def _is_set(mode: Mode) -> str:
    return f"engine={mode!r} is set"


def _timed(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    params: Mapping[str, Any],
    mode: Mode,
    say: Callable[[str], None],
) -> tuple[KerasEngine, Timing]:
    engine = engine_for(mode, spec, data, folds, say=say)
    folds = _alike(folds, spec, params)[: engine.lanes.n]
    start = time.perf_counter()
    training = _training(engine, spec, folds, params)
    training.advance()
    first_secs = time.perf_counter() - start
    secs = _epoch_secs(engine, spec, folds, params)
    if len(folds) > 1:
        at_once, engine.lanes = engine.lanes, Lanes(1)
        secs_in_turn = _epoch_secs(engine, spec, folds, params)
        engine.in_turn = secs_in_turn < REQUIRED_GAIN * secs
        if engine.in_turn:
            secs = secs_in_turn
        else:
            engine.lanes = at_once
    return engine, Timing(mode, max(first_secs - secs, 0.0), secs / len(folds))


def _epoch_secs(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> float:
    """Return how long an epoch of these folds takes: the fastest of some."""
    seconds: list[float] = []
    training = _training(engine, spec, folds, params)
    while len(seconds) < 3 or sum(seconds) < TIMED_SECS:
        if training.n_epochs == training.horizon:  # a schedule ends there
            training = _training(engine, spec, folds, params)
        start = time.perf_counter()
        training.advance()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _alike(folds: Sequence[Fold], spec: StudySpec, params: Mapping[str, Any]) -> list[Fold]:
    """Return the folds that share the first one's program: others would compile one more."""
    sizes = [_last_batches(fold, spec, params) for fold in folds]
    return [fold for fold, size in zip(folds, sizes, strict=True) if size == sizes[0]]


def _last_batches(fold: Fold, spec: StudySpec, params: Mapping[str, Any]) -> tuple[int, int]:
    size = int(params["batch_size"])
    return len(fold.train) % size, len(fold.validation) % (spec.validation_batch_size or size)


def _training(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> LockstepTraining:
    program = engine.program(params)
    return LockstepTraining(program, params, folds, spec=spec)


def _n_last_batches(spec: StudySpec, folds: Sequence[Fold]) -> int:
    params = typical_params(spec)
    return len({_last_batches(fold, spec, params) for fold in folds})
