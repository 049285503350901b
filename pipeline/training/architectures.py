"""What tells two compiled programs apart, how many a search may need, and which are typical."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipeline.errors import BadInput
from pipeline.space import middle, n_values, values
from pipeline.spec import StudySpec
from pipeline.training.models import call_builder, kind_of


def program_key(
    params: Mapping[str, Any], of_rates: Sequence[str], baked: Sequence[str] = ()
) -> tuple:
    """Return what tells two programs apart: every parameter but those of the learning rates.

    of_rates: learning_rate, max_epochs, and the name of the schedule where there are several
    baked: of these, those that the builder uses for more than the learning rate
    """
    free = set(of_rates) - set(baked)
    return tuple(sorted((k, repr(v)) for k, v in params.items() if k not in free))


def n_architectures(spec: StudySpec) -> float:
    """Return how many program keys the space can give; a continuous parameter gives any number."""
    n = 1.0
    for name, distribution in spec.varied.items():
        if name not in spec.rate_parameters:
            n *= n_values(distribution)
    return n


def typical_params(spec: StudySpec, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return one proposal from the middle of the space, without a sampler.

    chosen: values of some parameters
    """
    sampled = {name: middle(d) for name, d in spec.sampled.items()} | dict(chosen or {})
    depending = spec.sampled_with(sampled).items()
    return spec.params_of({name: middle(d) for name, d in depending} | sampled)


def typical_of_each_kind(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the typical proposal, and one for each other kind of model that it is a step from.

    Kinds are made of different layers: dense or convolutional, with dropout or without. A step is
    another choice, or an end, of one parameter that every trial has.
    """
    middle_of_all = typical_params(spec)
    kinds = {kind_of(call_builder(spec, middle_of_all, seed=0)): middle_of_all}
    for name, dimension in spec.sampled.items():
        if name in (*spec.rate_parameters, "batch_size"):
            continue
        for value in values(dimension):
            params = typical_params(spec, {name: value})
            with suppress(BadInput):  # that proposal fails when it comes
                kinds.setdefault(kind_of(call_builder(spec, params, seed=0)), params)
    return list(kinds.values())
