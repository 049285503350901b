"""How a study's models are best trained: found out once, on its own model and data.

Compiled epochs where the model can run in them, Keras's own steps where it cannot. With XLA or
without as the model's author says in `model.compile(jit_compile=…)`, or else as is measured. Timed
is what a search does: as many folds at once as there are lanes, or one, if that is faster. Then
whether larger validation batches are worth it.

XLA makes small dense networks faster, costs seconds per compiled program, and is slower on CPU
convolutions and dropout masks. It also changes dropout's masks, so
the choice belongs to the study: it is recorded when the study is created and obeyed ever after.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.space import values
from pipeline.spec import StudySpec
from pipeline.training.architectures import (
    n_architectures,
    typical_of_each_kind,
    typical_params,
)
from pipeline.training.engine import Engine, Mode, NotResident, Setup, XlaRefused
from pipeline.training.engines import engine_for
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.lanes import Lanes
from pipeline.training.lockstep import LockstepTraining

TIMED_SECS = 0.5
"""Epochs are timed for so long; the fastest counts, since noise only adds."""

STEADY_SECS = 5.0
"""Until then at least three epochs are timed: the longer they are, the less they scatter."""

REQUIRED_GAIN = 0.8
"""XLA must finish the search in this share of the time, or it is not used: a choice that is
recorded for ever should not hang on noise. The same for folds in turn instead of at once."""

WORTH_MEASURING_SECS = 20.0
"""Below this cost of the whole search without XLA, compiling once to find out costs more."""

VALIDATION_FACTOR = 16
"""Times the batch size that is tried for validation: of what a step costs beside its arithmetic, a
sixteenth is left."""

STEP_SHARE = 0.5
"""Of an update's time, that a step of validation takes at most: it goes forwards only."""

SHORT_STEP_SECS = 0.005
"""A step that takes longer is arithmetic: a larger batch saves nothing of it, and takes memory."""

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

    engine: KerasEngine
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
    setup, params = Setup(spec.engine), typical_params(spec)
    engine = engine_for(setup, spec, data, folds, say=say)
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
    params = typical_params(spec)
    measured = _with_measured_mode(spec, data, folds, params, say)
    return _with_measured_validation(measured, spec, folds, params)


def _with_measured_mode(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    params: Mapping[str, Any],
    say: Callable[[str], None],
) -> Measured:
    work = expected_work(spec, folds)
    if spec.engine != "auto" and spec.engine != "plain":
        engine, timing = _timed(spec, data, folds, [params], spec.engine, say)
        return Measured(engine, timing, _is_set(spec.engine))
    try:
        first, plain = _timed(spec, data, folds, [params], "plain", say)
        kinds: Sequence[Mapping[str, Any]] = [params]
        if plain.search_secs(work) >= WORTH_MEASURING_SECS:
            kinds = typical_of_each_kind(spec)
        if len(kinds) > 1:
            first, plain = _timed(spec, data, folds, kinds, "plain", say)
    except NotResident as why:
        if spec.engine == "plain":
            raise
        engine, timing = _timed(spec, data, folds, [params], "stream", say)
        return Measured(engine, timing, f"no compiled epoch can hold the model: {why.reason}")
    if spec.engine == "plain":
        return Measured(first, plain, _is_set("plain"))
    wish, why_wished = _wish(first, kinds)
    if wish is False:
        return Measured(first, plain, why_wished)
    expected = plain.search_secs(work)
    if wish is None and expected < WORTH_MEASURING_SECS:
        return Measured(
            first, plain, f"the search needs about {expected:.0f} s without XLA: not worth a trial"
        )
    try:
        second, xla = _timed(spec, data, folds, kinds, "xla", say)
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
    if len(kinds) > 1:
        reason += f", the mean of {len(kinds)} kinds of models"
    if with_xla < REQUIRED_GAIN * expected:
        return Measured(second, xla, reason)
    return Measured(first, plain, reason)


