"""Optuna: where studies are stored, how parameters are proposed, which trials are cut short."""

from pipeline.optimization.storage import open_study
from pipeline.optimization.trials import (
    Proposal,
    best,
    exhausted,
    finished,
    next_proposal,
    run_id_of,
    run_ids_of_running,
)

__all__ = [
    "Proposal",
    "best",
    "exhausted",
    "finished",
    "next_proposal",
    "open_study",
    "run_id_of",
    "run_ids_of_running",
]
