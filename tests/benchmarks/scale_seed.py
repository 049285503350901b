"""The state of a search in its middle, written into a database at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from pipeline.curves import FoldCurves
from pipeline.optimization.heartbeats import CLAIM
from pipeline.optimization.trials import WARM_UP_SHARE
from pipeline.question import Question
from pipeline.results import Outcome, TrialResult
from tests.benchmarks.replay_tables import CurveTable, duration_of
from tests.benchmarks.scale_study import losses_of


def claim_of(number: int) -> str:
    """Return how the worker that begins with a trial claims it."""
    return f"worker of {number}"


def under_way(
    table: CurveTable, question: Question, n_ended: int, n_begun: int
) -> tuple[list[FrozenTrial], list[int]]:
    """Return the trials of a search in its middle, and the epochs of those that have not ended.

    Parameters are drawn; trials are pruned as the median over the whole table would have it. Who
    looks at a moment finds more of those that take long.
    """
    random, horizon = np.random.default_rng(0), table.n_epochs
    best = np.minimum.accumulate(table.losses, axis=1)
    is_worse = best > np.nanmedian(best, axis=0)
    is_worse[:, : int(np.ceil(horizon * WARM_UP_SHARE)) - 1] = False
    ends = np.where(is_worse.any(axis=1), is_worse.argmax(axis=1) + 1, horizon)
    trials, epochs, n = [], [], len(table.losses)
    takes = ends * [duration_of(row) for row in range(n)]
    begun = random.choice(n, n_begun, p=takes / takes.sum())
    for number, row in enumerate([*random.integers(0, n, n_ended), *begun]):
        params = {"learning_rate": 1.0, **table.params(int(row)), "max_epochs": horizon}
        n_epochs, state, value = int(ends[row]), TrialState.PRUNED, None
        if n_epochs == horizon:
            state, value = TrialState.COMPLETE, 0.0
        if number >= n_ended:
            n_epochs, state, value = int(random.integers(0, n_epochs)), TrialState.RUNNING, None
            epochs.append(n_epochs)
        curves = losses_of(table, int(row))[:, :n_epochs]
        means = curves.mean(axis=0)
        notes: dict[str, Any] = {"horizon_free": True, "mlflow_run": f"{number:032x}"}
        if state is TrialState.RUNNING:
            notes[CLAIM] = claim_of(number)
        else:
            outcome = Outcome.PRUNED if value is None else Outcome.COMPLETED
            value = None if value is None else float(means.min())
            result = TrialResult(
                number, params, outcome, FoldCurves(curves, question.spec.objective), 1.0,
                curves.size, f"{outcome.value} after epoch {n_epochs}",
            )  # fmt: skip
            notes["result"] = {**result.as_plain(), "rung": 0}
        trials.append(
            create_trial(
                state=state,
                value=value,
                params={name: params[name] for name in table.space},
                distributions=dict(table.space),
                user_attrs=notes,
                intermediate_values={n: float(m) for n, m in enumerate(means, start=1)},
            )
        )
    return trials, epochs


def store(study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
    """Add trials to an empty study, which Optuna would do one by one."""
    storage: Any = study._storage
    with Session(storage._backend.engine) as session:
        begun = [
            {"study_id": study._study_id, "number": number, "state": each.state}
            for number, each in enumerate(trials)
        ]
        session.execute(insert(models.TrialModel), begun)
        kind: Any = models.TrialModel
        ids = session.scalars(select(kind.trial_id).order_by(kind.number)).all()
        for each, rows in _rows(dict(zip(ids, trials, strict=True))).items():
            session.execute(insert(each), rows)
        session.commit()


def _rows(trials: dict[int, FrozenTrial]) -> dict[Any, list[dict[str, Any]]]:
    """Return the rows of all tables but the trials' own."""
    value_type = models.TrialValueModel.TrialValueType.FINITE
    as_stored = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    return {
        models.TrialParamModel: [
            {
                "trial_id": key, "param_name": name, "distribution_json": distribution_to_json(by),
                "param_value": by.to_internal_repr(trial.params[name]),
            }
            for key, trial in trials.items() for name, by in trial.distributions.items()
        ],
        models.TrialValueModel: [
            {"trial_id": key, "objective": 0, "value": trial.value, "value_type": value_type}
            for key, trial in trials.items() if trial.values
        ],
        models.TrialUserAttributeModel: [
            {"trial_id": key, "key": name, "value_json": json.dumps(value)}
            for key, trial in trials.items() for name, value in trial.user_attrs.items()
        ],
        models.TrialIntermediateValueModel: [
            {
                "trial_id": key, "step": step, "intermediate_value": as_stored(mean)[0],
                "intermediate_value_type": as_stored(mean)[1],
            }
            for key, trial in trials.items() for step, mean in trial.intermediate_values.items()
        ],
    }  # fmt: skip
