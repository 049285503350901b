"""MLflow: the only folder that talks to it.

    store = open_store(None, home)                    # store.py: where, and can it be written
    unsent = Unsent(folder, store.address)            # unsent.py: what could not be written
    with MetricWriter(store.client, unsent=unsent) as writer:  # writer.py: who writes, and when
        study = StudyRun.open(store, writer, experiment="digits", signature="0a1b2c3d4e5f",
                              tags=provenance(home), params=spec.described())
        trial = study.start_trial(0, params)          # runs.py: study -> trials
        trial.log_epoch(1, epoch_metrics(...))        # records.py: what to log, as plain values
        trial.end(result, objective)
        study.end("FINISHED")

Read them in that order; what is done to runs are values, in `updates.py`. `records.py`,
`summary.py`, `views.py` and `provenance.py` never import MLflow, which takes two seconds;
`models.py` logs a fitted model, `registry.py` registers it, and `served_model.py` is what then
serves it. `handover.py` is for nodes that share no folder; `removal.py`, `relocation.py` and
`upload.py` are for the store's upkeep.
"""

import os

# MLflow tells its makers what it is used for unless it is asked not to, before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from pipeline.tracking.artifacts import bring_files, check_files
from pipeline.tracking.handover import Handover
from pipeline.tracking.lookup import SIGNATURE_TAG, end_left_running, has_run
from pipeline.tracking.models import (
    array_of,
    checkpoints,
    log_checkpoint,
    log_fitted_model,
    served,
)
from pipeline.tracking.provenance import provenance, versions
from pipeline.tracking.pulse import alive
from pipeline.tracking.records import alone, epoch_metrics
from pipeline.tracking.registry import (
    Version,
    give_alias,
    logged_later,
    register,
    version_of,
    with_alias,
)
from pipeline.tracking.relocation import Relocation, relocate
from pipeline.tracking.removal import (
    Logged,
    deleted_by_hand,
    logged_studies,
    remove,
    remove_models,
    shrink,
    size_of,
)
from pipeline.tracking.runs import StudyRun
from pipeline.tracking.store import Store, open_store
from pipeline.tracking.summary import scores_of, study_summary
from pipeline.tracking.trial_run import TrialRun
from pipeline.tracking.unsent import Unsent
from pipeline.tracking.upload import Sent, readdress, send_unsent, waiting_for
from pipeline.tracking.views import Views
from pipeline.tracking.writer import MetricWriter

__all__ = [
    "SIGNATURE_TAG",
    "Handover",
    "Logged",
    "MetricWriter",
    "Relocation",
    "Sent",
    "Store",
    "StudyRun",
    "TrialRun",
    "Unsent",
    "Version",
    "Views",
    "alive",
    "alone",
    "array_of",
    "bring_files",
    "check_files",
    "checkpoints",
    "deleted_by_hand",
    "end_left_running",
    "epoch_metrics",
    "give_alias",
    "has_run",
    "log_checkpoint",
    "log_fitted_model",
    "logged_later",
    "logged_studies",
    "open_store",
    "provenance",
    "readdress",
    "register",
    "relocate",
    "remove",
    "remove_models",
    "scores_of",
    "send_unsent",
    "served",
    "shrink",
    "size_of",
    "study_summary",
    "version_of",
    "versions",
    "waiting_for",
    "with_alias",
]
