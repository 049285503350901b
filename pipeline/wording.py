"""The answer, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline import confirmation
from pipeline.choice import EpochChoice, choices_of_all_rules
from pipeline.decision import outcomes
from pipeline.folds import are_uneven
from pipeline.results import Evidence, RefitResult, StudyResult, TrialResult, ranked
from pipeline.schedules import ignores_the_sampled
from pipeline.uncertainty import Interval

KEPT = {"epochs": "", "updates": ", as many as a fold had on average", "scaled": ""}
"""What a refit kept of the choice, where it is not the epochs."""

MAX_RUNS = 3
"""Of counts that follow on each other, shown one by one."""


def answer(result: StudyResult) -> str:
    """Return the answer in a few lines for a person."""
    lines = (f"  {label:<23}{text}" for label, text in findings(result))
    return "\n".join([f"{advice(result)}.", "", *lines])


def advice(result: StudyResult) -> str:
    """Return what to do: "Train with learning rate 0.004 for 18 epochs"."""
    best, choice = result.best, result.choice
    schedule = "" if best.horizon_free else f" of a {choice.horizon}-epoch schedule"
    rate = f"learning rate {best.params['learning_rate']:.3g}"
    if ignores_the_sampled(result.spec.schedule_of(best.params)):
        rate = "the schedule's own learning rates"
    python = result.spec.python_in_training
    along = f", with the study's {python}" if python else ""
    return f"Train with {rate} for {choice.n_epochs} epochs{schedule}{along}"


def findings(result: StudyResult) -> list[tuple[str, str]]:
    """Return what stands behind the advice, in the order of reading: (label, text)."""
    best, choice, refit, evidence = result.best, result.choice, result.refit, result.evidence
    others = {k: v for k, v in best.params.items() if k not in ("learning_rate", "max_epochs")}
    direction = "lower" if result.spec.objective.direction == "minimize" else "higher"
    found = []
    if result.open_end:
        found.append(("UNDETERMINED", f"{result.open_end}: more epochs may be better"))
    score = with_error(choice.score, choice.standard_error)
    interval = "" if evidence.score is None else f", {in_words(evidence.score)}"
    found.append(
        (
            result.spec.objective.metric,
            f"{score}  {_mean(result)}, {direction} is better{interval}",
        )
    )
    if others_validated := _others_validated(result):
        found.append(("other metrics", others_validated))
    found += [
        ("epochs", _epochs(result)),
        ("trials", _trials(result)),
        ("all this about", _about(evidence)),
    ]
    if result.early_end is not None:
        found.append(("ended early", result.early_end.in_words()))
    elif result.budget_over:
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
    if result.registered is not None:
        found.append(("registry", result.registered.in_words()))
    found.append(("decision", short(result.decision_path)))
    if result.report_path is not None:
        found.append(("report", short(result.report_path)))
    found.append(("MLflow", result.run_url))
    if result.trials_url:
        found.append(("its trials", result.trials_url))
    return [*found, ("", result.ui_command)]


def _others_validated(result: StudyResult) -> str:
    """Return the other metrics of validation rows at the chosen epoch."""
    monitored = result.spec.objective.metric
    return ", ".join(
        f"{name} {with_error(score.mean, score.standard_error)}"
        for name, score in result.validated.items()
        if name != monitored
    )


def _mean(result: StudyResult) -> str:
    """Return what the mean is over, in words; where folds are uneven, how much each counts."""
    over = f"over {result.best.curves.over}" if result.best.curves else ""
    sizes = [n_validation for _, n_validation in result.evidence.fold_rows]
    if not sizes or not are_uneven(sizes):
        return over
    each = "" if result.spec.objective.mean == "rows" else ", each counts the same"
    return f"{over} of {min(sizes)}–{max(sizes)} rows{each}"


def _about(evidence: Evidence) -> str:
    """Return what the answer is about, in words."""
    sizes = [n_training for n_training, _ in evidence.fold_rows]
    if not sizes or not are_uneven(sizes):
        return f"training on {evidence.n_training_rows} rows, as each fold does"
    return (
        f"training on {min(sizes)} to {max(sizes)} rows, as the folds do, "
        f"{evidence.n_training_rows} on average"
    )


def _refit(refit: RefitResult) -> Iterator[tuple[str, str]]:
    yield (
        "refit",
        f"{refit.n_rows} rows, {refit.n_epochs} epochs, {refit.n_updates} updates"
        f"{KEPT[refit.policy]} → {refit.model_uri}",
    )
    if refit.test_metrics:
        yield "test rows", scores(refit.test_metrics)
    if refit.folds_model_uri:
        scored = f", test rows {scores(refit.folds_test_metrics)}" * bool(refit.test_metrics)
        yield "fold ensemble", f"{refit.folds_model_uri}{scored}"


def _other_rules(best: TrialResult, choice: EpochChoice) -> str:
    """Return the epochs that other rules choose on the same curves: "plateau 12, grid 20"."""
    if best.curves is None:
        return ""
    return ", ".join(
        f"{name} {other.n_epochs}"
        for name, other in choices_of_all_rules(best.curves, best.horizon).items()
        if isinstance(other, EpochChoice) and name != choice.rule
    )


def _epochs(result: StudyResult) -> str:
    """Return the set of equivalent epochs, and what resampling says of the choice, in words."""
    evidence, best = result.evidence, result.best
    if not best.any_epoch:
        return f"the whole schedule of {result.choice.horizon}: an earlier stop is another schedule"
    text = f"{span(evidence.equivalent_epochs)} cannot be told from the best"
    if best.curves is not None:
        text += f" of {best.curves.n_epochs} trained"
        if result.spec.schedule_is_over(best.params, best.curves.n_epochs):
            text += ", for which alone the schedule has rates"
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


def scores(metrics: Mapping[str, float]) -> str:
    """Return "accuracy 0.978, loss 0.0858"."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


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


def short(path: Path) -> str:
    """Return a path as seen from the working directory, if it lies in it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
