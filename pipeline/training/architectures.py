"""What tells two compiled programs apart, and how many of them a search may need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.space import n_values
from pipeline.spec import StudySpec


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
