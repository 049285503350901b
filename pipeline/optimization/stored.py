"""What a study's storage says of its trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from pipeline.errors import StoreUnavailable
from pipeline.optimization.alike import HORIZON_FREE
from pipeline.results import Outcome, TrialResult, ranked
from pipeline.spec import StudySpec

STATES = {
    Outcome.COMPLETED: TrialState.COMPLETE,
    Outcome.STOPPED_EARLY: TrialState.COMPLETE,
    Outcome.PRUNED: TrialState.PRUNED,
    Outcome.FAILED: TrialState.FAIL,
}
"""An interrupted trial stays RUNNING: whoever comes next goes on with it."""

ENDED = tuple(set(STATES.values()))

N_SHARES = 20
"""Points at which trials with a horizon-dependent schedule are compared: shares of the horizon."""


class Finished:
    """Every finished trial's result, over all sessions and workers; each is read once."""

    def __init__(self, study: optuna.Study, spec: StudySpec) -> None:
        self._study, self._spec = study, spec
        self._results: dict[int, TrialResult] = {}

    def all(self) -> tuple[TrialResult, ...]:
        """Return those that have finished by now, in order of number."""
        return self.among(self._study.get_trials(deepcopy=False, states=ENDED))

    def among(self, trials: Iterable[FrozenTrial]) -> tuple[TrialResult, ...]:
        """Return those of the study's trials that have finished, and any that were seen before."""
        for trial in trials:
            if trial.state in ENDED and trial.number not in self._results:
                self._results[trial.number] = result_of(trial, self._spec)
        return tuple(self._results[number] for number in sorted(self._results))


def finished(study: optuna.Study, spec: StudySpec) -> tuple[TrialResult, ...]:
    """Return every finished trial's result, over all sessions, in order of number."""
    return Finished(study, spec).all()


def best(results: Sequence[TrialResult], spec: StudySpec) -> TrialResult | None:
    """Return the trial with the best value, the first of equals, or None."""
    return next(iter(ranked(results, spec.objective)), None)


def result_of(trial: FrozenTrial, spec: StudySpec) -> TrialResult:
    """Return what a trial was last told to have come to."""
    note = trial.user_attrs.get("result")
    if note is None:
        raise StoreUnavailable(
            f"trial {trial.number} has no result: another program wrote to this study's storage"
        )
    return TrialResult.of_plain(trial.number, spec.params_of(trial.params), note, spec)


def run_ids(study: optuna.Study) -> list[str]:
    """Return the MLflow runs of all trials that have one."""
    notes = (trial.user_attrs for trial in study.get_trials(deepcopy=False))
    return [note["mlflow_run"] for note in notes if "mlflow_run" in note]


def run_id_of(study: optuna.Study, number: int) -> str | None:
    """Return the MLflow run of a trial, None when it never had one."""
    run_id = study.get_trials(deepcopy=False)[number].user_attrs.get("mlflow_run")
    return None if run_id is None else str(run_id)


def begun(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have been begun and have not ended, in order."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def epochs_begun(trials: Iterable[FrozenTrial], spec: StudySpec, *, but: int) -> int:
    """Return how many epochs were reported of those that have not ended, except one of them."""
    n_epochs = 0
    for trial in trials:
        is_begun = trial.state is TrialState.RUNNING and trial.intermediate_values
        if is_begun and trial.number != but:
            horizon = int({**spec.fixed, **trial.params}["max_epochs"])
            n_epochs += last_report(trial, horizon)[0]
    return n_epochs


def last_report(trial: FrozenTrial, horizon: int) -> tuple[int, float]:
    """Return the epochs of a trial's last report, at least, and the mean then; 0 before any."""
    step = max(trial.intermediate_values, default=0)
    by_epoch = trial.user_attrs.get(HORIZON_FREE, True)
    n_epochs = step if by_epoch else math.ceil(step * horizon / N_SHARES)
    return n_epochs, trial.intermediate_values.get(step, math.nan)
