"""What a search would cost and use, found out without running it."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline import training
from pipeline.addresses import mask_password, storage_of, tracking_uri_of
from pipeline.crew import Crew
from pipeline.machine import EVERYTHING, places
from pipeline.placement import STATES_PER_FOLD, place, size
from pipeline.progress import duration
from pipeline.question import pose
from pipeline.schedules import updates_per_epoch
from pipeline.spec import StudySpec


def cost_of(
    spec: StudySpec, *, tracking_uri: str | None, storage: str | None, crew: Crew | None = None
) -> dict[str, str]:
    """Check the study, time its model, and return what a search would cost and use, in words.

    crew: that would train trials; None is this process
    Raises BadInput as `search` would before its first trial. Writes nothing.
    """
    said: list[str] = []
    share = crew.share if crew else EVERYTHING
    question = pose(spec, share=share, measures=True, say=said.append)
    folds, rows = question.folds, question.development
    if found := question.found:
        engine = training.engine_for(found.setup, spec, rows, folds)
        measured = training.Measured(engine, found.timing, found.reason)
    else:
        measured = training.measured_engine(spec, rows, folds)
    work = training.expected_work(spec, folds)
    typical = training.typical_params(spec)
    updates = [updates_per_epoch(len(fold.train), int(typical["batch_size"])) for fold in folds]
    most = spec.budget.n_trials * len(folds) * spec.longest_horizon
    store = tracking_uri_of(tracking_uri) or f"sqlite:///{question.home / 'mlruns' / 'mlflow.db'}"
    return {
        "study": question.name,
        "rows": question.rows,
        "devices": "; ".join(training.described_devices()),
        "workers": _workers(crew, question.threads_for(share.threads)),
        "space": ", ".join(spec.varied) + (f"; fixed {spec.fixed}" if spec.fixed else ""),
        "timed at": ", ".join(f"{k}={_short(v)}" for k, v in typical.items()),
        "engine": f"{measured.engine.setup} ({measured.reason})",
        "one epoch of one fold": f"{1e3 * measured.timing.fold_epoch_secs:.2g} ms, "
        f"{updates[0]} updates; {measured.timing.compile_secs:.1f} s to compile",
        "memory": _memory(measured.engine, measured.engine.program(typical)),
        "at most": f"{spec.budget.n_trials} trials, {most:,} fold-epochs, "
        f"{most * sum(updates) // len(updates):,} updates, "
        f"{duration(most * measured.timing.fold_epoch_secs)} of training",
        "expected": f"{work.n_fold_epochs:,.0f} fold-epochs after pruning and early stopping, "
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
    text = f"{n_workers}, each with {each}" if n_workers > 1 else f"1, with {each}"
    on = [place.gpu for place in places(n_workers, len(training.GPUS)) if place.gpu is not None]
    return text + (f", on GPU {', '.join(on)}" if on else "")


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


def page(rows: Mapping[str, str]) -> str:
    """Return named texts, one a line, for a terminal."""
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
