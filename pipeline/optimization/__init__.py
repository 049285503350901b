"""Optuna: where studies are stored, how parameters are proposed, which trials are cut short."""

from pipeline.optimization.journal import mend_journal
from pipeline.optimization.queue import best_params, enqueue
from pipeline.optimization.storage import open_study, read_study
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
    "Proposal",
    "best",
    "best_params",
    "enqueue",
    "exhausted",
    "finished",
    "mend_journal",
    "next_proposal",
    "open_study",
    "read_study",
    "run_id_of",
    "run_ids",
]
