"""The tables of `rules_on_data.py`, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tests.benchmarks.rules_differences import (
    REFERENCE,
    Difference,
    Pooled,
    Record,
    differences_of_policies,
    differences_of_rules,
    epochs_of,
    losses_of,
)

K = TypeVar("K")

ERRORS = ("± naive", "± corrected")

LEGEND = (
    "Every figure is a mean over outer splits of the mean test loss of the refits; less is better. "
    "± naive: standard error over outer splits as if they were independent. ± corrected: after "
    "Nadeau & Bengio, since they share rows. ± over data sets: from the scatter of the data sets' "
    "means. +/−: splits (data sets) in which the loss is smaller / larger than the reference's."
)


def tables_of(records: Sequence[Record]) -> str:
    """Return one data set's two tables in Markdown."""
    first = records[0]
    rules = [
        (rule, *means(records, rule), *cells(difference))
        for rule, difference in differences_of_rules(records).items()
    ]
    policies = [
        (rule, policy, *means(records, rule, policy), *cells(difference))
        for (rule, policy), difference in differences_of_policies(records).items()
    ]
    return "\n".join((
        f"## {first.data}\n",
        f"{first.n_development_rows} rows to search on, {first.n_test_rows} test rows, "
        f"{len(records)} outer splits\n",
        markdown(("rule", "epochs", "test loss", f"less {REFERENCE}", *ERRORS, "+/−"), rules),
        "",
        markdown(
            ("rule", "refit", "epochs", "test loss", "less epochs", *ERRORS, "+/−"), policies
        ),
        "",
    ))  # fmt: skip


def pooled_tables(by_data: Mapping[str, Sequence[Record]]) -> str:
    """Return the tables over all data sets, in % of the reference's mean test loss on each."""
    all_ = by_data.values()
    per_cent = [100 / float(losses_of(records, REFERENCE).mean()) for records in all_]
    rules = pooled([differences_of_rules(records) for records in all_], per_cent)
    policies = pooled([differences_of_policies(records) for records in all_], per_cent)
    columns = (*ERRORS, "± over data sets", "+/−")
    return "\n".join((
        f"## All {len(by_data)} data sets, % of the test loss of {REFERENCE}\n",
        markdown(
            ("rule", f"less {REFERENCE}", *columns),
            [(rule, *pooled_cells(each)) for rule, each in rules.items()],
        ),
        "",
        markdown(
            ("rule", "refit", "less epochs", *columns),
            [(*rule_and_policy, *pooled_cells(each)) for rule_and_policy, each in policies.items()],
        ),
        "",
        LEGEND,
    ))  # fmt: skip


def pooled(tables: Sequence[Mapping[K, Difference]], units: Sequence[float]) -> dict[K, Pooled]:
    """Return every row of the data sets' tables averaged over them, each in its own unit."""
    return {
        row: Pooled.of([table[row].scaled(unit) for table, unit in zip(tables, units, strict=True)])
        for row in tables[0]
    }


def pooled_cells(each: Pooled) -> tuple[str, ...]:
    """Return a pooled difference, its three standard errors and its counts, as text."""
    *difference, counts = cells(each, "{:+.2f}")
    return (*difference, f"{each.between_error:.2f}", counts)


def means(records: Sequence[Record], rule: str, policy: str = "epochs") -> tuple[str, str]:
    """Return the mean epochs and the mean test loss, as text."""
    n_epochs = epochs_of(records, rule, policy).mean()
    return f"{n_epochs:.1f}", f"{losses_of(records, rule, policy).mean():.4f}"


def cells(difference: Difference | Pooled, form: str = "{:+.4f}") -> tuple[str, ...]:
    """Return a difference, its two standard errors and its counts, as text."""
    unsigned = form.replace("+", "")
    return (
        form.format(difference.mean),
        unsigned.format(difference.standard_error),
        unsigned.format(difference.corrected_error),
        f"{difference.n_better}/{difference.n_worse}",
    )


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; numbers to the right."""
    n_words = sum(name in ("rule", "refit") for name in header)
    line = ["---"] * n_words + ["---:"] * (len(header) - n_words)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, line, *rows))
