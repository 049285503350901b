"""Trials read as rows of a database, where Optuna makes objects of SQLAlchemy's of each value."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, select
from sqlalchemy.orm import Session

NOT_ENDED = (TrialState.RUNNING, TrialState.WAITING)

distribution_of = cache(json_to_distribution)
"""A study has few, and each trial has them all."""


def literally(ids: Iterable[int]) -> BindParameter[Any]:
    """Return ids as they stand in a statement: a driver takes longer with as many parameters."""
    return bindparam("ids", sorted(ids), expanding=True, literal_execute=True)


def trials_where(
    session: Session, condition: ColumnElement[bool], *, begun_with_means: bool = True
) -> list[FrozenTrial]:
    """Return the trials of which a condition holds, in order of their ids.

    begun_with_means: whether those that have not ended come with what they reported
    """
    trial: Any = models.TrialModel
    # Trials first: of one that has ended by now, all else is there.
    trials = session.scalars(select(trial).where(condition).order_by(trial.trial_id)).all()
    ids = select(trial.trial_id).where(condition)

    def parts(kind: Any, *names: str, of: Select[Any] = ids) -> dict[int, list[Any]]:
        by_trial: dict[int, list[Any]] = defaultdict(list)
        of_kind = select(kind.trial_id, *(getattr(kind, name) for name in names))
        for row in session.execute(of_kind.where(kind.trial_id.in_(of))):
            by_trial[row[0]].append(row[1:])
        return by_trial

    params = parts(
        models.TrialParamModel, "param_id", "param_name", "param_value", "distribution_json"
    )
    values = parts(models.TrialValueModel, "objective", "value", "value_type")
    steps = "step", "intermediate_value", "intermediate_value_type"
    reported = ids if begun_with_means else ids.where(trial.state.not_in(NOT_ENDED))
    means = parts(models.TrialIntermediateValueModel, *steps, of=reported)
    user, system = (
        parts(kind, "key", "value_json")
        for kind in (models.TrialUserAttributeModel, models.TrialSystemAttributeModel)
    )
    as_value = models.TrialValueModel.stored_repr_to_value
    as_mean = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value

    def made(trial_id: int, trial: Any) -> FrozenTrial:
        of_trial = [
            (name, value, distribution_of(text))
            for _, name, value, text in sorted(params[trial_id])
        ]
        return FrozenTrial(
            number=trial.number,
            state=trial.state,
            value=None,
            values=[as_value(*each) for _, *each in sorted(values[trial_id])] or None,
            datetime_start=trial.datetime_start,
            datetime_complete=trial.datetime_complete,
            params={name: by.to_external_repr(value) for name, value, by in of_trial},
            distributions={name: by for name, _, by in of_trial},
            user_attrs={key: json.loads(text) for key, text in user[trial_id]},
            system_attrs={key: json.loads(text) for key, text in system[trial_id]},
            intermediate_values={step: as_mean(*each) for step, *each in means[trial_id]},
            trial_id=trial_id,
        )

    return [made(each.trial_id, each) for each in trials]
