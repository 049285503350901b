"""How a study's models are best trained: found out once, on its own model and data.

Compiled epochs where the models can run in them, Keras's own steps where they cannot, or where the
study's callbacks or `augment` are to be called between two updates. With XLA or without as the
model's author says in `model.compile(jit_compile=…)`, or else as is measured, for each kind of
models. Timed is what a search does: as many folds at once as there are lanes, or one, if that is
faster. Then whether larger validation batches are worth it.

XLA makes small dense networks faster, costs seconds per compiled program, and is slower on CPU
convolutions and dropout masks. It also changes dropout's masks, so the choice belongs to the study:
it is recorded when the study is created and obeyed ever after.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.spec import EngineMode, StudySpec
from pipeline.training.architectures import (
    n_architectures,
    typical_of_each_kind,
    typical_params,
)
from pipeline.training.engine import Engine, Mode, NotResident, Setup, XlaRefused
from pipeline.training.engines import engine_for
from pipeline.training.keras_engine import KerasEngine
from pipeline.training.timing import (
    SearchWork,
    Timing,
    Timings,
    epoch_secs,
    expected_work,
    folds_alike,
    mean,
    timed,
    train_once,
)

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


@dataclass(frozen=True)
class Measured:
    """The engine to use, why, and what was timed: the mean over kinds of models."""

    engine: KerasEngine
    timing: Timing
    reason: str


@dataclass(frozen=True)
class Kind:
    """Models that are made of the same kinds of layers, and what one of them takes.

    name: those layers
    timings: by mode
    why: what decides its mode, where that is not the time
    """

    name: str
    params: Mapping[str, Any]
    timings: Mapping[Mode, Timings]
    why: str = ""

    def choice(self, work: SearchWork, *, in_turn: bool) -> tuple[Mode, Timing]:
        """Return the mode for so much work, and what it takes."""
        timings = {mode: each.of(in_turn=in_turn) for mode, each in self.timings.items()}
        if len(timings) > 1 and not self.why:
            with_xla, without = (timings[mode].search_secs(work) for mode in ("xla", "plain"))
            mode: Mode = "xla" if with_xla < REQUIRED_GAIN * without else "plain"
        else:
            mode = list(timings)[-1]  # the only one, or XLA, as it is wanted
        return mode, timings[mode]

    def reason(self, work: SearchWork, *, in_turn: bool) -> str:
        """Return why its mode was chosen."""
        if self.why:
            return self.why
        xla, plain = (self.timings[mode].of(in_turn=in_turn) for mode in ("xla", "plain"))
        return (
            f"about {xla.search_secs(work):.0f} s with XLA ({1e3 * xla.fold_epoch_secs:.1f} ms a "
            f"fold-epoch, {xla.compile_secs:.1f} s a program), {plain.search_secs(work):.0f} s "
            f"without ({1e3 * plain.fold_epoch_secs:.1f} ms, {plain.compile_secs:.1f} s)"
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
        train_once(engine, spec, folds[:1], params)
    return engine, _is_set(spec.engine)


def measured_engine(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Measured:
    """Return the engine for this study, timed on its own models, with the programs it compiled.

    Raises BadInput when the data or the model cannot be used, NotResident when the engine that is
    set cannot train it.
    """

    def new(mode: Mode) -> KerasEngine:
        return engine_for(Setup(mode), spec, data, folds, say=say)

    def streamed(reason: str) -> Measured:
        engine = new("stream")
        timings = timed(engine, spec, folds, typical_params(spec))
        return Measured(engine, timings.at_once, reason)

    if spec.engine != "auto":
        measured = _with_measured_modes(new(spec.engine), spec, folds)
    elif spec.python_in_training:
        measured = streamed(f"no compiled epoch can call Python: {spec.python_in_training}")
    else:
        try:
            measured = _with_measured_modes(new("plain"), spec, folds)
        except NotResident as why:
            measured = streamed(f"no compiled epoch can hold the model: {why.reason}")
    return _with_measured_validation(measured, spec, folds)


def _with_measured_modes(engine: KerasEngine, spec: StudySpec, folds: Sequence[Fold]) -> Measured:
    """Set up the engine as it trains the study's models fastest, each kind of them by itself.

    Raises NotResident where it cannot train them in any mode that is open.
    """
    work, is_open = expected_work(spec, folds), spec.engine == "auto"
    why = "" if is_open else _is_set(spec.engine)

    def of_kind(params: Mapping[str, Any]) -> Kind:
        timings = timed(engine, spec, folds, params)
        return Kind(engine.program(params).kind, params, {engine.setup.mode: timings}, why)

    kinds = [of_kind(typical_params(spec))]
    secs = _fastest(kinds, work)[1].search_secs(work)
    is_long = secs >= WORTH_MEASURING_SECS
    if is_long and engine.setup.mode == "plain":
        kinds += [of_kind(params) for params in typical_of_each_kind(spec)[1:]]
    if is_open:
        why = (
            "" if is_long else f"the search needs about {secs:.0f} s without XLA: not worth a trial"
        )
        kinds = [_with_xla(kind, engine, spec, folds, why) for kind in kinds]
    in_turn, timing = _fastest(kinds, work)
    share = work.share(len(kinds))
    modes = {kind.name: kind.choice(share, in_turn=in_turn)[0] for kind in kinds}
    engine.set_up(Setup.of_kinds(modes, in_turn=in_turn))
    reasons = {kind.name: kind.reason(share, in_turn=in_turn) for kind in kinds}
    return Measured(engine, timing, _in_words(reasons))


def _with_xla(
    kind: Kind, engine: KerasEngine, spec: StudySpec, folds: Sequence[Fold], not_worth: str
) -> Kind:
    """Return the kind as it trains with XLA as well, or why it does not.

    not_worth: why it is not to be timed unless it must, if so
    """
    wish, why = engine.program(kind.params).xla_wish
    if wish is False or (wish is None and not_worth):
        return replace(kind, why=why or not_worth)
    plain = engine.setup
    engine.setup = replace(plain, mode="xla")
    try:
        with_xla = timed(engine, spec, folds, kind.params)
    except XlaRefused as refused:
        return replace(kind, why=f"XLA cannot compile the model: {refused.reason}")
    finally:
        engine.setup = plain
    return replace(kind, timings={**kind.timings, "xla": with_xla}, why=why)


def _fastest(kinds: Sequence[Kind], work: SearchWork) -> tuple[bool, Timing]:
    """Return whether folds had better train in turn, and what the search then takes."""
    share = work.share(len(kinds))
    at_once, in_turn = (
        mean([kind.choice(share, in_turn=way)[1] for kind in kinds]) for way in (False, True)
    )
    is_faster = in_turn.fold_epoch_secs < REQUIRED_GAIN * at_once.fold_epoch_secs
    return is_faster, in_turn if is_faster else at_once


def _in_words(reasons: Mapping[str, str]) -> str:
    """Return the reasons of kinds; of one kind, or where it is the same, just that."""
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _with_measured_validation(
    measured: Measured, spec: StudySpec, folds: Sequence[Fold]
) -> Measured:
    """Let the engine validate more rows at once, where that saves a fifth of an epoch.

    With five folds it cannot. XLA leaves nothing to save beside the arithmetic.
    """
    engine, timing, params = measured.engine, measured.timing, typical_params(spec)
    size = int(params["batch_size"])
    n_updates, n_steps = (
        math.ceil(len(rows) / size) for rows in (folds[0].train, folds[0].validation)
    )
    saves_at_most = STEP_SHARE * n_steps / (n_updates + STEP_SHARE * n_steps)
    is_short = timing.fold_epoch_secs < SHORT_STEP_SECS * (n_updates + n_steps)
    is_long_search = timing.search_secs(expected_work(spec, folds)) >= WORTH_MEASURING_SECS
    if (
        spec.validation_batch_size is not None
        or engine.setup.mode == "xla"
        or not (saves_at_most > 1 - REQUIRED_GAIN and is_short and is_long_search)
    ):
        return measured

    def secs() -> float:
        alike = folds_alike(engine, folds, params)
        return epoch_secs(engine, spec, alike, params) / len(alike)

    before, secs_before = engine.setup, secs()
    larger = engine.setup = replace(before, validation_factor=VALIDATION_FACTOR)
    n_rows, secs_now = engine.validation_batch_size(params), secs()
    is_faster = secs_now < REQUIRED_GAIN * secs_before
    engine.set_up(larger if is_faster else before)
    if is_faster:
        timing = replace(timing, fold_epoch_secs=timing.fold_epoch_secs * secs_now / secs_before)
    return Measured(
        engine,
        timing,
        f"{measured.reason}; {1e3 * secs_now:.1f} ms a fold-epoch where {n_rows} rows are "
        f"validated at once, {1e3 * secs_before:.1f} with {size}",
    )


def _is_set(mode: EngineMode) -> str:
    return f"engine={mode!r} is set"
