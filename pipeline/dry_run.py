"""What a search would cost and use, found out without running it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline import training
from pipeline.addresses import mask_password, storage_of, tracking_uri_of
from pipeline.crew import Crew
from pipeline.machine import EVERYTHING, n_cores, places
from pipeline.placement import STATES_PER_FOLD, place, size
from pipeline.progress import duration
from pipeline.question import Question, pose
from pipeline.room import check_need, devices_mb
from pipeline.schedules import updates_per_epoch
from pipeline.spec import StudySpec


def cost_of(
    spec: StudySpec, *, tracking_uri: str | None, storage: str | None, crew: Crew | None = None
) -> dict[str, Any]:
    """Check the study, time its model, and return what a search would cost and use.

    In words; "placement" is a table, a row for each worker on this machine.
    crew: that would train trials; None is this process
    Raises BadInput as `search` would before its first trial. Writes nothing.
    """
    said: list[str] = []
    share, n_here = (crew.share, crew.n_here) if crew else (EVERYTHING, 1)
    question = pose(spec, share=share, measures=True, say=said.append)
    check_need(spec, n_here)
    folds, rows = question.folds, question.development
    if found := question.found:
        engine = training.engine_for(found.setup, spec, rows, folds)
        measured = training.Measured(engine, found.timing, found.reason)
    else:
        measured = training.measured_engine(spec, rows, folds)
    engine, work = measured.engine, training.expected_work(spec, folds)
    typical = training.typical_params(spec)
    program, threads = engine.program(typical), question.threads_for(share.threads)
    updates = [updates_per_epoch(len(fold.train), int(typical["batch_size"])) for fold in folds]
    most = spec.budget.n_trials * len(folds) * spec.longest_horizon
    saved = "where trials pause" if spec.pausing else "after pruning and early stopping"
    store = tracking_uri_of(tracking_uri) or f"sqlite:///{question.home / 'mlruns' / 'mlflow.db'}"
    return {
        "study": question.name,
        "rows": question.rows,
        "devices": "; ".join(training.described_devices()),
        "workers": _workers(crew, threads),
        "space": ", ".join(spec.varied) + (f"; fixed {spec.fixed}" if spec.fixed else ""),
        "timed at": ", ".join(f"{k}={_short(v)}" for k, v in typical.items()),
        "engine": f"{engine.setup} ({measured.reason})",
        "one epoch of one fold": f"{1e3 * measured.timing.fold_epoch_secs:.2g} ms, "
        f"{updates[0]} updates; {measured.timing.compile_secs:.1f} s to compile",
        "memory": _memory(engine, program),
        **({"placement": _placement(engine, program, question, n_here, threads)} if n_here else {}),
        "at most": f"{spec.budget.n_trials} trials, {most:,} fold-epochs, "
        f"{most * sum(updates) // len(updates):,} updates, "
        f"{duration(most * measured.timing.fold_epoch_secs)} of training",
        "expected": f"{work.n_fold_epochs:,.0f} fold-epochs {saved}, "
        f"{work.n_programs} compiled program(s), {duration(measured.timing.search_secs(work))}",
        "MLflow": mask_password(store),
        "Optuna": mask_password(str(storage_of(storage) or question.folder / "journal.log")),
        "decision": str(question.folder / "decision.json"),
        **({"mind": "; ".join(said[1:])} if said[1:] else {}),  # the first names the study
    }


def _workers(crew: Crew | None, threads: int | None) -> str:
    if crew is not None and crew.placement is not None:
        return crew.in_words(threads)
    each = "a thread for each core" if threads is None else f"{threads} thread(s)"
    n_workers = 1 if crew is None else crew.n_workers
    return f"{n_workers}, each with {each}" if n_workers > 1 else f"1, with {each}"


def _placement(
    engine: training.Engine,
    program: training.Program,
    question: Question,
    n_workers: int,
    threads: int | None,
) -> list[dict[str, Any]]:
    """Return where each worker trains, and what of such a program stays there."""
    n_folds, table = len(question.folds), []
    holding = engine.holding(program)
    if not engine.rows_on_device:
        holding = replace(holding, rows=0)
    at = places(n_workers, len(training.GPUS))
    of_devices = devices_mb(question.spec, n_workers)
    for number, (each, mb) in enumerate(zip(at, of_devices, strict=True), start=1):
        # What streams stays on one device.
        n_devices = min(each.n_gpus or 1, n_folds) if engine.rows_on_device else 1
        n_on_each, memory = math.ceil(n_folds / n_devices), engine.devices[0].memory
        if each.gpu_share < 1 and (share_mb := training.gpu_capacity_mb(each)) is not None:
            memory = int(share_mb * 2**20)
        stays = place(replace(holding, n_folds=n_on_each), memory)
        rows = "stay there" if stays.rows_on_device else "do not fit"
        states = "stay there" if stays.states_on_device or each.gpu is None else "come and go"
        table.append(
            {
                "worker": number,
                "on": "CPU" if each.gpu is None else f"GPU {each.gpu}",
                "share": round(each.gpu_share, 2),
                "folds at once": min(n_folds, engine.lanes.n_each * n_devices),
                "rows": rows if engine.rows_on_device else "batch by batch",
                "states": states,
                "threads": threads or n_cores(),
                **({"MB for a trial": round(mb)} if math.isfinite(mb) else {}),
            }
        )
    return table


def _memory(engine: training.Engine, program: training.Program) -> str:
    """Return what is held in memory, and where, in words."""
    holding, device = engine.holding(program), engine.devices[0]
    where = place(holding, device.memory)
    n_copies = sum(each is not None for each in engine.preprocessors.values())
    copies = f" ({n_copies} preprocessed copies)" if n_copies else ""
    total = size(holding.all_rows + holding.all_states)
    in_rows, in_states = size(holding.rows), size(holding.state)
    rows_on = device.name if engine.rows_on_device else "the host, brought batch by batch"
    states_on = device.name if where.states_on_device or device.is_host else "the host"
    return (
        f"rows {in_rows}{copies} on {rows_on}; {holding.n_folds} folds' states of {in_states}, "
        f"{STATES_PER_FOLD} of each, and {holding.n_programs} program(s), on {states_on}; "
        f"{total} with a second engine's rows"
    )


def page(rows: Mapping[str, Any]) -> str:
    """Return named texts and tables, one below the other, for a terminal."""
    width = max(map(len, rows))
    lines = []
    for name, value in rows.items():
        first, *more = _table(value) if isinstance(value, list) else [value]
        lines += [f"{name:<{width}}  {first}", *(f"{'':<{width}}  {line}" for line in more)]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a heading and a line for each row, in columns."""
    cells = [[*rows[0]], *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
