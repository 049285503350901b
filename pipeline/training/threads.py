"""How many threads an operation has: timed when a study is created, in copies of this process.

With as many folds at once as there are cores, each operation of a small model is done sooner by one
thread than by two that have to meet. XLA's programs share the threads of operations: with one of
them folds would train in turn. So it hangs on the engine, and TensorFlow asks for it before its
first operation: both are found out together, before that.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.machine import n_cores
from pipeline.schedules import updates_per_epoch
from pipeline.spec import EngineMode, StudySpec
from pipeline.training.apart import can_copy, in_a_copy
from pipeline.training.architectures import typical_params
from pipeline.training.devices import set_up
from pipeline.training.engine import Setup
from pipeline.training.measure import REQUIRED_GAIN, WORTH_MEASURING_SECS, measured_engine
from pipeline.training.timing import Timing, expected_work

WORTH_MEASURING_UPDATES = 2000
"""Of a whole search. With fewer it is over in 20 seconds; or an update takes more than 10 ms, and
its operations have work enough for several threads."""


@dataclass(frozen=True)
class Found:
    """How a study is to be trained, why, and what was timed.

    operation_threads: of one operation; None is one per core
    """

    setup: Setup
    timing: Timing
    reason: str
    operation_threads: int | None = None


def found_apart(
    spec: StudySpec, data: Dataset, folds: Sequence[Fold], *, threads: int | None
) -> Found | None:
    """Return how a new study is best trained, with few threads an operation or with all.

    Few are the cores' share of each fold that trains at once.
    threads: of the process, as the study is to have them
    None where there is nothing to decide, TensorFlow runs already, or what is timed cannot be
    trained: whoever trains it in the open is told why.
    """
    n = threads or n_cores()
    few = n // min(n, len(folds))
    if spec.operation_threads is not None or few == n or not can_copy():
        return None
    if spec.engine not in ("auto", "plain") or spec.python_in_training:
        return None  # XLA wants all; what streams trains in turn
    size = int(typical_params(spec)["batch_size"])
    n_updates = updates_per_epoch(len(folds[0].train), size)
    if expected_work(spec, folds).n_fold_epochs * n_updates < WORTH_MEASURING_UPDATES:
        return None
    timed = functools.partial(_timed, spec, data, folds, threads)
    with_few = in_a_copy(functools.partial(timed, few, "plain"))
    if with_few is None:
        return None
    expected = with_few.timing.search_secs(expected_work(spec, folds))
    if expected < WORTH_MEASURING_SECS:
        short = f"the search needs about {expected:.0f} s: no more was timed"
        return replace(with_few, reason=f"{_in_words(with_few)}; {short}")
    with_all = in_a_copy(functools.partial(timed, None, spec.engine))
    return with_few if with_all is None else _better(with_few, with_all, spec, folds)


def _better(with_few: Found, with_all: Found, spec: StudySpec, folds: Sequence[Fold]) -> Found:
    """Return the one with all threads where it finishes the search in a fifth less time."""
    work = expected_work(spec, folds)
    few_secs, all_secs = (each.timing.search_secs(work) for each in (with_few, with_all))
    found = with_all if all_secs < REQUIRED_GAIN * few_secs else with_few
    reason = f"{_in_words(with_few)}, {_in_words(with_all)} ({with_all.reason})"
    return replace(found, reason=reason)


def _timed(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    threads: int | None,
    operation_threads: int | None,
    engine: EngineMode,
) -> Found | None:
    """Time the study in this process, which is a copy that ends afterwards.

    None where the model's author wants XLA and the study does not say otherwise.
    Raises NotResident where an engine that is set cannot train the model.
    """
    set_up(threads, operation_threads=operation_threads, deterministic=spec.deterministic)
    measured = measured_engine(replace(spec, engine=engine), data, folds)
    wants_xla, _ = measured.engine.program(typical_params(spec)).xla_wish
    if spec.engine == "auto" and wants_xla:
        return None
    return Found(measured.engine.setup, measured.timing, measured.reason, operation_threads)


def _in_words(found: Found) -> str:
    n, timing = found.operation_threads, found.timing
    threads = "a thread per core" if n is None else f"{n} thread{'s' if n > 1 else ''}"
    ms = f"{1e3 * timing.fold_epoch_secs:.1f} ms a fold-epoch"
    return f"{ms} with {threads} an operation in mode {found.setup}"
