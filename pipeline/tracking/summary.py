"""What a study's run says at its end, as plain values."""

from __future__ import annotations

import re

from pipeline.results import StudyResult
from pipeline.tracking.records import storable_key, storable_text

DESCRIPTION_TAG = "mlflow.note.content"
MAX_TAG_CHARACTERS = 8000


def study_summary(
    result: StudyResult, description: str, run_id: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Return (metrics, tags) of a study's run.

    description: Markdown, shown in MLflow's UI, with pictures that are among the run's artifacts
    """
    best, choice = result.best, result.choice
    metric = result.spec.objective.metric
    metrics = {
        "chosen_epochs": float(choice.n_epochs),
        "learning_rate": float(best.params["learning_rate"]),
        **{f"chosen_{storable_key(k)}": v.mean for k, v in result.validated.items()},
        **scores_of(result),
        "fold_epochs": float(
            sum(t.n_fold_epochs for t in result.trials) + result.n_extra_fold_epochs
        ),
        "updates": float(sum(t.n_updates for t in result.trials) + result.n_extra_updates),
        "seconds": sum(trial.seconds for trial in result.trials),
    }
    if (confirmation := result.confirmation) is not None:
        metrics[f"confirmed_{metric}"] = confirmation.winner.mean
        if (components := confirmation.components) is not None:
            metrics.update({f"variance_{k}": v for k, v in components.estimates.items()})
    tags = {
        DESCRIPTION_TAG: storable_text(_with_pictures(description, run_id), MAX_TAG_CHARACTERS),
        "best_trial": str(best.number),
        "rule": choice.rule,
        "n_trials": str(len(result.trials)),
    }
    if confirmation is not None:
        tags["confirmed_trials"] = ", ".join(str(trial.number) for trial in confirmation.trials)
    return metrics, tags


def _with_pictures(description: str, run_id: str) -> str:
    """Return Markdown in which pictures beside it have the addresses that they have in the UI."""
    address = rf"\1get-artifact?path=\2&run_uuid={run_id})"
    return re.sub(r"(!\[[^\]]*\]\()([\w.]+)\)", address, description)


def scores_of(result: StudyResult) -> dict[str, float]:
    """Return how good the answer is: cross-validated, and on test rows where there are some."""
    choice, refit, key = result.choice, result.refit, f"chosen_{result.spec.objective.metric}"
    metrics = {key: choice.score}
    if choice.standard_error is not None:
        metrics[f"{key}_standard_error"] = choice.standard_error
    if refit is not None:
        metrics |= {f"test_{name}": value for name, value in refit.test_metrics.items()}
    return metrics
