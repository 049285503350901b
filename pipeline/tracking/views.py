"""How MLflow's UI shows a study: views of its trials, as plain values.

By itself the UI (read and seen in MLflow 3.17) shows no metric or parameter in its table of runs,
folds the trials away, and orders charts by their names; what it starts with is in its code and in
the browser's memory, and nothing in a store changes that. But a tag of an experiment may hold a
view, in the UI's own format. It has an address, and is in the menu "Views".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipeline.objective import Objective
from pipeline.tracking.lookup import PARENT_TAG
from pipeline.tracking.records import EPOCH_MARK, storable_key
from pipeline.tracking.store import TRAINING_PAGES
from pipeline.tracking.summary import DESCRIPTION_TAG

VIEW_TAG = "mlflow.sharedViewState."

TRIALS, LATEST = "trials", "latest"
"""The view of all trials of a study's name, and that of its latest search."""

N_FOLDS_SHOWN = 10
"""Of as many folds there are charts in front of all others: older stores take 5,000 characters."""


@dataclass(frozen=True)
class Views:
    """The views of a study's trials.

    objective: what is best; n_folds: whose curves have charts
    """

    objective: Objective
    n_folds: int

    def of_experiment(self, experiment_id: str, *, now_ms: int) -> dict[str, str]:
        """Return the experiment's tags: a view of all its trials, and a text that links to both.

        now_ms: when the view is made, in milliseconds since 1970
        """
        every, latest = (
            f"#{self.page_of(experiment_id, which)}&{TRAINING_PAGES}" for which in (TRIALS, LATEST)
        )
        text = (  # the UI folds away what is longer than a line
            f"The latest search: [trials, best first]({latest}), "
            f"[their curves]({latest}&compareRunsMode=CHART). All searches: [trials]({every})."
        )
        trials = self._view("Trials, best first", "tags.trial LIKE '%'", now_ms)
        return {DESCRIPTION_TAG: text, VIEW_TAG + self._key(TRIALS): trials}

    def of_latest(self, run_id: str, *, now_ms: int) -> dict[str, str]:
        """Return the experiment's tag with a view of one search's trials. run_id: the study's."""
        view = self._view("Latest search", f"tags.`{PARENT_TAG}` = '{run_id}'", now_ms)
        return {VIEW_TAG + self._key(LATEST): view}

    def page_of(self, experiment_id: str, which: str) -> str:
        """Return a view's address below the UI's own. which: TRIALS or LATEST"""
        return f"/experiments/{experiment_id}/runs?viewStateShareKey={self._key(which)}"

    def _key(self, which: str) -> str:
        """Return what a view is found by; studies of one name may have several metrics."""
        return f"{which}-{storable_key(self.objective.metric)}"

    def _view(self, name: str, search_filter: str, now_ms: int) -> str:
        best = f"best_{storable_key(self.objective.metric)}"
        # What is shown, from the left, and how wide, in pixels.
        widths = {
            "attributes.`Run Name`": 115,
            "runDateAndNestInfo": 140,
            "tags.`outcome`": 120,
            "params.`learning_rate`": 105,
            "params.`max_epochs`": 100,
            "metrics.`best_n_epochs`": 112,
            f"metrics.`{best}`": 105,
            f"metrics.`{best}_standard_error`": 140,
            "metrics.`seconds`": 85,
            "duration": 85,
        }
        chosen = ("tags.", "params.", "metrics.")
        state = {
            "selectedColumns": [key for key in widths if key.startswith(chosen)],
            "columnOrder": list(widths),
            "columnWidths": widths,
            "searchFilter": search_filter,
            "orderByKey": f"metrics.`{best}`",
            "orderByAsc": self.objective.direction == "minimize",
            **self._charts(),
        }
        view = {"name": name, "createdAt": now_ms, "updatedAt": now_ms}
        return json.dumps({**view, "state": json.dumps(state)})

    def _charts(self) -> dict[str, Any]:
        """Return the charts that stand in front of those that the UI makes of all metrics."""
        key, n_folds = storable_key(self.objective.metric), min(self.n_folds, N_FOLDS_SHOWN)
        sections = {
            "Mean over folds": [f"{key}_mean", f"{key}_standard_error", EPOCH_MARK],
            f"{key} by fold": [f"fold_{fold}/{key}" for fold in range(n_folds)],
        }
        return {
            "compareRunSections": [
                {"uuid": name, "name": name, "display": True, "isReordered": True}
                for name in sections
            ],
            "compareRunCharts": [
                _line_chart(metric, section)
                for section, metrics in sections.items()
                for metric in metrics
            ],
            "isAccordionReordered": True,  # else the sections are sorted by name
        }


def _line_chart(metric: str, section: str) -> dict[str, Any]:
    return {
        "type": "LINE",
        "uuid": metric,
        "metricKey": metric,
        "metricSectionId": section,
        "xAxisKey": "step",
        "lineSmoothness": 0,
    }
