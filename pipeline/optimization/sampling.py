"""The sampler that proposes a trial: made anew for each, from the study's seed and its number."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.errors import BadInput
from pipeline.space import contains
from pipeline.spec import StudySpec

LAID_OUT = (optuna.samplers.GridSampler, optuna.samplers.QMCSampler)
"""Samplers whose seed lays out all points before the first trial: one seed serves every trial, or
each would take its point from another layout. How many points are used is kept in the study."""


def make_sampler(spec: StudySpec, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler for the trial of this number. Raises BadInput when it cannot be made."""
    seed = int(np.random.SeedSequence([spec.seed, number]).generate_state(1)[0])
    if spec.sampler is None:
        return optuna.samplers.TPESampler(seed=seed)
    sampler = _made(spec.sampler, seed)
    conditional = sorted(spec.varied.keys() - spec.sampled.keys())
    if isinstance(sampler, LAID_OUT) and conditional:
        raise BadInput(
            f"sampler must take parameters that only some trials have ({', '.join(conditional)}), "
            f"got {type(sampler).__name__}, which lays out all points beforehand; TPESampler and "
            "RandomSampler do"
        )
    if isinstance(sampler, optuna.samplers.GridSampler):
        _check_grid(sampler, spec)
    return _made(spec.sampler, spec.seed) if isinstance(sampler, LAID_OUT) else sampler


def _made(factory: Callable[[int], Any], seed: int) -> optuna.samplers.BaseSampler:
    try:
        sampler = factory(seed)
    except Exception as error:
        raise BadInput(f"sampler({seed}) raised {type(error).__name__}: {error}") from error
    if not isinstance(sampler, optuna.samplers.BaseSampler):
        raise BadInput(f"sampler must return an Optuna sampler, got {sampler!r}")
    return sampler


def _check_grid(sampler: optuna.samplers.GridSampler, spec: StudySpec) -> None:
    """Raise BadInput where a grid has a point outside of the space, which no study could take."""
    for name in sampler._search_space.keys() & spec.varied.keys():
        values = sampler._search_space[name]
        if outside := [each for each in values if not contains(spec.varied[name], each)]:
            raise BadInput(
                f"sampler must propose values of {name} that its space has, {spec.varied[name]}, "
                f"got {outside[0]!r} in {type(sampler).__name__}: was it rounded?"
            )


def exhausted(study: optuna.Study, spec: StudySpec) -> bool:
    """Whether the sampler has no more to propose, as a grid whose points were all begun."""
    trials = study.get_trials(deepcopy=False)
    sampler = make_sampler(spec, len(trials))
    if not hasattr(sampler, "is_exhausted"):
        return False
    # A grid would propose the points that others are at once more.
    ended = optuna.create_study(direction=study.direction, sampler=sampler)
    ended.add_trials([_as_ended(trial) for trial in trials])
    return bool(sampler.is_exhausted(ended))


def _as_ended(trial: FrozenTrial) -> FrozenTrial:
    if trial.state is not TrialState.RUNNING:
        return trial
    ended = copy.copy(trial)
    ended.state, ended.datetime_complete = TrialState.FAIL, trial.datetime_start
    return ended
