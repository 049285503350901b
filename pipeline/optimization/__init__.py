"""Optuna: where studies are stored, how parameters are proposed, which trials are cut short."""

from pipeline.optimization.claims import Claims
from pipeline.optimization.climbs import Climbs
from pipeline.optimization.database import (
    check_server,
    heartbeat_secs,
    is_server,
    open_database,
)
from pipeline.optimization.heartbeats import LOOK_SECS, AnotherHeld, HeartbeatClaims, StudyLock
from pipeline.optimization.insight import N_FOR_IMPORTANCES, importances, spans
from pipeline.optimization.journal import mend_journal
from pipeline.optimization.queue import best_params, enqueue
from pipeline.optimization.sampling import exhausted
from pipeline.optimization.servers import who
from pipeline.optimization.storage import disconnect, notes_of, open_study, read_study
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
from pipeline.optimization.trials import Proposal, n_to_begin, next_proposal

__all__ = [
    "LOOK_SECS",
    "N_FOR_IMPORTANCES",
    "AnotherHeld",
    "Claims",
    "Climbs",
    "Finished",
    "HeartbeatClaims",
    "Proposal",
    "StudyLock",
    "begun",
    "best",
    "best_params",
    "check_server",
    "disconnect",
    "enqueue",
    "epochs_begun",
    "exhausted",
    "finished",
    "heartbeat_secs",
    "importances",
    "is_server",
    "last_report",
    "mend_journal",
    "n_to_begin",
    "next_proposal",
    "notes_of",
    "open_database",
    "open_study",
    "read_study",
    "run_id_of",
    "run_ids",
    "spans",
    "who",
]
