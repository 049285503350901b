"""What a study for a data file declares where nobody says otherwise: space, budget, folds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.budget import Budget
from pipeline.data_file.asked import Asked
from pipeline.data_file.rows import Rows
from pipeline.errors import BadInput
from pipeline.spec import EarlyStopping, StudySpec

MAX_FOLDS = 5


def default_spec(asked: Asked, rows: Rows) -> StudySpec:
    """Return the study's fields; functions and splitter stand in for those that will be written.

    Batches grow with the rows and trials get shorter, so that a search on two cores takes minutes
    for thousands of rows.
    """
    n_rows, is_image = len(rows.targets), rows.is_image
    sizes = ((2_000, 32), (10_000, 64), (50_000, 128))
    batch_size = next((size for most, size in sizes if n_rows < most), 256)
    updates = math.ceil(0.8 * n_rows / batch_size)
    # Convolutions cost more: fewer updates each, and fewer trials.
    longest = max(15, min(40, 1500 // updates)) if is_image else max(20, min(100, 4000 // updates))
    space: dict[str, Any] = {
        "learning_rate": FloatDistribution(1e-4, 3e-2 if is_image else 1e-1, log=True),
        "max_epochs": IntDistribution(longest // 5, longest),
    }
    # Each combination of these is compiled once: two values of each are worth their seconds.
    if asked.model is None and is_image:
        space["filters"] = CategoricalDistribution([8, 16])
        space["dropout"] = CategoricalDistribution([0.0, 0.3])
    elif asked.model is None:
        space["units"] = CategoricalDistribution([32, 128])
        space["n_layers"] = CategoricalDistribution([1, 2])
        space["dropout"] = CategoricalDistribution([0.0, 0.2])
    return StudySpec(
        name=asked.name,
        load_data=lambda: None,
        build_model=lambda params: None,
        space=space,
        batch_size=batch_size,
        early_stopping=EarlyStopping(patience=max(5, longest // 8)),
        budget=Budget(n_trials=12 if is_image else 20),
    )


def splitter_for(asked: Asked, rows: Rows, known: np.ndarray) -> tuple[str, str]:
    """Return the splitter, as source, and what it does, in words.

    known: the numbers of the rows that are not set aside
    Raises BadInput where there is one group alone.
    """
    if asked.time is not None:
        n = min(MAX_FOLDS, len(known) - 1)
        return f"TimeSeriesSplit({n})", (
            f"{n} folds in the order of {asked.time!r}: each validates on later rows than it "
            "trains on"
        )
    is_classes = rows.target.task == "classification"
    smallest = len(known)
    if is_classes:
        smallest = int(np.unique(rows.y[known], return_counts=True)[1].min())
    if rows.groups is not None:
        n_groups = len(np.unique(rows.groups[known]))
        if n_groups < 2:
            raise BadInput(f"--groups must be two or more, got {n_groups} in {asked.groups!r}")
        n = min(MAX_FOLDS, n_groups)
        is_stratified = is_classes and smallest >= n
        kind = "StratifiedGroupKFold" if is_stratified else "GroupKFold"
        told = f"{n} folds of whole groups ({n_groups} in {asked.groups!r})"
    else:
        n = min(MAX_FOLDS, smallest)
        is_stratified = is_classes
        kind = "StratifiedKFold" if is_stratified else "KFold"
        told = f"{n} folds"
        if n < MAX_FOLDS:
            told += f", as {'the smallest class has' if is_classes else 'there are'} {n} rows"
    told += ", each with its share of every class" if is_stratified else ", at random"
    return f"{kind}({n}, shuffle=True)", told
