"""MLflow: the only folder that talks to it.

    store = open_store(None, home)                    # store.py: where, and can it be written
    with MetricWriter(store.client) as writer:        # writer.py: who writes, in the background
        study = StudyRun.open(store, writer, experiment="digits", signature="0a1b2c3d4e5f",
                              tags=provenance(home), params=spec.described())
        trial = study.start_trial(0, params)          # runs.py: study -> trials
        trial.log_epoch(1, epoch_metrics(...))        # records.py: what to log, as plain values
        trial.end(result, objective)
        study.end("FINISHED")

Read them in that order. `records.py`, `summary.py` and `provenance.py` never import MLflow, which
takes two seconds; `models.py` logs a fitted model and `served_model.py` is what then serves it.
"""

import os

# MLflow tells its makers what it is used for unless it is asked not to, before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from pipeline.tracking.models import log_fitted_model
from pipeline.tracking.provenance import provenance
from pipeline.tracking.records import epoch_metrics
from pipeline.tracking.runs import StudyRun, TrialRun
from pipeline.tracking.store import Store, open_store
from pipeline.tracking.summary import study_summary
from pipeline.tracking.writer import MetricWriter

__all__ = [
    "MetricWriter",
    "Store",
    "StudyRun",
    "TrialRun",
    "epoch_metrics",
    "log_fitted_model",
    "open_store",
    "provenance",
    "study_summary",
]
