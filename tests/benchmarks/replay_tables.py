"""Tables of learning curves that others trained, and how a sampler proposes from a table.

A folder holds `.npz` files, each a family of tables. A table `NAME` is two arrays:

    NAME__hp      [n_configurations, n_hyperparameters]
    NAME__valid   [n_configurations, n_epochs], smaller is better; NaN from where it diverged

or just `hp` and `valid`, if the file is one table. `hp_names` [n_hyperparameters] may name them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial

WIDE = 100.0
"""Ratio of the largest to the smallest value from which on a hyperparameter is taken by its log."""

MOST_EPOCHS = 64
"""Longer curves are thinned to about this many points: budgets count full trainings anyway."""


SPREAD = 0.3
"""Standard deviation of the logarithm of what an epoch takes: configurations differ in size."""

SamplerFactory = Callable[[int], optuna.samplers.BaseSampler]


def duration_of(row: int) -> float:
    """Return how long a configuration's epoch takes, 1 being typical: tables do not have it."""
    return float(np.exp(SPREAD * np.random.default_rng(row).normal()))


@dataclass(frozen=True, eq=False)
class CurveTable:
    """What training each of many configurations would give.

    name: with its family before it, if there are several
    points: by hyperparameter, [n_configurations]
    losses: [n_configurations, n_epochs], smaller is better; NaN from where one diverged
    """

    family: str
    name: str
    points: Mapping[str, np.ndarray]
    losses: np.ndarray

    @property
    def n_epochs(self) -> int:
        """Epochs of a full training."""
        return self.losses.shape[1]

    @property
    def in_words(self) -> str:
        """Its name and how much it has."""
        return f"{self.name}: {self.losses.shape}"

    @cached_property
    def values(self) -> np.ndarray:
        """Each configuration's best loss, [n_configurations]; infinite if it diverges."""
        # A trial that diverges fails, whatever it was before.
        diverged = ~np.isfinite(self.losses).all(axis=1)
        return np.where(diverged, np.inf, self.losses.min(axis=1))

    def regret(self, value: float) -> float:
        """Return how far a value is from the best, 1 being the median configuration's distance."""
        best, median = self.values.min(), np.median(self.values)
        return float((value - best) / (median - best))

    @cached_property
    def space(self) -> dict[str, BaseDistribution]:
        """The distribution that each hyperparameter is proposed from."""
        space: dict[str, BaseDistribution] = {}
        for name, column in self.points.items():
            low, high = float(column.min()), float(column.max())
            space[name] = FloatDistribution(low, high, log=low > 0 and high / low > WIDE)
        return space

    def row(self, params: Mapping[str, Any]) -> int:
        """Return the configuration of these very hyperparameters."""
        return self._rows[tuple(float(params[name]) for name in self.points)]

    def params(self, row: int) -> dict[str, float]:
        """Return a configuration's hyperparameters."""
        return {name: float(column[row]) for name, column in self.points.items()}

    def sampler(self, make: SamplerFactory) -> SamplerFactory:
        """Return how samplers are made that propose configurations of this table, each once."""
        return lambda seed: FromTable(self, make(seed), seed)

    def curve(self, params: Mapping[str, Any]) -> np.ndarray:
        """Return a configuration's loss by epoch, [n_epochs]."""
        return self.losses[self.row(params)]

    def duration(self, params: Mapping[str, Any]) -> float:
        """Return how long a configuration's epoch takes, 1 being typical."""
        return duration_of(self.row(params))

    def place(self, params: Mapping[str, Any]) -> np.ndarray:
        """Return where hyperparameters are in the unit cube, [n_hyperparameters]."""
        return np.array([self._unit(name, params[name]) for name in self.points])

    def nearest(self, params: Mapping[str, Any], free: np.ndarray | None = None) -> int:
        """Return the nearest of the configurations, or of those still free, [n_configurations]."""
        distances = ((self.units - self.place(params)) ** 2).sum(axis=1)
        return int((distances if free is None else np.where(free, distances, np.inf)).argmin())

    @cached_property
    def units(self) -> np.ndarray:
        """Where the configurations are in the unit cube, [n_configurations, n_hyperparameters]."""
        return np.stack([self._unit(name, column) for name, column in self.points.items()], axis=1)

    @cached_property
    def _rows(self) -> dict[tuple[float, ...], int]:
        columns = zip(*(column.tolist() for column in self.points.values()), strict=True)
        return {params: row for row, params in enumerate(columns)}

    def _unit(self, name: str, value: Any) -> Any:
        distribution = self.space[name]
        assert isinstance(distribution, FloatDistribution)
        turn = np.log if distribution.log else np.asarray
        low, high = turn(distribution.low), turn(distribution.high)
        return (turn(value) - low) / (high - low)


class FromTable(optuna.samplers.BaseSampler):
    """A sampler whose proposals are moved to the nearest configuration that is not yet used.

    Where it would draw each parameter by itself, as at its start, a configuration is drawn: by the
    trial's number and the seed, so that all ways of searching with this seed begin alike.
    """

    def __init__(self, table: CurveTable, sampler: optuna.samplers.BaseSampler, seed: int) -> None:
        self._table, self._sampler = table, sampler
        self._random = np.random.default_rng(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the whole space."""
        return self._table.space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a configuration."""
        table = self._table
        free = np.ones(len(table.losses), dtype=bool)
        others = (each for each in study.get_trials(deepcopy=False) if each.number != trial.number)
        for each in others:
            free[table.row(each.params)] = False
        wanted = self._sampler.sample_relative(
            study, trial, self._sampler.infer_relative_search_space(study, trial)
        )
        if not wanted:
            return table.params(int(self._random.choice(np.flatnonzero(free))))
        return table.params(table.nearest(wanted, free))

    def sample_independent(self, *args: Any) -> Any:
        """Refuse: the whole space is sampled at once."""
        raise AssertionError("every parameter of a table is in its space")


def tables_in(folder: Path, most_epochs: int = MOST_EPOCHS) -> Iterator[CurveTable]:
    """Yield the tables of all files of a folder."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            names = sorted(key.removesuffix("valid") for key in arrays if key.endswith("valid"))
            for name in names:
                hp = arrays[f"{name}hp"]
                hp_names = arrays.get("hp_names", np.arange(hp.shape[1]))
                yield _table(
                    path.stem, name.rstrip("_"), hp, hp_names, arrays[f"{name}valid"], most_epochs
                )


def _table(
    family: str,
    name: str,
    hp: np.ndarray,
    hp_names: np.ndarray,
    losses: np.ndarray,
    most_epochs: int,
) -> CurveTable:
    """Return a table without columns that never change, and without the same point twice."""
    _, first = np.unique(hp, axis=0, return_index=True)
    rows = np.sort(first)
    hp, losses = np.asarray(hp[rows], dtype=float), np.asarray(losses[rows], dtype=float)
    thin = -(-losses.shape[1] // most_epochs)
    losses = losses[:, thin - 1 :: thin]
    points = {
        str(label): column
        for label, column in zip(hp_names, hp.T, strict=True)
        if np.isfinite(column).all() and len(np.unique(column)) > 1
    }
    return CurveTable(family, f"{family}/{name}" if name else family, points, losses)
