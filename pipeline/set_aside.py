"""Test rows: set aside before anything is split, and scored once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.folds import draw


def set_test_rows_aside(
    data: Dataset, test_size: float | int, seed: int, splitter: Any = None
) -> tuple[Dataset, Dataset | None]:
    """Return (development rows, test rows); the latter None when `test_size` is 0.

    Stratified where y is classes. By whole groups where there are groups: `test_size` is then a
    share or a count of groups. Where the study's splitter is a TimeSeriesSplit the last rows are
    set aside, and its gap before them is left out: others would lie among those trained on.
    """
    if not test_size:
        return data, None
    if data.validation_rows is not None:
        raise BadInput(
            "test_size goes with a splitter; with a fixed validation set, keep test rows out of "
            "load_data() yourself"
        )
    from sklearn.model_selection import (
        GroupShuffleSplit,
        ShuffleSplit,
        StratifiedShuffleSplit,
        TimeSeriesSplit,
    )

    if isinstance(splitter, TimeSeriesSplit):
        return _last_rows_aside(data, test_size, splitter.gap)
    kind = ShuffleSplit
    if data.groups is not None:
        kind = GroupShuffleSplit
    elif data.is_classification:
        kind = StratifiedShuffleSplit
    splitter = kind(n_splits=1, test_size=test_size, random_state=seed)
    development, test = draw(splitter, data, f"test_size={test_size}")[0]
    return data.take(np.sort(development)), data.take(np.sort(test))


def _last_rows_aside(data: Dataset, test_size: float | int, gap: int) -> tuple[Dataset, Dataset]:
    n_test = test_size if isinstance(test_size, int) else math.ceil(test_size * data.n_rows)
    n_development = data.n_rows - n_test - gap
    if n_development < 1:
        raise BadInput(
            f"test_size={test_size} must leave rows to train on, got {n_test} test rows and a gap "
            f"of {gap} of {data.n_rows} rows"
        )
    rows = np.arange(data.n_rows)
    development, test = data.take(rows[:n_development]), data.take(rows[-n_test:])
    if data.groups is not None:
        parted = np.intersect1d(data.groups[:n_development], data.groups[-n_test:])
        if parted.size:
            raise BadInput(
                f"test_size={test_size} must keep rows of one group on one side, got group "
                f"{parted[0]!s} before and among the last {n_test} rows"
            )
    return development, test
