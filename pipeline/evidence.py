"""How sure the answer is, and of what: for the best trial's epochs, and among the trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline import out_of_fold
from pipeline.choice import EpochChoice
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput
from pipeline.folds import Folds, are_uneven
from pipeline.question import Question
from pipeline.results import Evidence, TrialResult, ranked
from pipeline.spec import StudySpec
from pipeline.uncertainty import (
    Interval,
    bootstrapped,
    confidence_set,
    over_trials,
    score_interval,
    within_trial,
)
from pipeline.uncertainty.optimism import MAX_FOLDS

N_RESAMPLES = 500


def equivalent_epochs(curves: FoldCurves) -> tuple[int, ...]:
    """Return the epoch counts that cannot be told from the best, with 95 % confidence.

    With one fold, the best and its equals.
    """
    losses = curves.objective.as_loss(curves.contributions)
    within = confidence_set(losses, n_repeats=curves.n_repeats)
    if within is None:
        within = curves.losses <= curves.losses.min()
    return curves.epochs_where(within)


def equivalent_trials(trials: Sequence[TrialResult]) -> tuple[int, ...] | None:
    """Return the numbers of the trials that cannot be told from the best of them; None: one fold.

    trials: with values, on the same folds, best first; each counts at its best epoch
    """
    first = trials[0].curves
    assert first is not None
    columns = []
    for trial in trials:
        assert trial.curves is not None
        n_epochs = trial.best_n_epochs
        assert n_epochs is not None
        parts = trial.curves.contributions_after(n_epochs)
        columns.append(trial.curves.objective.as_loss(parts))
    within = confidence_set(np.stack(columns, axis=1), n_repeats=first.n_repeats)
    if within is None:
        return None
    return tuple(trial.number for trial, is_in in zip(trials, within, strict=True) if is_in)


def gathered(
    choice: EpochChoice,
    winner: TrialResult,
    trials: Sequence[TrialResult],
    question: Question,
    *,
    row_losses: Sequence[np.ndarray] | None,
) -> Evidence:
    """Return the evidence for a choice.

    trials: all of the search
    row_losses: the winner's out-of-fold losses, by fold [n_validation_rows, n_epochs], if known
    """
    curves, folds, spec = winner.curves, question.folds, question.spec
    assert curves is not None
    others = [trial for trial in ranked(trials, spec.objective) if trial.number != winner.number]
    candidates = out_of_fold.of_candidates(question, [winner, *others], row_losses)
    is_grid = winner.any_epoch and curves.n_repeats == 1 and curves.n_folds <= MAX_FOLDS
    return Evidence(
        equivalent_epochs=equivalent_epochs(curves) if winner.any_epoch else (choice.n_epochs,),
        equivalent_trials=equivalent_trials([winner, *others]),
        score=score_interval(
            curves.contributions_after(choice.n_epochs),
            validation_to_training=folds.validation_to_training,
            n_repeats=curves.n_repeats,
        ),
        resampled_epochs=_resampled(spec, winner, row_losses) if winner.any_epoch else None,
        epochs_optimism=within_trial(curves.objective.as_loss(curves.values), curves.weights)
        if is_grid
        else None,
        corrected_score=None
        if candidates is None
        else over_trials(
            candidates,
            weights=_weights_of_rows(spec, folds),
            n_resamples=N_RESAMPLES,
            seed=spec.seed,
        ),
        n_training_rows=round(float(np.mean([len(fold.train) for fold in folds]))),
        fold_rows=tuple((len(fold.train), len(fold.validation)) for fold in folds),
    )


def _weights_of_rows(spec: StudySpec, folds: Folds) -> np.ndarray | None:
    """Return how much each row counts where uneven folds count alike, [n_rows]; None: alike."""
    if spec.objective.mean == "rows" or not are_uneven(folds.n_validation_rows):
        return None
    weights = np.zeros(folds.n_rows)
    for fold in folds:
        weights[fold.validation] += 1 / len(fold.validation)
    return weights


def _resampled(
    spec: StudySpec, winner: TrialResult, rows: Sequence[np.ndarray] | None
) -> Interval | None:
    """Return the interval of the epochs that the rule chooses on resampled data."""
    if rows is None or winner.curves is None:
        return None
    objective, n_repeats = spec.objective, winner.curves.n_repeats
    if n_repeats > 1:  # one split of the rows at a time: the first stands for all
        rows = rows[: len(rows) // n_repeats]

    n_rows = np.array([len(fold) for fold in rows])

    def choose(values: np.ndarray, drawn: np.ndarray) -> int:
        curves = FoldCurves(values, objective, weights=objective.weights(n_rows[drawn]))
        return spec.rule.choose(curves, winner.horizon).n_epochs

    try:
        chosen = bootstrapped(rows, choose, n_resamples=N_RESAMPLES, seed=spec.seed)
    except BadInput:  # a rule may not be able to choose on some resample
        return None
    return Interval.of_percentiles(chosen)
