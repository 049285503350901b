"""Ask, report, tell: trials as the search sees them.

for proposal in iter(lambda: next_proposal(study, spec), ...):
    proposal.report(n_epochs, mean)  ->  prune?
    proposal.tell(result)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from pipeline.errors import BadInput, StudyFailed, TakenOver
from pipeline.optimization.alike import HORIZON_FREE
from pipeline.optimization.database import errors_of_trial, readable_errors
from pipeline.optimization.ranked import study_of_ranked
from pipeline.optimization.reports import reports_of
from pipeline.optimization.sampling import exhausted, make_sampler
from pipeline.optimization.stored import N_SHARES, STATES
from pipeline.results import Outcome, TrialResult
from pipeline.spec import StudySpec

WARM_UP_SHARE = 1 / 9
"""Share of its horizon that a trial trains before the default pruner may stop it.

Learning curves cross most in their first epochs: a small learning rate starts slowly and may end
best.
"""

RUNG = "rung"
"""Note on a trial: up to which rung of the study's strategy it is trained. In its result: how many
rungs it had reached then. Where the two differ it is on its way, or was left there."""


class Proposal:
    """One trial to evaluate.

    number: counts from 0 over all sessions of the study
    params: every parameter, fixed ones included
    rung: up to which rung of the study's strategy it is to be trained now; None is to its end
    """

    def __init__(self, trial: Trial, spec: StudySpec) -> None:
        self._trial = trial
        self._spec = spec
        self._pauses = spec.pausing is not None
        stored = trial._cached_frozen_trial  # not read again: others may wait to ask
        self._last_step = max(stored.intermediate_values, default=0)
        self.number: int = trial.number
        self.params = spec.params_of(trial.params)
        self.rung: int | None = None
        self._reports = reports_of(trial, stored)
        self._noted: bool | None = stored.user_attrs.get(HORIZON_FREE)

    @property
    def note(self) -> dict[str, Any]:
        """What the search wrote on the trial in an earlier session."""
        return self._trial.user_attrs

    def write_note(self, key: str, value: Any) -> None:
        """Keep a value with the trial."""
        with errors_of_trial():
            self._trial.set_user_attr(key, value)

    def begin_attempt(self, n_epochs: int, n_fold_epochs: int) -> int:
        """Note that a process begins to train the trial; return how many died at it in vain.

        n_epochs, n_fold_epochs: what an earlier process left to go on from
        A process that got further than the one before did not die in vain.
        """
        now = {"n_epochs": max(n_epochs, self._last_step), "n_fold_epochs": n_fold_epochs}
        before, deaths = self.note.get("attempt"), 0
        if before and all(n <= before.get(key, 0) for key, n in now.items()):
            deaths = int(before["deaths"]) + 1
        self.write_note("attempt", {**now, "deaths": deaths})
        return deaths

    def end_attempt(self) -> None:
        """Note that the process left the trial on purpose, to be continued."""
        self.write_note("attempt", None)

    def report(self, n_epochs: int, mean: float, *, horizon_free: bool) -> bool:
        """Tell Optuna the mean after `n_epochs` epochs; return whether to prune.

        A continued trial passes through epochs that were reported before it was interrupted:
        they are skipped, since the pruner judges a trial by its last report. For the same reason
        the pruner is not asked between two shares of a horizon.
        """
        step = comparable_step(n_epochs, self._horizon, horizon_free=horizon_free)
        if step is None:
            return False
        if self._noted != horizon_free:
            self.write_note(HORIZON_FREE, horizon_free)
            self._noted = horizon_free
        if step > self._last_step:
            self._report(mean, step)
        if step < self._last_step:
            return False
        if self._pauses:
            return False
        if n_epochs >= self._horizon or n_epochs < self._warm_up:
            return False
        return self._reports.should_prune(horizon_free=horizon_free)

    def report_again(self, means: Iterable[float], *, horizon_free: bool) -> None:
        """Report the epochs of a continued trial that a power cut took from the storage.

        means: [n_epochs], the mean after each epoch so far; what was reported stays
        """
        for n_epochs, mean in enumerate(means, start=1):
            step = comparable_step(n_epochs, self._horizon, horizon_free=horizon_free)
            if step is not None and step > self._last_step:
                self._report(mean, step)

    def trials(self) -> list[FrozenTrial]:
        """Return the study's trials, in a database as they were up to two seconds ago."""
        with readable_errors():
            return self._reports.trials()

    def aim_at(self, rung: int) -> None:
        """Note up to which rung it is trained now: whoever finds it left goes on to there."""
        self.rung = rung
        if self.note.get(RUNG) != rung:
            self.write_note(RUNG, rung)

    def tell(self, result: TrialResult) -> None:
        """Tell Optuna how the trial ended, and keep its result with it.

        One that is interrupted keeps what it had come to on its rung, if it has been on one.
        """
        self._reports.flush()
        reached = int(self.note.get("result", {}).get(RUNG, 0))
        if result.outcome is Outcome.INTERRUPTED and reached:
            return
        self._keep(result, reached)
        if result.outcome not in STATES:
            return
        study = self._trial.study
        try:
            with errors_of_trial():
                study.tell(self._trial, values=result.value, state=STATES[result.outcome])
        except (RuntimeError, TakenOver):
            # A grid that is exhausted calls Study.stop(), which Optuna refuses outside its own
            # loop. The trial is stored by then; see `exhausted`. So it is where a database took
            # the end, and its answer was lost.
            if not study.trials[self.number].state.is_finished():
                raise

    def pause(self, result: TrialResult) -> None:
        """Keep what a trial has come to on its rung: it may go on."""
        assert self.rung is not None
        self._reports.flush()
        self._keep(result, self.rung)

    def _keep(self, result: TrialResult, reached: int) -> None:
        self.write_note("result", {**result.as_plain(), RUNG: reached})

    def _report(self, mean: float, step: int) -> None:
        self._reports.add(step, mean)
        self._last_step = step

    @property
    def _horizon(self) -> int:
        return int(self.params["max_epochs"])

    @property
    def _warm_up(self) -> float:
        return self._horizon * WARM_UP_SHARE if self._spec.pruner is None else 0


