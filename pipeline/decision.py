"""The answer, as JSON and as text."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.choice import EpochChoice, choices_of_all_rules
from pipeline.results import Outcome, RefitResult, StudyResult, TrialResult

N_RUNNERS_UP = 5


def decision(result: StudyResult, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decision as plain values.

    record: what the search knows about itself: engine, seed, hashes, versions, addresses
    """
    best, choice, refit = result.best, result.choice, result.refit
    return {
        "study": result.spec.name,
        "signature": result.signature,
        "learning_rate": best.params["learning_rate"],
        "n_epochs": choice.n_epochs,
        "horizon": choice.horizon,
        "score": choice.score,
        "standard_error": choice.standard_error,
        "objective": {
            "metric": result.spec.objective.metric,
            "direction": result.spec.objective.direction,
        },
        "equivalent_epochs": list(choice.equivalent_epochs),
        "rule": choice.rule,
        "reason": choice.reason,
        "params": dict(best.params),
        "trial": best.number,
        "n_folds": None if best.curves is None else best.curves.n_folds,
        "updates_per_fold": _updates_per_fold(best, choice.n_epochs),
        "refit": None
        if refit is None
        else {
            "n_epochs": refit.n_epochs,
            "n_updates": refit.n_updates,
            "n_rows": refit.n_rows,
            "batch_size": refit.batch_size,
            "model_uri": refit.model_uri,
            "test_metrics": dict(refit.test_metrics),
        },
        "rules": {name: _other_rule(other) for name, other in _all_rules(best).items()},
        "runners_up": [_runner_up(trial) for trial in ranked(result)[1 : N_RUNNERS_UP + 1]],
        "trials": {**{outcome.label: 0 for outcome in Outcome}, **outcomes(result.trials)},
        "fold_epochs": sum(trial.n_fold_epochs for trial in result.trials),
        "updates": sum(trial.n_updates for trial in result.trials),
        "seconds": sum(trial.seconds for trial in result.trials),
        "mlflow_run": result.run_url,
        "mlflow_ui": result.ui_command,
        **record,
    }


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Write the decision as JSON, whole or not at all."""
    aside = path.with_suffix(".tmp")
    text = json.dumps(_finite(values), indent=2, default=str, allow_nan=False)
    aside.write_text(text + "\n", encoding="utf-8")
    aside.replace(path)


def _finite(value: Any) -> Any:
    """Return plain values with null for NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refit_in(path: Path, best: TrialResult, choice: EpochChoice, run_id: str) -> RefitResult | None:
    """Return the refit that a written decision holds, if it decided the same; else None.

    A finished study that is started again has nothing to train, and no test row is scored again
    for the same decision. In another store, or with other parameters, nothing is the same.
    """
    if not path.exists():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    decided = (best.number, choice.n_epochs, dict(best.params), run_id)
    same = tuple(values[key] for key in ("trial", "n_epochs", "params", "run_id")) == decided
    return RefitResult(**values["refit"]) if same and values["refit"] else None


def answer(result: StudyResult) -> str:
    """Return the answer in a few lines for a person."""
    best, choice, refit = result.best, result.choice, result.refit
    others = {k: v for k, v in best.params.items() if k not in ("learning_rate", "max_epochs")}
    direction = "lower" if result.spec.objective.direction == "minimize" else "higher"
    lines = [
        f"Train with learning rate {best.params['learning_rate']:.3g} "
        f"for {choice.n_epochs} epochs" + (f" of a {choice.horizon}-epoch schedule."
        if not best.horizon_free else "."),
        "",
        f"  {result.spec.objective.metric:<23}{with_error(choice.score, choice.standard_error)}"
        f"  over {best.curves.n_folds if best.curves else 0} fold(s), {direction} is better",
        f"  {'other parameters':<23}" + ", ".join(f"{k}={v}" for k, v in others.items()),
        f"  {'why this epoch':<23}{choice.reason}",
        f"  {'as good, within 1 SE':<23}{runs(choice.equivalent_epochs)} epochs",
        f"  {'other rules':<23}" + _other_rules(best, choice),
        f"  {'trial':<23}{best.number} of {_count(result.trials)}",
    ]  # fmt: skip
    if best.curves is not None and choice.n_epochs == best.curves.n_epochs:
        lines.append(
            f"  {'mind':<23}the best epoch is the last one trained: a larger max_epochs may be "
            "better"
        )
    if refit is not None:
        lines.append(
            f"  {'refit':<23}{refit.n_rows} rows, {refit.n_epochs} epochs, {refit.n_updates} "
            f"updates → {refit.model_uri}"
        )
        if refit.test_metrics:
            scores = ", ".join(f"{k} {v:.4g}" for k, v in refit.test_metrics.items())
            lines.append(f"  {'test rows':<23}{scores}")
    lines += [
        f"  {'decision':<23}{_short(result.decision_path)}",
        f"  {'MLflow':<23}{result.run_url}",
        f"  {'':<23}{result.ui_command}",
    ]
    return "\n".join(lines)


def _all_rules(best: TrialResult) -> dict[str, EpochChoice | str]:
    return {} if best.curves is None else choices_of_all_rules(best.curves, best.horizon)


def _other_rule(other: EpochChoice | str) -> dict[str, Any]:
    if isinstance(other, str):
        return {"refused": other}
    return {"n_epochs": other.n_epochs, "score": other.score, "reason": other.reason}


def _other_rules(best: TrialResult, choice: EpochChoice) -> str:
    """Return the epochs that other rules choose on the same curves: "plateau 12, grid 20"."""
    return ", ".join(
        f"{name} {other.n_epochs}"
        for name, other in _all_rules(best).items()
        if isinstance(other, EpochChoice) and name != choice.rule
    )


def ranked(result: StudyResult) -> list[TrialResult]:
    """Return the trials that have a value, best first."""
    sign = 1 if result.spec.objective.direction == "minimize" else -1
    return sorted(
        (trial for trial in result.trials if trial.value is not None),
        key=lambda trial: sign * (trial.value or 0.0),
    )


def outcomes(trials: Sequence[TrialResult]) -> dict[str, int]:
    """Return how many trials ended in each way."""
    return dict(Counter(trial.outcome.label for trial in trials))


def with_error(score: float, standard_error: float | None) -> str:
    """Return "0.0912 ± 0.0083", or the score alone where there is no standard error."""
    return f"{score:.4g}" if standard_error is None else f"{score:.4g} ± {standard_error:.2g}"


def runs(counts: tuple[int, ...]) -> str:
    """Return sorted counts as runs: "12–18, 20"."""
    spans: list[list[int]] = []
    for count in counts:
        if spans and count == spans[-1][1] + 1:
            spans[-1][1] = count
        else:
            spans.append([count, count])
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in spans)


def _count(trials: tuple[TrialResult, ...]) -> str:
    parts = ", ".join(f"{n} {label}" for label, n in outcomes(trials).items())
    return f"{len(trials)} ({parts})"


def _updates_per_fold(best: TrialResult, n_epochs: int) -> float:
    """Return the updates of one fold in `n_epochs`, averaged over folds."""
    return best.n_updates / best.n_fold_epochs * n_epochs


def _runner_up(trial: TrialResult) -> dict[str, Any]:
    curves = trial.curves
    return {
        "trial": trial.number,
        "value": trial.value,
        "n_epochs": None if curves is None else curves.best_n_epochs,
        "params": dict(trial.params),
    }


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
