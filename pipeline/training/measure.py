"""Which engine, and whether XLA pays: found out once per study, on its own model and data.

Compiled epochs where the model can run in them, Keras's own steps where it cannot.

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
from pipeline.training.engine import Engine, Mode, NotResident
from pipeline.training.engines import engine_for
from pipeline.training.lockstep import LockstepTraining
from pipeline.training.programs import n_architectures

TIMED_SECS = 0.5
"""Epochs are timed for so long, and at least three; the fastest counts, since noise only adds."""

REQUIRED_GAIN = 0.8
"""XLA must finish the search in this share of the time, or it is not used: a choice that is
recorded for ever should not hang on noise."""

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
    return {**spec.fixed, **{name: middle(d) for name, d in spec.sampled.items()}}


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
        return Measured(engine, timing, f"engine={spec.engine!r} is set")
    try:
        first, plain = _timed(spec, data, folds, params, "plain", say)
    except NotResident as why:
        engine, timing = _timed(spec, data, folds, params, "stream", say)
        return Measured(engine, timing, f"no compiled epoch can hold the model: {why.reason}")
    expected = plain.search_secs(work)
    if expected < WORTH_MEASURING_SECS:
        return Measured(
            first, plain, f"the search needs about {expected:.0f} s without XLA: not worth a trial"
        )
    second, xla = _timed(spec, data, folds, params, "xla", say)
    with_xla = xla.search_secs(work)
    reason = (
        f"about {with_xla:.0f} s with XLA ({1e3 * xla.fold_epoch_secs:.1f} ms a fold-epoch, "
        f"{xla.compile_secs:.1f} s a program), {expected:.0f} s without "
        f"({1e3 * plain.fold_epoch_secs:.1f} ms, {plain.compile_secs:.1f} s)"
    )
    if with_xla < REQUIRED_GAIN * expected:
        return Measured(second, xla, reason)
    return Measured(first, plain, reason)


def _timed(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    params: Mapping[str, Any],
    mode: Mode,
    say: Callable[[str], None],
) -> tuple[Engine, Timing]:
    engine = engine_for(mode, spec, data, folds, say=say)
    start = time.perf_counter()
    training = _training(engine, spec, folds, params)
    training.advance()
    compile_secs = time.perf_counter() - start
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < TIMED_SECS:
        if training.n_epochs == training.horizon:  # a schedule ends there
            training = _training(engine, spec, folds, params)
        start = time.perf_counter()
        training.advance()
        seconds.append(time.perf_counter() - start)
    return engine, Timing(mode, max(compile_secs - min(seconds), 0.0), min(seconds))


def _training(
    engine: Engine, spec: StudySpec, folds: Sequence[Fold], params: Mapping[str, Any]
) -> LockstepTraining:
    program = engine.program(params)
    return LockstepTraining(program, params, folds[:1], schedule=spec.schedule, seed=spec.seed)


def _n_last_batches(spec: StudySpec, folds: Sequence[Fold]) -> int:
    size = int(typical_params(spec)["batch_size"])
    return len({(len(fold.train) % size, len(fold.validation) % size) for fold in folds})
