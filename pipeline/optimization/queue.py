"""Trials to begin with: the best of an earlier study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from pipeline.addresses import mask_password
from pipeline.errors import StoreUnavailable, in_one_line
from pipeline.optimization.database import readable_errors
from pipeline.optimization.storage import storage_at


def enqueue(study: optuna.Study, params: Sequence[Mapping[str, Any]]) -> None:
    """Let a study try these parameters first, in this order, unless it has them already.

    Every session may call this again.
    """
    with readable_errors():
        for each in params:
            study.enqueue_trial(dict(each), skip_if_exists=True)


def best_params(storage: str | Path, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return number and sampled parameters of a study's trials that have a value, best first.

    It is only read: another process may be at it. Raises StoreUnavailable when it cannot be.
    """
    if "://" not in str(storage) and not Path(storage).exists():  # Optuna would create it
        raise StoreUnavailable(f"the trials of {name} cannot be read: {storage} is gone")
    try:
        study = optuna.load_study(study_name=name, storage=storage_at(storage))
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    except Exception as error:
        raise StoreUnavailable(
            f"the trials of {name} cannot be read: {mask_password(in_one_line(error))}"
        ) from error
    sign = 1 if study.direction is optuna.study.StudyDirection.MINIMIZE else -1
    ranked = sorted(trials, key=lambda trial: sign * (trial.value or 0.0))
    return [(trial.number, trial.params) for trial in ranked]
