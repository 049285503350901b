"""The answer, put together: by the search that found it, and by the report that reads it again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pipeline import decision, warm_start
from pipeline.confirmation import Confirmation
from pipeline.early_end import EarlyEnd
from pipeline.evidence import gathered
from pipeline.question import Question
from pipeline.refit_length import kept_by
from pipeline.results import StudyResult, TrialResult
from pipeline.winner import Winner, chosen


def concluded(
    question: Question,
    study: Any,
    trials: Sequence[TrialResult],
    winner: Winner,
    confirmation: Confirmation | None,
    *,
    run_id: str,
    run_url: str,
    trials_url: str,
    ui_command: str,
    budget_over: str,
    early_end: EarlyEnd | None,
) -> StudyResult:
    """Choose the epoch from the winner's whole curve, and say how sure that is.

    The models are those of the written decision, if it decided the same.

    study: Optuna's
    trials: all of the search
    run_id, run_url, trials_url, ui_command: of the study's run in MLflow
    Raises BadInput when the curves cannot support the study's rule.
    """
    spec, path = question.spec, question.folder / "decision.json"
    choice = chosen(spec, winner.trial)
    batch_size = int(winner.trial.params["batch_size"])
    kept = kept_by(spec.refit.policy, question.folds, batch_size)
    refit = dataclasses.replace(spec.refit, policy=kept)
    evidence = gathered(choice, winner.trial, trials, question, row_losses=winner.row_losses)
    assert winner.trial.curves is not None  # it was chosen from
    history = winner.metrics
    validated = history.validated(choice.n_epochs, winner.trial.curves) if history else {}
    besides: list[Winner | Confirmation] = [winner, *([confirmation] if confirmation else [])]
    return StudyResult(
        spec=spec,
        signature=question.signature,
        trials=tuple(trials),
        best=winner.trial,
        choice=choice,
        evidence=evidence,
        open_end=winner.open_end,
        n_extra_fold_epochs=sum(each.n_fold_epochs for each in besides),
        n_extra_updates=sum(each.n_updates for each in besides),
        confirmation=confirmation,
        refit=decision.refit_in(path, winner.trial, choice, refit, run_id),
        fold_models=decision.fold_models_in(path, winner.trial, choice, run_id),
        registered=decision.registered_in(path, winner.trial, choice, run_id),
        decision_path=path,
        run_url=run_url,
        trials_url=trials_url,
        ui_command=ui_command,
        budget_over=budget_over,
        validated=validated,
        early_end=early_end,
        warm_start=warm_start.compared(study, winner.trial, trials, evidence),
    )
