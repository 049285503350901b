"""The answer, as values: `decision.json`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.choice import EpochChoice, PatientBest
from pipeline.diagnosis import Diagnosis
from pipeline.files import json_text, write_whole
from pipeline.refit_length import Refit
from pipeline.registry import Registered
from pipeline.results import Outcome, RefitResult, StudyResult, TrialResult, ranked
from pipeline.space import middle
from pipeline.ways import Way, five_ways

N_RUNNERS_UP = 5
MAX_RUNS = 3


def decision(result: StudyResult, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decision as plain values.

    record: what the search knows about itself: engine, seed, hashes, versions, addresses
    """
    best, choice, refit = result.best, result.choice, result.refit
    return {
        "study": result.spec.name,
        "signature": result.signature,
        "determined": not result.open_end,
        "open_end": result.open_end,
        "learning_rate": best.params["learning_rate"],
        "n_epochs": choice.n_epochs,
        "horizon": choice.horizon,
        "score": choice.score,
        "standard_error": choice.standard_error,
        "validated": {name: dataclasses.asdict(score) for name, score in result.validated.items()},
        "objective": {
            "metric": result.spec.objective.metric,
            "direction": result.spec.objective.direction,
            "mean": result.spec.objective.mean,
        },
        "rule": choice.rule,
        "reason": choice.reason,
        "evidence": dataclasses.asdict(result.evidence),
        "confirmation": None if result.confirmation is None else result.confirmation.as_plain(),
        "diagnosis": None if best.diagnosis is None else _diagnosis(best.diagnosis),
        "params": dict(best.params),
        "trial": best.number,
        "n_folds": None if best.curves is None else best.curves.n_folds,
        "search": {
            "n_epochs": choice.n_epochs,
            "n_updates": _updates_per_fold(best, choice.n_epochs),
            "n_rows": result.evidence.n_training_rows,
            "batch_size": best.params["batch_size"],
        },
        "warm_start": result.warm_start and result.warm_start.as_plain(),
        "refit": None if refit is None else dataclasses.asdict(refit),
        "fold_models": result.fold_models or None,
        "registered": result.registered and dataclasses.asdict(result.registered),
        "ways": [dataclasses.asdict(way) for way in ways_of(result)],
        "runners_up": [_runner_up(trial) for trial in _runners_up(result)],
        "budget_over": result.budget_over,
        "early_end": result.early_end and result.early_end.as_plain(),
        **costs_of(result),
        "mlflow_run": result.run_url,
        "mlflow_trials": result.trials_url,
        "mlflow_ui": result.ui_command,
        **record,
    }


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Write the decision as JSON, whole or not at all."""
    write_whole(path, f"{json_text(values, indent=2)}\n".encode())


def refit_in(
    path: Path, best: TrialResult, choice: EpochChoice, refit: Refit, run_id: str
) -> RefitResult | None:
    """Return the refit that a written decision holds, if it decided the same; else None.

    refit: as wanted; its policy says what is kept, and leaves nothing to the folds

    A finished study that is started again has nothing to train, and no test row is scored again
    for the same decision. In another store, or with other parameters, nothing is the same.
    """
    values = _same_in(path, best, choice, run_id)
    if not values.get("refit"):
        return None
    made = RefitResult(**_numbers(values["refit"]))
    as_wanted = (made.policy, made.n_seeds) == (refit.policy, refit.n_seeds)
    return made if as_wanted and (made.folds_model_uri or not refit.keep_folds) else None


def fold_models_in(path: Path, best: TrialResult, choice: EpochChoice, run_id: str) -> str:
    """Return where the fold models are that a written decision names, if it decided the same."""
    return str(_same_in(path, best, choice, run_id).get("fold_models") or "")


def registered_in(
    path: Path, best: TrialResult, choice: EpochChoice, run_id: str
) -> Registered | None:
    """Return what became of the model that a written decision names, if it decided the same."""
    values = _same_in(path, best, choice, run_id).get("registered")
    return Registered(**values) if values else None


def _same_in(path: Path, best: TrialResult, choice: EpochChoice, run_id: str) -> dict[str, Any]:
    """Return the written decision if it decided the same, in the same run; else nothing."""
    if not path.exists():
        return {}
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    decided = (best.number, choice.n_epochs, dict(best.params), run_id)
    same = tuple(values[key] for key in ("trial", "n_epochs", "params", "run_id")) == decided
    return values if same else {}


def _numbers(refit: Mapping[str, Any]) -> dict[str, Any]:
    """Return a written refit with NaN for what JSON made null: scores that were not finite."""

    def read(scores: Mapping[str, float | None]) -> dict[str, float]:
        return {name: math.nan if value is None else value for name, value in scores.items()}

    return {
        **refit,
        "test_metrics": read(refit["test_metrics"]),
        "folds_test_metrics": read(refit["folds_test_metrics"]),
        "seeds_test_metrics": [read(each) for each in refit["seeds_test_metrics"]],
    }


def _diagnosis(diagnosis: Diagnosis) -> dict[str, Any]:
    values = {**dataclasses.asdict(diagnosis), "kind": diagnosis.kind.label}
    return {**values, "sentence": diagnosis.sentence}


def ways_of(result: StudyResult, *, n_fixed: int | None = None) -> tuple[Way, ...]:
    """Return the five ways of choosing epochs on the winner's curves.

    n_fixed: the number that somebody would have trained for; the middle of the range by default
    """
    spec, curves = result.spec, result.best.curves
    if curves is None:
        return ()
    stopping = spec.early_stopping
    return five_ways(
        curves,
        result.best.horizon,
        n_fixed=n_fixed or int(middle(spec.space["max_epochs"])),
        patience=PatientBest(stopping.patience, stopping.min_delta) if stopping else None,
    )


def costs(trials: Sequence[TrialResult]) -> dict[str, Any]:
    """Return what the search's trials were, over all sessions."""
    return {
        "trials": {**{outcome.label: 0 for outcome in Outcome}, **outcomes(trials)},
        "fold_epochs": sum(trial.n_fold_epochs for trial in trials),
        "updates": sum(trial.n_updates for trial in trials),
        "seconds": sum(trial.seconds for trial in trials),
    }


def costs_of(result: StudyResult) -> dict[str, Any]:
    """Return what an answer has cost, over all sessions; the refit not counted.

    The seconds are the trials' alone.
    """
    plain = costs(result.trials)
    plain["fold_epochs"] += result.n_extra_fold_epochs
    plain["updates"] += result.n_extra_updates
    return plain


def _runners_up(result: StudyResult) -> list[TrialResult]:
    others = ranked(result.trials, result.spec.objective)
    return [trial for trial in others if trial.number != result.best.number][:N_RUNNERS_UP]


def outcomes(trials: Sequence[TrialResult]) -> dict[str, int]:
    """Return how many trials ended in each way."""
    return dict(Counter(trial.outcome.label for trial in trials))


def _updates_per_fold(best: TrialResult, n_epochs: int) -> float:
    """Return the updates of one fold in `n_epochs`, averaged over folds."""
    return best.n_updates / best.n_fold_epochs * n_epochs


def _runner_up(trial: TrialResult) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "value": trial.value,
        "n_epochs": trial.best_n_epochs,
        "params": dict(trial.params),
    }
