"""What `speed.py` prints: the table, what was done, and whether it was the same work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from tests.benchmarks.speed_turns import Timed, Work
from tests.benchmarks.speed_ways import WAYS

TOLERANCE = 0.25
"""Of the mean validation loss, relative: the ways begin at other weights and shuffle otherwise."""

HEADER = (
    "way", "fold-epochs/s", "ratio", "ms median", "ms min", "outside", "start-up s", "ending s"
)  # fmt: skip


def table(ways: Mapping[str, Timed], skipped: Mapping[str, str], n_workers: int) -> str:
    """Return the rates, one line a way; ratios are to the first. Then why others were skipped."""
    first = next(iter(ways.values())).median_secs
    rows = [HEADER]
    for name, way in ways.items():
        share = way.share_outside
        rows.append((
            WAYS[name].label.replace("N workers", f"{n_workers} workers"),
            f"{1 / way.median_secs:.1f}", f"{first / way.median_secs:.1f}",
            f"{1e3 * way.median_secs:.2f}", f"{1e3 * min(way.secs):.2f}",
            "" if share is None else f"{100 * share:.1f} %",
            f"{way.start_up_secs:.1f}", f"{way.ending_secs:.1f}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([
        *lines, *(f"{WAYS[name].label}  skipped: {reason}" for name, reason in skipped.items())
    ])  # fmt: skip


def cost_of_logging(ways: Mapping[str, Timed], engine: str) -> dict[str, float]:
    """Return by how much logging lengthens a trial, relative; nothing unless it was measured.

    engine: the study's, which the way that does not log has
    Trials that followed on each other are compared, pair by pair: the median, and the middle half.
    """
    logged, unlogged = ways.get(engine), ways.get("unlogged")
    if logged is None or unlogged is None:
        return {}
    shares = [a / b - 1 for a, b in zip(logged.secs, unlogged.secs, strict=True)]
    low, median, high = np.quantile(shares, (0.25, 0.5, 0.75)).tolist()
    return {"median": median, "from": low, "to": high}


def in_words(cost: Mapping[str, float]) -> str:
    """Return what logging costs as a line, "" if that was not measured."""
    if not cost:
        return ""
    median, low, high = (f"{100 * cost[key]:.1f}" for key in ("median", "from", "to"))
    return f"logging adds {median} % to a trial (half of the pairs: {low} to {high} %)\n"


def disagreements(ways: Mapping[str, Timed], work: Work) -> list[str]:
    """Return how a way did less than the others, or something else; nothing when all agree."""
    found = []
    first, reference = next((WAYS[name].label, way.first_loss) for name, way in ways.items())
    for name, way in ways.items():
        label, whole = WAYS[name].label, way.whole
        if whole is None:
            found.append(f"{label}: never came to its end")
            continue
        expected = whole.n_fold_epochs * work.updates_per_fold_epoch
        if whole.n_updates != expected:
            found.append(f"{label}: {whole.n_updates} updates, expected {expected}")
        if abs(way.first_loss / reference - 1) > TOLERANCE:
            found.append(
                f"{label}: validation loss {way.first_loss:.4f}, that of {first} is {reference:.4f}"
            )
        if WAYS[name].logs and whole.n_logged != whole.n_fold_epochs:
            found.append(f"{label}: {whole.n_logged} of {whole.n_fold_epochs} fold-epochs logged")
    return found


def account(ways: Mapping[str, Timed], work: Work) -> str:
    """Return what every way did in all, and in its first trial, of one learning rate for all."""
    rate = next(iter(ways.values())).first.learning_rate
    lines = [f"the first trial's loss is after {work.n_epochs} epochs at learning rate {rate:.3g}:"]
    for name, way in ways.items():
        if way.whole is not None:
            lines.append(
                f"  {WAYS[name].label}: validation loss {way.first_loss:.4f}; "
                f"{way.whole.n_fold_epochs} fold-epochs, {way.whole.n_updates} updates, "
                f"{way.whole.n_logged} fold-epochs in MLflow"
            )
    return "\n".join(lines)


def record(way: Timed) -> dict[str, Any]:
    """Return everything that was timed of a way, for a file."""
    return {
        "fold_epochs_per_second": 1 / way.median_secs,
        "start_up_secs": way.start_up_secs,
        "ending_secs": way.ending_secs,
        "share_outside": way.share_outside,
        **asdict(way),
    }
