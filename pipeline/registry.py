"""MLflow's registry: what a study wants of it, and what became of its model there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import BadInput, require
from pipeline.space import is_number

Alias = Literal["champion", "challenger"]


@dataclass(frozen=True)
class Registry:
    """Register the refit model, and make it the champion where it is better.

    name: of the registered model; "" is the study's
    margin: by which it must be better, in the metric's unit; None is more than chance: the whole
        95 % interval of the paired differences must be better
    on: "folds" compares configurations (parameters and number of epochs), both trained on tonight's
        splits, since the champion's weights have seen tonight's rows. "test" compares the two
        models, on those of tonight's test rows that neither has used; where it cannot be told
        which these are, the configurations
    """

    name: str = ""
    margin: float | None = None
    on: Literal["folds", "test"] = "folds"

    def __post_init__(self) -> None:
        is_name = isinstance(self.name, str) and not {*"/:'"} & {*self.name}
        require(is_name, "registry.name", "a text without '/', ':' and apostrophes", self.name)
        is_margin = self.margin is None or (is_number(self.margin) and self.margin >= 0)
        require(is_margin, "registry.margin", "a number ≥ 0, or None", self.margin)
        require(self.on in ("folds", "test"), "registry.on", "'folds' or 'test'", self.on)

    def check_folds(self, n_folds: int) -> None:
        """Raise BadInput where only a stated margin can decide.

        n_folds: of one split of the rows
        """
        if self.margin is None and n_folds == 1:
            raise BadInput(
                "registry.margin must be a number where there is one fold, got None: one fold has "
                "no scatter to tell a gain from chance"
            )


@dataclass(frozen=True)
class Registered:
    """What became of a model.

    name, version: in the registry
    alias: that it was given
    reason: why, in words
    """

    name: str
    version: str
    alias: Alias
    reason: str

    def in_words(self) -> str:
        """Return "digits version 3 is the champion: …"."""
        return f"{self.name} version {self.version} is the {self.alias}: {self.reason}"
