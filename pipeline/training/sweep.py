"""The learning rate swept from low to high, once, over the training rows of all folds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.schedules import updates_per_epoch
from pipeline.spec import StudySpec
from pipeline.training.engine import NotResident, Setup
from pipeline.training.engines import engine_for
from pipeline.training.models import row_order

N_POINTS = 100
"""Points of the curve; of fewer updates than this in an epoch the sweep goes through several."""

DIVERGED = 4.0
"""Times what it was at first that the mean loss may come to before the sweep ends."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """The mean training loss at each learning rate, over a block of updates of every fold.

    learning_rates: ascending, of each block's middle; losses: [n_points], finite
    n_updates: in all, summed over folds
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    n_updates: int


def swept(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    params: Mapping[str, Any],
    *,
    low: float,
    high: float,
    go_on: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> Sweep:
    """Train all folds in lockstep while the learning rate rises exponentially, update by update.

    Nothing is validated, and no callbacks are called: the loss is that of each batch before its
    update. It ends where the mean is no longer finite, or more than `DIVERGED` times what it was at
    first.
    go_on: called before each block; raises to stop
    """
    folds = [Fold(f.index, f.train, f.validation[:0], f.starts_like) for f in folds]
    program = _program(spec, data, folds, params, say)
    n_rows, size = min(len(fold.train) for fold in folds), int(params["batch_size"])
    n_each = math.ceil(updates_per_epoch(n_rows, size) / N_POINTS)
    rates = np.geomspace(low, high, N_POINTS * n_each).reshape(N_POINTS, n_each)
    states = {fold.index: program.initial_state(fold.index) for fold in folds}
    blocks = {fold.index: _blocks(spec.seed, fold, size, n_each) for fold in folds}
    losses: list[float] = []
    for block in rates:
        go_on()
        of_folds = []
        for index, state in states.items():
            states[index], epoch = program.run_epoch(index, state, next(blocks[index]), block)
            of_folds.append(epoch.metrics())
        column = program.metric_names.index("loss")
        loss = float(np.mean([metrics[column] for metrics in of_folds]))
        first = losses[0] if losses else loss
        if not np.isfinite(loss) or loss > DIVERGED * abs(first):
            break
        losses.append(loss)
    n_updates = n_each * len(folds) * min(len(losses) + 1, N_POINTS)
    middles = np.sqrt(rates[:, 0] * rates[:, -1])
    return Sweep(middles[: len(losses)], np.array(losses), n_updates)


def _program(
    spec: StudySpec,
    data: Dataset,
    folds: Sequence[Fold],
    params: Mapping[str, Any],
    say: Callable[[str], None],
) -> Any:
    """Return the program, in the study's mode; where that is to be found out, without XLA."""
    if spec.engine != "auto" or spec.python_in_training:
        mode = "stream" if spec.engine == "auto" else spec.engine
        return engine_for(Setup(mode), spec, data, folds, say=say).program(params)
    try:
        return engine_for(Setup("plain"), spec, data, folds, say=say).program(params)
    except NotResident:
        return engine_for(Setup("stream"), spec, data, folds, say=say).program(params)


def _blocks(seed: int, fold: Fold, size: int, n_each: int) -> Iterator[np.ndarray]:
    """Yield the rows of `n_each` whole batches, epoch after epoch in the search's order.

    A smaller last batch is left out, unless there is no other.
    """
    rows, epoch = np.zeros(0, np.int32), 0
    size = min(size, len(fold.train))
    while True:
        while len(rows) < n_each * size:
            epoch += 1
            order = row_order(seed, fold.start, epoch, fold.train)
            rows = np.concatenate([rows, order[: len(order) // size * size]])
        yield rows[: n_each * size]
        rows = rows[n_each * size :]