def _with_measured_validation(
    measured: Measured, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> Measured:
    """Let the engine validate more rows at once, where that saves a fifth of an epoch.

    With five folds it cannot. XLA leaves nothing to save beside the arithmetic.
    """
    engine, timing = measured.engine, measured.timing
    size = int(params["batch_size"])
    n_updates, n_steps = (
        math.ceil(len(rows) / size) for rows in (folds[0].train, folds[0].validation)
    )
    saves_at_most = STEP_SHARE * n_steps / (n_updates + STEP_SHARE * n_steps)
    is_short = timing.fold_epoch_secs < SHORT_STEP_SECS * (n_updates + n_steps)
    is_long_search = timing.search_secs(expected_work(spec, folds)) >= WORTH_MEASURING_SECS
    if (
        spec.validation_batch_size is not None
        or timing.mode == "xla"
        or not (saves_at_most > 1 - REQUIRED_GAIN and is_short and is_long_search)
    ):
        return measured
    before = engine.setup
    engine.setup = replace(before, validation_factor=VALIDATION_FACTOR)
    timed = _alike(engine, folds, params)
    secs = _epoch_secs(engine, spec, timed, params) / len(timed)
    reason = (
        f"{measured.reason}; {1e3 * secs:.1f} ms a fold-epoch where "
        f"{engine.validation_batch_size(params)} rows are validated at once, "
        f"{1e3 * timing.fold_epoch_secs:.1f} with {size}"
    )
    if secs < REQUIRED_GAIN * timing.fold_epoch_secs:
        return Measured(engine, replace(timing, fold_epoch_secs=secs), reason)
    engine.setup = before
    return Measured(engine, timing, reason)


def _wish(engine: KerasEngine, kinds: Sequence[Mapping[str, Any]]) -> tuple[bool | None, str]:
    """Return whether the models' author wants XLA, and why; one model that must not decides."""
    wishes = [engine.program(params).xla_wish for params in kinds]
    return next((wish for wish in wishes if wish[0] is False), wishes[0])


def _is_set(mode: Mode) -> str:
    return f"engine={mode!r} is set"


def _timed(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    kinds: Sequence[Mapping[str, Any]],
    mode: Mode,
    say: Callable[[str], None],
) -> tuple[KerasEngine, Timing]:
    """Return an engine, and what it takes on average over proposals of each kind."""
    engine = engine_for(Setup(mode), spec, data, folds, say=say)
    of_kinds = [(_alike(engine, folds, params), params) for params in kinds]
    start = time.perf_counter()
    for timed, params in of_kinds:
        _training(engine, spec, timed, params).advance()
    first_secs = time.perf_counter() - start
    n_folds = len(of_kinds[0][0])

    def secs_of_all() -> float:
        return sum(_epoch_secs(engine, spec, timed, params) for timed, params in of_kinds)

    secs = secs_of_all()
    if n_folds > 1:
        at_once, engine.lanes = engine.lanes, Lanes(1)
        secs_in_turn = secs_of_all()
        if secs_in_turn < REQUIRED_GAIN * secs:
            engine.setup = replace(engine.setup, in_turn=True)
            secs = secs_in_turn
        else:
            engine.lanes = at_once
    compile_secs = max(first_secs - secs, 0.0) / len(kinds)
    return engine, Timing(mode, compile_secs, secs / len(kinds) / n_folds)


def _epoch_secs(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> float:
    """Return how long an epoch of these folds takes: the fastest of some."""
    seconds: list[float] = []
    training = _training(engine, spec, folds, params)
    while sum(seconds) < (TIMED_SECS if len(seconds) >= 3 else STEADY_SECS):
        if training.n_epochs == training.horizon:  # a schedule ends there
            training = _training(engine, spec, folds, params)
        start = time.perf_counter()
        training.advance()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _alike(engine: KerasEngine, folds: Sequence[Fold], params: Mapping[str, Any]) -> Sequence[Fold]:
    """Return folds that share the first one's program, as others would compile one more.

    As many as train at once.
    """
    sizes = int(params["batch_size"]), engine.validation_batch_size(params)
    first = _last_batches(folds[0], *sizes)
    return [fold for fold in folds if _last_batches(fold, *sizes) == first][: engine.lanes.n]


def _last_batches(fold: Fold, size: int, validation_size: int) -> tuple[int, int]:
    return len(fold.train) % size, len(fold.validation) % validation_size


def _training(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> LockstepTraining:
    program = engine.program(params)
    return LockstepTraining(program, params, folds, spec=spec)


def _n_last_batches(spec: StudySpec, folds: Sequence[Fold]) -> int:
    size = int(typical_params(spec)["batch_size"])
    return len({_last_batches(fold, size, spec.validation_batch_size or size) for fold in folds})
