"""What replayed searches came to: regret by budget, by table and by family, as text and drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from tests.benchmarks.replay_ways import Curves, Replayed

STEPS_PER_TRAINING = 8
"""Points of a regret curve by full training."""


@dataclass(frozen=True)
class Search:
    """One search of one table.

    budget: full trainings that it was given
    regrets: after 1/8, 2/8, … full trainings; 1 before the first trial that was trained to its end
    asking_secs: spent on deciding what to train, in all
    secs: until nobody had anything left to do, in typical epochs
    """

    way: str
    family: str
    table: str
    seed: int
    budget: int
    n_trials: int
    asking_secs: float
    regrets: tuple[float, ...]
    secs: float = 0.0
    n_workers: int = 1

    @classmethod
    def of(
        cls, way: str, table: Curves, seed: int, budget: int, done: Replayed, n_workers: int = 1
    ) -> Search:
        """Return what a search came to."""
        ends = np.arange(1, budget * STEPS_PER_TRAINING + 1) * table.n_epochs / STEPS_PER_TRAINING
        best = [
            min([1.0, *(table.regret(loss) for at, loss in done.arrivals if at <= end)])
            for end in ends
        ]
        return cls(
            way,
            table.family,
            table.name,
            seed,
            budget,
            done.n_trials,
            done.asking_secs,
            tuple(best),
            done.secs,
            n_workers,
        )

    def at(self, n_trainings: float) -> float:
        """Return the regret after so many full trainings."""
        return self.regrets[round(n_trainings * STEPS_PER_TRAINING) - 1]


def names(values: Iterable[str]) -> list[str]:
    """Return what is there, once each, in its order."""
    return list(dict.fromkeys(values))


def regrets_at(searches: Sequence[Search], way: str, n_trainings: float) -> np.ndarray:
    """Return a way's regret after so many full trainings, by table and seed, [n_tables, n_seeds].

    A way that does not know its budget was run for the largest only.
    """
    of_way = [each for each in searches if each.way == way]
    budgets = budgets_of(searches, way)
    ran = n_trainings if len(budgets) > 1 else budgets[0]
    rows = [
        [each.at(n_trainings) for each in of_way if each.table == table and each.budget == ran]
        for table in names(each.table for each in searches)
    ]
    return np.array(rows)


def budgets_of(searches: Sequence[Search], way: str) -> list[int]:
    """Return the budgets that a way was run for: one that knows its budget, for several."""
    return sorted({each.budget for each in searches if each.way == way})


def times_of(searches: Sequence[Search], way: str) -> list[float]:
    """Return after how many full trainings a way's regret is known.

    One that knows its budget would have searched otherwise if it had been a smaller one.
    """
    budgets = budgets_of(searches, way)
    if len(budgets) > 1:
        return [float(budget) for budget in budgets]
    return [n / STEPS_PER_TRAINING for n in range(1, budgets[0] * STEPS_PER_TRAINING + 1)]


def by_family(searches: Sequence[Search], regrets: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean over each family's tables, [n_seeds], and over families as ""."""
    family_of = {each.table: each.family for each in searches}
    families = [family_of[table] for table in names(each.table for each in searches)]
    means = {
        family: regrets[[each == family for each in families]].mean(axis=0)
        for family in names(families)
    }
    return {"": np.mean(list(means.values()), axis=0), **means}


def in_words(searches: Sequence[Search]) -> str:
    """Return all tables as text."""
    ways = names(each.way for each in searches)
    budgets = sorted({each.budget for each in searches})
    n_seeds = len({each.seed for each in searches})
    lines = [f"regret, mean over {n_seeds} seeds; ± its standard error", ""]
    lines += _regret_table(searches, ways, budgets)
    lines += ["", f"by table, after {budgets[-1]} full trainings", ""]
    tables = names(each.table for each in searches)
    lines += _rows(
        ["", *ways],
        [
            [table, *(f"{regrets_at(searches, way, budgets[-1])[row].mean():.3f}" for way in ways)]
            for row, table in enumerate(tables)
        ],
    )
    lines += ["", *_epochs_needed(searches, ways, budgets[-1])]
    return "\n".join(lines)


def _regret_table(
    searches: Sequence[Search], ways: Sequence[str], budgets: Sequence[int]
) -> list[str]:
    families = names(each.family for each in searches)
    columns = [(budget, family) for family in ("", *families) for budget in budgets]
    rows = []
    for way in ways:
        cells = []
        for budget, family in columns:
            seeds = by_family(searches, regrets_at(searches, way, budget))[family]
            error = seeds.std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.nan
            cells.append(f"{seeds.mean():.3f} ± {error:.3f}")
        own = [each for each in searches if each.way == way]
        n_trials = sum(each.n_trials for each in own)
        asking = 1e3 * sum(each.asking_secs for each in own) / n_trials
        rows.append([way, *cells, f"{n_trials / len(own):.0f}", f"{asking:.1f}"])
    heads = [f"{family or 'all families'} {budget}" for budget, family in columns]
    return _rows(["", *heads, "trials", "ms a trial"], rows)


def _epochs_needed(searches: Sequence[Search], ways: Sequence[str], budget: int) -> list[str]:
    """Return after how many full trainings each way is as good as each other one at the end."""
    curves = {
        way: {
            after: float(by_family(searches, regrets_at(searches, way, after))[""].mean())
            for after in times_of(searches, way)
        }
        for way in ways
    }
    rows = []
    for way in ways:
        reached = [
            [after for after, regret in curves[way].items() if regret <= curves[other][budget]]
            for other in ways
        ]
        rows.append([way, *(f"{each[0]:.1f}" if each else "-" for each in reached)])
    return [
        f"full trainings until a row's mean regret is what a column's is after {budget}",
        "",
        *_rows(["", *ways], rows),
    ]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def draw(searches: Sequence[Search], path: Path) -> None:
    """Draw the mean regret against full trainings, one panel a family.

    Of a way that knows its budget each point is another search.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = ["", *names(each.family for each in searches)]
    figure, panels = pyplot.subplots(
        1, len(families), figsize=(4 * len(families), 4.6), sharey=True, layout="constrained"
    )
    for way in names(each.way for each in searches):
        ends = times_of(searches, way)
        curves = [by_family(searches, regrets_at(searches, way, after)) for after in ends]
        knows = len(budgets_of(searches, way)) > 1
        look: Any = {"marker": "o", "linestyle": "--"} if knows else {}
        for panel, family in zip(panels, families, strict=True):
            panel.plot(ends, [curve[family].mean() for curve in curves], label=way, **look)
            panel.set_title(family or "mean over families")
            panel.set_xlabel("full trainings")
            panel.set_yscale("log")
    panels[0].set_ylabel("regret; the median configuration is 1")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
