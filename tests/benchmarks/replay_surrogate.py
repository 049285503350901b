"""Curves between the configurations of a table: what a random forest makes of them.

A table has about a thousand configurations, of which 1,000 workers would soon have trained each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from tests.benchmarks.replay_tables import CurveTable, SamplerFactory

N_TREES = 25
N_DRAWN = 20_000
"""Points drawn from the whole space, the best of which has no regret: a search may find better."""


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A table whose configurations may be any in its space.

    A point diverges where the table's nearest configuration does.
    """

    table: CurveTable
    _known: dict[tuple[float, ...], np.ndarray] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The table's."""
        return self.table.family

    @property
    def name(self) -> str:
        """The table's."""
        return self.table.name

    @property
    def in_words(self) -> str:
        """Its name, and how well the forest ranks configurations that it has not seen."""
        ranks = "rank correlation {:.2f} on configurations left out, {:.2f} on the better half"
        return f"{self.name}: {ranks.format(*self.held_out())}"

    @property
    def n_epochs(self) -> int:
        """Epochs of a full training."""
        return self.table.n_epochs

    @property
    def space(self) -> Mapping[str, BaseDistribution]:
        """The distribution that each hyperparameter is proposed from."""
        return self.table.space

    def sampler(self, make: SamplerFactory) -> SamplerFactory:
        """Return how samplers are made that search it: as they are."""
        return make

    def curve(self, params: Mapping[str, Any]) -> np.ndarray:
        """Return a configuration's loss by epoch, [n_epochs]."""
        point = tuple(self.table.place(params))
        if point not in self._known:
            self._known[point] = self._curves(np.array([point]))[0]
        return self._known[point]

    def duration(self, params: Mapping[str, Any]) -> float:
        """Return how long a configuration's epoch takes: as long as the nearest one's."""
        return self.table.duration(self.table.params(self.table.nearest(params)))

    def regret(self, value: float) -> float:
        """Return how far a value is from the best that was drawn, 1 being the median's distance."""
        best, median = self._drawn
        return (value - best) / (median - best)

    def held_out(self) -> tuple[float, float]:
        """Return rank correlations of best losses with those of forests that have not seen them.

        Over all configurations that do not diverge, and over the better half of them.
        """
        points, losses = self._trained
        folds = KFold(5, shuffle=True, random_state=0)
        guessed = cross_val_predict(_forest(), points, losses, cv=folds).min(axis=1)
        true = losses.min(axis=1)
        better = true <= np.median(true)
        of_better = spearmanr(guessed[better], true[better])
        return float(spearmanr(guessed, true)[0]), float(of_better[0])

    @cached_property
    def _trained(self) -> tuple[np.ndarray, np.ndarray]:
        finite = np.isfinite(self.table.losses).all(axis=1)
        return self.table.units[finite], self.table.losses[finite]

    @cached_property
    def _fitted(self) -> RandomForestRegressor:
        return _forest().fit(*self._trained)

    @cached_property
    def _nearest(self) -> NearestNeighbors:
        return NearestNeighbors(n_neighbors=1).fit(self.table.units)

    @cached_property
    def _drawn(self) -> tuple[float, float]:
        random = np.random.default_rng(0)
        points = random.random((N_DRAWN, self.table.units.shape[1]))
        curves = self._curves(points)
        values = np.where(np.isfinite(curves).all(axis=1), curves.min(axis=1), np.inf)
        return float(values.min()), float(np.median(values))

    def _curves(self, points: np.ndarray) -> np.ndarray:
        """Return the curves at points of the unit cube, [n_points, n_epochs]."""
        nearest = self._nearest.kneighbors(points, return_distance=False)[:, 0]
        diverged = ~np.isfinite(self.table.losses[nearest])
        # As the forest's own `predict`, which takes a hundred times as long for one point.
        inputs = np.asarray(points, dtype=np.float32)
        trees = [tree.tree_.predict(inputs) for tree in self._fitted.estimators_]
        return np.where(diverged, np.nan, np.mean(trees, axis=0).reshape(len(points), -1))


def _forest() -> RandomForestRegressor:
    return RandomForestRegressor(N_TREES, random_state=0)
