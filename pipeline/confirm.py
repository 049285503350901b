"""Seed or fold? The best trials, trained again before one of them is named the winner.

A search compares trials on one split, each fold with one set of initial weights, so the best of
them is partly the luckiest. Here the best few meet again on seeds crossed with new splits of the
same rows, all of them on the same ones: the better mean wins, and the scatter of the winner's
scores is told apart into that of seeds and that of folds (Bouthillier et al. 2021).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import training
from pipeline.confirmation import Confirmation, ConfirmedTrial, seeds_and_folds
from pipeline.errors import BadInput, require, unexpected_errors
from pipeline.files import write_whole
from pipeline.folds import Fold, Folds, split
from pipeline.question import Question
from pipeline.results import TrialResult, ranked
from pipeline.schedules import replayed
from pipeline.session import Session
from pipeline.space import is_whole

N_SEEDS = 3
"""The fewest whose variance has more than one degree of freedom; each costs all folds again."""

N_NEW_SPLITS = 2
"""More than one draw, so that none decides; with the seeds, six times what a trial cost before."""

NOT_CONFIRMED = (
    "the best trials could not meet again (those of the search stand, and the same command tries "
    "again)"
)

FORMAT = 2
"""Of `confirmation.json`; what another format holds is trained anew."""

FIRST = 2**20
"""Number of the first seed: beyond every fold of a study and every seed of its refit."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What is to be confirmed, on what; decided before the first trial.

    n_trials: the best of the search that are trained again
    folds: those of one seed; the folds of one split lie together
    n_splits: how often the rows were split anew; 0 when these are the study's own folds
    n_repeats: how often all folds were drawn: more often than that, if the splitter repeats itself
    """

    n_trials: int
    folds: Folds
    n_splits: int
    n_repeats: int

    @classmethod
    def of(cls, n_trials: int, question: Question) -> Plan:
        """Draw new splits, or take the study's own folds where its splitter has no others.

        It has none with a fixed `random_state` or validation set, or without shuffling.
        Raises BadInput for less than one trial.
        """
        check(n_trials)
        own, spec = question.folds, question.spec
        drawn = [
            split(question.development, spec.splitter, _seed_of_split(spec.seed, number))
            for number in range(N_NEW_SPLITS)
        ]
        if len({own.hash, *(each.hash for each in drawn)}) <= N_NEW_SPLITS:
            return cls(n_trials, own, n_splits=0, n_repeats=own.n_repeats)
        together = [fold for each in drawn for fold in each]
        folds = tuple(Fold(i, f.train, f.validation) for i, f in enumerate(together))
        try:
            training.check_scorers(spec, question.development, folds)
        except BadInput as error:
            raise BadInput(f"confirm={n_trials} on new splits: {error}") from error
        n_repeats = sum(each.n_repeats for each in drawn)
        return cls(n_trials, Folds(folds, own.n_rows), N_NEW_SPLITS, n_repeats)

    @property
    def crossed(self) -> tuple[Fold, ...]:
        """Every fold with every seed, the folds of one seed together.

        The folds of one seed start alike, or there would be no seed that they have in common.
        """
        cells = [(seed, fold) for seed in range(N_SEEDS) for fold in self.folds]
        return tuple(
            Fold(FIRST + number, fold.train, fold.validation, starts_like=FIRST + seed)
            for number, (seed, fold) in enumerate(cells)
        )

    @property
    def where(self) -> str:
        """The seeds and folds, in words."""
        return seeds_and_folds(N_SEEDS, len(self.folds), self.n_splits)


def check(n_trials: Any) -> None:
    """Raise BadInput unless so many trials can be confirmed."""
    is_count = is_whole(n_trials) and n_trials >= 1
    require(is_count, "confirm", "a whole number of trials ≥ 1", n_trials)


def confirmed(
    trials: Sequence[TrialResult], plan: Plan, session: Session
) -> tuple[TrialResult, Confirmation] | None:
    """Return the winner among the best trials, and how they compare.

    None, with a line that says why, when the budget's time is over before, or every trial diverges.
    What was trained by then is kept and is not trained again. Raises Interrupted after a signal.
    """
    best = _best(trials, plan.n_trials, session.question)
    say, kept = session.display.say, _Kept(session.question, plan)
    missing = [trial for trial in best if kept.of(trial) is None]
    if missing:
        say(f"the best {len(best)} trial(s) meet again on {plan.where} …")
        with unexpected_errors(NOT_CONFIRMED):
            engine = training.engine_for(
                session.engine.setup, session.spec, session.question.development, plan.crossed
            )
    for trial in missing:
        with unexpected_errors(NOT_CONFIRMED):
            again = _trained_again(trial, plan, engine, session)
        if again is None:
            say("not confirmed: the budget's time is over; the same command goes on")
            return None
        kept.add(trial, again)
        count_confirmed(session)
        say(again.in_words(session.spec.objective))
    meeting = _meeting(best, plan, kept, session.question)
    if not meeting.ranked:
        say("not confirmed: every trial diverged; the search's best stands")
        return None
    return next(t for t in best if t.number == meeting.winner.number), meeting


def count_confirmed(session: Session) -> None:
    """Count as spent what earlier sessions trained again."""
    records = _read(session.question).get("trials", [])
    session.spending.count_besides(
        "confirmation",
        sum(record["n_epochs"] * np.size(record["scores"]) for record in records),
        sum(record["n_updates"] for record in records),
    )


def known(trials: Sequence[TrialResult], n_trials: int, question: Question) -> Confirmation | None:
    """Return how so many of the best trials compared in an earlier session, None if not all met.

    trials: all of the search
    """
    plan, best = Plan.of(n_trials, question), _best(trials, n_trials, question)
    kept = _Kept(question, plan)
    if any(kept.of(trial) is None for trial in best):
        return None
    return _meeting(best, plan, kept, question)


def _best(trials: Sequence[TrialResult], n_trials: int, question: Question) -> list[TrialResult]:
    """Return the best trials, one that is the beginning of another not counted."""
    trained = [trial for trial in trials if trial.prefix_of is None]
    return ranked(trained, question.spec.objective)[:n_trials]


def _meeting(
    best: Sequence[TrialResult], plan: Plan, kept: _Kept, question: Question
) -> Confirmation:
    return Confirmation(
        question.spec.objective,
        tuple(again for trial in best if (again := kept.of(trial)) is not None),
        n_new_splits=plan.n_splits,
        n_repeats=plan.n_repeats,
        validation_to_training=plan.folds.validation_to_training,
    )


def _trained_again(
    trial: TrialResult, plan: Plan, engine: training.Engine, session: Session
) -> ConfirmedTrial | None:
    """Train a trial for its best number of epochs on every fold with every seed.

    None when the budget's time is over.
    """
    spec, n_epochs = session.spec, trial.best_n_epochs
    assert n_epochs is not None  # only trials with a value are ranked
    assert trial.curves is not None
    lockstep = training.LockstepTraining(
        engine.program(trial.params), trial.params, plan.crossed,
        spec=spec, schedule=replayed(spec.schedule_of(trial.params), trial.curves.losses),
    )  # fmt: skip
    metric = lockstep.program.metric_names.index(spec.objective.metric)
    scores = np.zeros(len(plan.crossed))
    # The budget looks one epoch of the study's folds ahead; one of these is more.
    n_ahead = len(plan.crossed) - len(session.question.folds)
    per_epoch = trial.n_updates / trial.n_fold_epochs
    while lockstep.n_epochs < n_epochs and np.isfinite(scores).all():
        session.stop.raise_if_asked()
        n_fold_epochs = lockstep.n_epochs * len(plan.crossed) + n_ahead
        if session.spending.over(n_fold_epochs, round(n_fold_epochs * per_epoch), answering=True):
            return None
        scores = lockstep.advance()[:, metric]
    lockstep.end()
    crossed = scores.reshape(N_SEEDS, -1)
    weights = spec.objective.weights(plan.folds.n_validation_rows)
    return ConfirmedTrial(trial.number, lockstep.n_epochs, lockstep.n_updates, crossed, weights)


class _Kept:
    """What was trained for these seeds and folds so far, in a file of the study."""

    def __init__(self, question: Question, plan: Plan) -> None:
        self._path = _path(question)
        self._weights = question.spec.objective.weights(plan.folds.n_validation_rows)
        self._on = {"n_seeds": N_SEEDS, "folds": plan.folds.hash}
        plain = _read(question)
        self._records: list[dict[str, Any]] = plain["trials"] if plain.get("on") == self._on else []

    def of(self, trial: TrialResult) -> ConfirmedTrial | None:
        """Return the trial as it was trained again, None if it was not."""
        for record in self._records:
            if record["of"] == _key(trial):
                scores = np.array(record["scores"], np.float64)
                n_epochs, n_updates = record["n_epochs"], record["n_updates"]
                return ConfirmedTrial(trial.number, n_epochs, n_updates, scores, self._weights)
        return None

    def add(self, trial: TrialResult, again: ConfirmedTrial) -> None:
        """Keep a trial that was trained again."""
        record = {
            "of": _key(trial), "n_epochs": again.n_epochs, "n_updates": again.n_updates,
            "scores": again.scores.tolist(),
        }  # fmt: skip
        self._records.append(record)
        plain = {"format": FORMAT, "on": self._on, "trials": self._records}
        write_whole(self._path, json.dumps(plain).encode())


def _path(question: Question) -> Path:
    return question.folder / "confirmation.json"


def _read(question: Question) -> dict[str, Any]:
    """Return what is kept of trials that met again; nothing where none did, or otherwise."""
    path = _path(question)
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return plain if plain.get("format") == FORMAT else {}


def _key(trial: TrialResult) -> list[Any]:
    return [trial.number, dict(trial.params), trial.best_n_epochs]


def _seed_of_split(seed: int, number: int) -> int:
    """Return a seed for a new split: a function of the study's seed."""
    return int(np.random.SeedSequence([seed, FIRST + number]).generate_state(1)[0])
