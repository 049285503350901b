"""What MLflow's UI shows of a study without being told: a table of its trials, as plain values.

By itself the table of runs has no column for any metric or parameter (MLflow 3.17), and the runs of
trials are folded away. A saved view is a tag of the experiment, in the UI's own format; it is in
the menu "Views", and under an address of its own.
"""

from __future__ import annotations

import json

from pipeline.objective import Objective
from pipeline.tracking.records import storable_key

VIEW_TAG = "mlflow.sharedViewState."

VIEW_NAME = "Trials, best first"


def view_key(objective: Objective) -> str:
    """Return what the view is found by; studies of one name may have several metrics."""
    return f"trials-{storable_key(objective.metric)}"


def experiment_tags(objective: Objective, *, now_ms: int) -> dict[str, str]:
    """Return the tags of a study's experiment.

    now_ms: when the view is made, in milliseconds since 1970
    """
    best = f"best_{storable_key(objective.metric)}"
    columns = {
        "metrics": ("best_n_epochs", best, f"{best}_standard_error", "seconds"),
        "params": ("learning_rate", "max_epochs"),
        "tags": ("trial", "outcome"),
    }
    state = {
        "selectedColumns": [f"{kind}.`{key}`" for kind, keys in columns.items() for key in keys],
        "searchFilter": "tags.trial LIKE '%'",  # the study's own run is none
        "orderByKey": f"metrics.`{best}`",
        "orderByAsc": objective.direction == "minimize",
    }
    view = {"name": VIEW_NAME, "createdAt": now_ms, "updatedAt": now_ms}
    return {VIEW_TAG + view_key(objective): json.dumps({**view, "state": json.dumps(state)})}
