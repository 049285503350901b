"""Optuna: where studies are stored, how parameters are proposed, which trials are cut short."""

from pipeline.optimization.claims import Claims
from pipeline.optimization.climbs import Climbs
from pipeline.optimization.insight import N_FOR_IMPORTANCES, importances, spans
from pipeline.optimization.journal import mend_journal
from pipeline.optimization.queue import best_params, enqueue
from pipeline.optimization.storage import open_study, read_study
from pipeline.optimization.stored import (
    Finished,
    begun,
    best,
    epochs_begun,
    finished,
    last_report,
    run_id_of,
    run_ids,
)
from pipeline.optimization.trials import (
    Proposal,
    exhausted,
    n_to_begin,
    next_proposal,
)

__all__ = [
    "N_FOR_IMPORTANCES",
    "Claims",
    "Climbs",
    "Finished",
    "Proposal",
    "begun",
    "best",
    "best_params",
    "enqueue",
    "epochs_begun",
    "exhausted",
    "finished",
    "importances",
    "last_report",
    "mend_journal",
    "n_to_begin",
    "next_proposal",
    "open_study",
    "read_study",
    "run_id_of",
    "run_ids",
    "spans",
]