def comparable_step(n_epochs: int, horizon: int, *, horizon_free: bool) -> int | None:
    """Return the step under which the mean after `n_epochs` epochs is compared, if it is.

    Horizon-free: the number of epochs. Horizon-dependent: the twentieths of the horizon that are
    over, if this epoch is the first to have seen so many; so epoch 9 of a 10-epoch cosine meets
    epoch 90 of a 100-epoch one. A trial of few epochs leaves shares out rather than filling them
    with a value that it reached later.
    """
    if horizon_free:
        return n_epochs
    share, share_before = (N_SHARES * n // horizon for n in (n_epochs, n_epochs - 1))
    return share if share > share_before else None


def next_proposal(
    study: optuna.Study, spec: StudySpec, *, take: Callable[[int], bool] = lambda number: True
) -> Proposal:
    """Return the first trial that was left running, an enqueued one, or a new one.

    take: claims the trial of a number; False when another worker is at it
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        if take(trial.number):
            return continued_proposal(study, spec, trial.number)
    return new_proposal(study, spec, take=take)


def continued_proposal(study: optuna.Study, spec: StudySpec, number: int) -> Proposal:
    """Return a trial that was left running."""
    with _sampling(study, spec, number):
        running = study.get_trials(deepcopy=False)[number]
        return Proposal(_continued(study, running, spec), spec)


def new_proposal(
    study: optuna.Study,
    spec: StudySpec,
    *,
    take: Callable[[int], bool] = lambda number: True,
    places: Mapping[int, int] | None = None,
) -> Proposal:
    """Return an enqueued trial, or a new one.

    take: claims the trial of a number
    places: of trials by number, 0 for the best, if the sampler is to learn from them and not from
        values, which only ended trials have
    """
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    number = waiting[0].number if waiting else len(study.get_trials(deepcopy=False))
    with _sampling(study, spec, number):
        seen = study if places is None else study_of_ranked(study, places)
        asked = _suggested(seen.ask(), spec)
        take(asked.number)
        return Proposal(asked if seen is study else Trial(study, asked._trial_id), spec)


@contextmanager
def _sampling(study: optuna.Study, spec: StudySpec, number: int) -> Iterator[None]:
    """Propose the trial of this number in the block; errors of the sampler are readable.

    The sampler is made anew for each trial, from (seed, number): where a session begins and ends
    does not change what is proposed.
    """
    study.sampler = make_sampler(spec, number)
    study.pruner = spec.pruner or optuna.pruners.MedianPruner()
    try:
        with readable_errors():
            yield
    except (ImportError, ValueError) as error:
        # Samplers may fail late, when they first look at other trials: then there is something.
        kind = StudyFailed if number else BadInput
        raise kind(
            f"sampler must propose {', '.join(spec.sampled)}, got {study.sampler!r}, which raised "
            f"{type(error).__name__}: {error}"
        ) from error


def n_to_begin(study: optuna.Study, spec: StudySpec) -> int:
    """Return how many trials of the budget are still to be begun; 0 if none can be proposed."""
    n_waiting = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))
    if not n_waiting and exhausted(study, spec):
        return 0
    n_begun = len(study.get_trials(deepcopy=False)) - n_waiting
    return max(0, spec.budget.n_trials - n_begun)


def _continued(study: optuna.Study, running: FrozenTrial, spec: StudySpec) -> Trial:
    """Return a trial that was left running, with the parameters that it did not live to store."""
    trial = Trial(study, running._trial_id)
    if not spec.sampled_with(running.params).keys() <= running.params.keys():
        # Those of an enqueued trial are with it from the start.
        trial._fixed_params = trial._fixed_params or _proposed_again(study, running.number, spec)
        _suggested(trial, spec)
    return trial


def _suggested(trial: Trial, spec: StudySpec) -> Trial:
    """Let the sampler propose what a trial lacks: first what all have, then what hangs on that."""
    for name, distribution in spec.sampled.items():
        trial._suggest(name, distribution)
    for name, distribution in spec.sampled_with(trial.params).items():
        trial._suggest(name, distribution)
    return trial


def _proposed_again(study: optuna.Study, number: int, spec: StudySpec) -> dict[str, Any]:
    """Return what was proposed for a trial, from a copy of the study as it was then.

    Samplers look at parameters that are already stored, and their random numbers stand elsewhere
    after those: the rest cannot be asked for alone.
    """
    earlier = optuna.create_study(
        study_name=study.study_name,
        direction=study.direction,
        sampler=make_sampler(spec, number),
        pruner=study.pruner,
    )
    for key, value in study._storage.get_study_system_attrs(study._study_id).items():
        earlier._storage.set_study_system_attr(earlier._study_id, key, value)
    earlier.add_trials(study.get_trials(deepcopy=False)[:number])
    return _suggested(earlier.ask(), spec).params
