"""Optuna: where studies are stored, how parameters are proposed, which trials are cut short."""

from pipeline.optimization.insight import N_FOR_IMPORTANCES, importances, spans
from pipeline.optimization.queue import best_params, enqueue
from pipeline.optimization.storage import mend_journal, open_study, read_study
from pipeline.optimization.trials import (
    Proposal,
    best,
    exhausted,
    finished,
    next_proposal,
    run_id_of,
    run_ids,
)

__all__ = [
    "N_FOR_IMPORTANCES",
    "Proposal",
    "best",
    "best_params",
    "enqueue",
    "exhausted",
    "finished",
    "importances",
    "mend_journal",
    "next_proposal",
    "open_study",
    "read_study",
    "run_id_of",
    "run_ids",
    "spans",
]
