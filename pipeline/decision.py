"""The answer, as JSON and as text."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import confirmation
from pipeline.choice import EpochChoice, PatientBest, choices_of_all_rules
from pipeline.diagnosis import Diagnosis
from pipeline.files import json_text, write_whole
from pipeline.results import Outcome, RefitResult, StudyResult, TrialResult, ranked
from pipeline.space import middle
from pipeline.spec import Refit
from pipeline.uncertainty import Interval
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
        "objective": {
            "metric": result.spec.objective.metric,
            "direction": result.spec.objective.direction,
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
        "ways": [dataclasses.asdict(way) for way in ways_of(result)],
        "runners_up": [_runner_up(trial) for trial in _runners_up(result)],
        "budget_over": result.budget_over,
        **costs_of(result),
        "mlflow_run": result.run_url,
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


def answer(result: StudyResult) -> str:
    """Return the answer in a few lines for a person."""
    lines = (f"  {label:<23}{text}" for label, text in findings(result))
    return "\n".join([f"{advice(result)}.", "", *lines])


def advice(result: StudyResult) -> str:
    """Return what to do: "Train with learning rate 0.004 for 18 epochs"."""
    best, choice = result.best, result.choice
    schedule = "" if best.horizon_free else f" of a {choice.horizon}-epoch schedule"
    rate = f"{best.params['learning_rate']:.3g}"
    return f"Train with learning rate {rate} for {choice.n_epochs} epochs{schedule}"


def findings(result: StudyResult) -> list[tuple[str, str]]:
    """Return what stands behind the advice, in the order of reading: (label, text)."""
    best, choice, refit, evidence = result.best, result.choice, result.refit, result.evidence
    others = {k: v for k, v in best.params.items() if k not in ("learning_rate", "max_epochs")}
    direction = "lower" if result.spec.objective.direction == "minimize" else "higher"
    n_folds = best.curves.n_folds if best.curves else 0
    found = []
    if result.open_end:
        found.append(("UNDETERMINED", f"{result.open_end}: more epochs may be better"))
    score = with_error(choice.score, choice.standard_error)
    interval = "" if evidence.score is None else f", {in_words(evidence.score)}"
    found += [
        (
            result.spec.objective.metric,
            f"{score}  over {n_folds} fold(s), {direction} is better{interval}",
        ),
        ("epochs", _epochs(result)),
        ("trials", _trials(result)),
        ("all this about", f"training on {evidence.n_training_rows} rows, as each fold does"),
    ]
    if result.budget_over:
        found.append(("budget", f"{result.budget_over} ended the search before all its trials"))
    if result.confirmation is not None:
        found += confirmation.in_words(result.confirmation).items()
    if before := result.warm_start:
        found.append(("last time", before.against(best.params["learning_rate"], choice.n_epochs)))
    if optimism := _optimism(result):
        found.append(("looks too good by", optimism))
    if undecided := evidence.undecided(best.curves.n_epochs if best.curves else 1):
        found.append(("undecided", undecided))
    found += [
        ("other parameters", ", ".join(f"{k}={v}" for k, v in others.items())),
        ("why this epoch", choice.reason),
        ("other rules", _other_rules(best, choice) if best.any_epoch else "none"),
        ("fit", best.diagnosis.sentence if best.diagnosis else ""),
    ]
    if refit is not None:
        found += _refit(refit)
    found.append(("decision", short(result.decision_path)))
    if result.report_path is not None:
        found.append(("report", short(result.report_path)))
    return [*found, ("MLflow", result.run_url), ("", result.ui_command)]


def _refit(refit: RefitResult) -> Iterator[tuple[str, str]]:
    yield (
        "refit",
        f"{refit.n_rows} rows, {refit.n_epochs} epochs, {refit.n_updates} updates → "
        f"{refit.model_uri}",
    )
    if refit.test_metrics:
        yield "test rows", _scores(refit.test_metrics)
    if refit.folds_model_uri:
        scored = f", test rows {_scores(refit.folds_test_metrics)}" * bool(refit.test_metrics)
        yield "fold ensemble", f"{refit.folds_model_uri}{scored}"


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


def _other_rules(best: TrialResult, choice: EpochChoice) -> str:
    """Return the epochs that other rules choose on the same curves: "plateau 12, grid 20"."""
    if best.curves is None:
        return ""
    return ", ".join(
        f"{name} {other.n_epochs}"
        for name, other in choices_of_all_rules(best.curves, best.horizon).items()
        if isinstance(other, EpochChoice) and name != choice.rule
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


def _epochs(result: StudyResult) -> str:
    """Return the set of equivalent epochs, and what resampling says of the choice, in words."""
    evidence, best = result.evidence, result.best
    if not best.any_epoch:
        return f"the whole schedule of {result.choice.horizon}: an earlier stop is another schedule"
    text = f"{span(evidence.equivalent_epochs)} cannot be told from the best"
    if best.curves is not None:
        text += f" of {best.curves.n_epochs} trained"
    if (resampled := evidence.resampled_epochs) is not None:
        chosen = span(range(int(resampled.low), int(resampled.high) + 1))
        text += f"; on resampled rows {result.choice.rule!r} chooses {chosen}"
    return text


def _trials(result: StudyResult) -> str:
    best, equivalent = result.best, result.evidence.equivalent_trials
    rank = "is the best" if result.confirmation is None else "was confirmed as the best"
    text = f"{best.number} {rank} of {_count(result.trials)}"
    if equivalent is None:
        return text
    seen = _best_seen(result).number
    others = ", ".join(str(number) for number in equivalent if number != seen)
    # What the search's folds tell apart, they tell from the best on them.
    it = "it" if seen == best.number else f"{seen}, the best on the search's folds"
    if not others:
        return f"{text}; every other one with a value is worse than {it}"
    return f"{text}; cannot be told from {it}: {others}"


def _best_seen(result: StudyResult) -> TrialResult:
    """Return the best trial on the search's folds: --confirm may have named another."""
    others = [trial for trial in result.trials if trial.number != result.best.number]
    return ranked([result.best, *others], result.spec.objective)[0]


