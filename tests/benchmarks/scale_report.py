"""What a simulated search with many workers came to, as text and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from tests.benchmarks.replay_report import Search
from tests.benchmarks.replay_tables import CurveTable
from tests.benchmarks.scale_server import Watch
from tests.benchmarks.scale_worker import LOCK, TIMED, Timings


@dataclass(frozen=True)
class Calls:
    """Calls of one kind: how many, and seconds, of which a thread was on a processor."""

    n: int
    median_secs: float
    secs_95: float
    median_processor_secs: float

    @classmethod
    def of(cls, calls: Sequence[tuple[float, float, float]]) -> Calls:
        """Return those of calls (end, seconds, on a processor)."""
        if not calls:
            return cls(0, np.nan, np.nan, np.nan)
        _, secs, on_processor = np.array(calls).T
        return cls(
            len(calls), float(np.median(secs)), float(np.percentile(secs, 95)),
            float(np.median(on_processor)),
        )  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """What so many workers came to in a time.

    round_trip_ms: to the server and back, by a clock that nobody waits for; None is this machine's
    idle_share: of the workers' time, in which they did not train
    trials_per_sec: told; calls: by kind
    client_cores, server_cores: processors that were busy with either
    """

    n_workers: int
    epoch_secs: float
    round_trip_ms: float | None
    n_epochs: int
    n_ended: int
    secs: float
    idle_share: float
    trials_per_sec: float
    fold_epochs_per_sec: float
    calls: dict[str, Calls]
    client_cores: float
    server_cores: float
    lock_share: float
    statements_per_sec: float
    rows_per_sec: float
    transactions_per_sec: float
    most: list[tuple[str, int, float]]
    failures: list[str]

    @classmethod
    def of(
        cls,
        n: int,
        epoch_secs: float,
        round_trip_ms: float | None,
        table: CurveTable,
        n_ended: int,
        window: tuple[float, float],
        told: Sequence[Timings],
        watch: Watch,
    ) -> Scale:
        """Return what the workers' timings say of a window of time."""
        begin, end = window
        secs = end - begin
        epochs = np.array([each for timings in told for each in timings.epochs] or [(0.0, 0.0)])
        trained = np.clip(epochs[:, 1], begin, end) - np.clip(epochs[:, 0], begin, end)
        calls = {
            kind: [each for t in told for each in t.calls.get(kind, ()) if begin <= each[0] <= end]
            for kind in (*TIMED, LOCK)
        }
        ended = (epochs[:, 1] >= begin) & (epochs[:, 1] <= end)
        return cls(
            n_workers=n,
            epoch_secs=epoch_secs,
            round_trip_ms=round_trip_ms,
            n_epochs=table.n_epochs,
            n_ended=n_ended,
            secs=secs,
            idle_share=1 - trained.sum() / (n * secs),
            trials_per_sec=len(calls["tell"]) / secs,
            fold_epochs_per_sec=ended.sum() / secs,
            calls={kind: Calls.of(each) for kind, each in calls.items()},
            client_cores=sum(t.processor_secs for t in told) / secs,
            server_cores=watch.processor_secs / secs,
            lock_share=sum(held for _, held, _ in calls[LOCK]) / secs,
            statements_per_sec=watch.n_statements / secs,
            rows_per_sec=watch.n_rows / secs,
            transactions_per_sec=watch.n_transactions / secs,
            most=watch.most,
            failures=sorted({each for t in told for each in t.failures}),
        )

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> Scale:
        """Return what was written as JSON."""
        calls = {kind: Calls(**each) for kind, each in plain["calls"].items()}
        return cls(**{**plain, "calls": calls})


def in_words(found: Sequence[Scale]) -> str:
    """Return the table."""
    heads = [
        "workers", "epoch s", "round trip ms", "ended", "trials/s", "not training", "lock held",
        *(f"{kind} ms (95 %; processor)" for kind in found[0].calls),
        "clients' cores", "server's cores", "statements/s", "rows/s", "failures",
    ]  # fmt: skip
    rows = [
        [
            each.n_workers, f"{each.epoch_secs:g}",
            "real" if each.round_trip_ms is None else f"{each.round_trip_ms:g}",
            each.n_ended, f"{each.trials_per_sec:.2f}",
            f"{each.idle_share:.0%}", f"{each.lock_share:.0%}",
            *map(_calls, each.calls.values()), f"{each.client_cores:.2f}",
            f"{each.server_cores:.2f}", f"{each.statements_per_sec:.0f}",
            f"{each.rows_per_sec:.0f}", len(each.failures),
        ]
        for each in found
    ]  # fmt: skip
    rule = ["---:"] * len(heads)
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [heads, rule, *rows])


def draw(found: Sequence[Scale], searches: Sequence[Search], path: Path) -> None:
    """Draw what comes of the number of workers, by the time that an epoch takes.

    searches: by workers of several numbers; their regret at the end
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    n_panels = 4 if searches else 3
    figure, panels = pyplot.subplots(1, n_panels, figsize=(13, 3.6), layout="constrained")
    for secs in sorted({each.epoch_secs for each in found}):
        runs = sorted(
            (each for each in found if each.epoch_secs == secs), key=lambda each: each.n_workers
        )
        n_workers = [each.n_workers for each in runs]
        for panel, values in zip(
            panels,
            (
                [each.trials_per_sec for each in runs],
                [100 * each.idle_share for each in runs],
                [each.server_cores for each in runs],
            ),
            strict=False,
        ):
            panel.plot(n_workers, values, marker="o", label=f"epochs of {secs:g} s")
    for (way, budget), regrets in _by_workers(searches).items():
        means = [np.mean(each) for each in regrets.values()]
        errors = [np.std(each, ddof=1) / np.sqrt(len(each)) for each in regrets.values()]
        label = f"{way}, {budget} trainings"
        panels[3].errorbar(list(regrets), means, errors, marker="o", capsize=3, label=label)
    labels = "trials a second", "% of the time not training", "the database's cores", "regret"
    for panel, label in zip(panels, labels, strict=False):
        panel.set_xscale("log")
        panel.set_xlabel("workers")
        panel.set_ylabel(label)
        if panel is not panels[0]:
            panel.set_ylim(bottom=0)
    panels[0].set_yscale("log")
    for panel in [panels[0], *panels[3:]]:
        panel.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _by_workers(searches: Sequence[Search]) -> dict[tuple[str, int], dict[int, list[float]]]:
    """Return searches' regrets, by way and budget and then by the number of workers."""
    regrets: dict[tuple[str, int], dict[int, list[float]]] = {}
    for each in sorted(searches, key=lambda each: each.n_workers):
        way = each.way.removesuffix(f", {each.n_workers} workers")
        of_way = regrets.setdefault((way, each.budget), {})
        of_way.setdefault(each.n_workers, []).append(each.regrets[-1])
    return regrets


def _calls(calls: Calls) -> Any:
    secs = calls.median_secs, calls.secs_95, calls.median_processor_secs
    return "{:.0f} ({:.0f}; {:.0f})".format(*(1000 * each for each in secs))