def _optimism(result: StudyResult) -> str:
    """Return how much too good the best looks for having been chosen, in words."""
    evidence, parts = result.evidence, []
    if evidence.epochs_optimism is not None:
        parts.append(f"{evidence.epochs_optimism:.2g} for the choice of the epoch")
    seen = _best_seen(result)
    if evidence.corrected_score is not None and seen.value is not None:
        less = abs(evidence.corrected_score - seen.value)
        of = "" if seen.number == result.best.number else f" (trial {seen.number}, not confirmed)"
        parts.append(
            f"{less:.2g} for that of trial and epoch{of}: expect {evidence.corrected_score:.4g}"
        )
    return ", ".join(parts)


def in_words(interval: Interval) -> str:
    """Return "95% interval 0.034 to 0.137"."""
    return f"{interval.confidence:.0%} interval {interval.low:.4g} to {interval.high:.4g}"


def _scores(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _runners_up(result: StudyResult) -> list[TrialResult]:
    others = ranked(result.trials, result.spec.objective)
    return [trial for trial in others if trial.number != result.best.number][:N_RUNNERS_UP]


def outcomes(trials: Sequence[TrialResult]) -> dict[str, int]:
    """Return how many trials ended in each way."""
    return dict(Counter(trial.outcome.label for trial in trials))


def with_error(score: float, standard_error: float | None) -> str:
    """Return "0.0912 ± 0.0083", or the score alone where there is no standard error."""
    return f"{score:.4g}" if standard_error is None else f"{score:.4g} ± {standard_error:.2g}"


def span(counts: Sequence[int]) -> str:
    """Return sorted counts in words: "12–18, 20", or "3–59 (49 of them)" for many runs."""
    edges = [n for n, count in enumerate(counts) if n == 0 or count != counts[n - 1] + 1]
    if len(edges) > MAX_RUNS:
        return f"{counts[0]}–{counts[-1]} ({len(counts)} of them)"
    runs = [counts[a:b] for a, b in zip(edges, [*edges[1:], len(counts)], strict=True)]
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _count(trials: tuple[TrialResult, ...]) -> str:
    parts = ", ".join(f"{n} {label}" for label, n in outcomes(trials).items())
    return f"{len(trials)} ({parts})"


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


def short(path: Path) -> str:
    """Return a path as seen from the working directory, if it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
