"""A search that begins where the last one of its name ended, and says whether the answer moved.

New data make another signature, and so another study. It tries the earlier study's best parameters
first, its answer's before all others. Whether that answer still holds is then read off the new
data, on the same folds as everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pipeline import optimization
from pipeline.addresses import storage_of
from pipeline.answers import answers_in
from pipeline.errors import StoreUnavailable
from pipeline.evidence import equivalent_epochs
from pipeline.question import Question
from pipeline.results import Evidence, Outcome, TrialResult, WarmStart
from pipeline.space import contains

RECORD = "warm_start"
"""Under which the new study keeps what it began with: it is sought once, and the earlier study may
be gone by the time this one has an answer."""


def begin(
    study: Any,
    question: Question,
    n_trials: int,
    *,
    storage: str | None,
    before: Sequence[Mapping[str, Any]] = (),
    say: Callable[[str], None],
) -> None:
    """Let a new study try the best trials of the latest earlier one first.

    study: Optuna's. One that has trials goes on as it began, warm or cold
    n_trials: how many, of those that lie within the space; 0 is a cold start
    storage: as for `search`
    before: parameters to try even before these, in every session the same
    """
    if n_trials and RECORD not in study.user_attrs:
        if study.trials:
            say(f"the study goes on with its {len(study.trials)} trial(s): no warm start")
        elif record := _earlier(question, n_trials, storage=storage, say=say):
            study.set_user_attr(RECORD, record)
            say(f"warm start: {len(record['params'])} trial(s) of {record['from']} first")
        else:
            say(f"no earlier study {question.spec.name!r} with trials to begin from: a cold start")
    # Again in every session: the first may have been killed between two of them.
    warm = study.user_attrs.get(RECORD, {"params": []})["params"]
    optimization.enqueue(study, [*before, *warm])


def compared(
    study: Any, best: TrialResult, trials: Sequence[TrialResult], evidence: Evidence
) -> WarmStart | None:
    """Return whether the earlier study's answer still holds; None for a cold start.

    study: Optuna's; best: as it was trained on; trials: all of the search
    """
    record = study.user_attrs.get(RECORD)
    if record is None:
        return None
    previous = record["previous"]
    if record["answer_first"]:
        again = next(t for t in trials if record["params"][0].items() <= dict(t.params).items())
        again = best if best.number == again.number else again
        moved, reason = _moved(previous["n_epochs"], again, best, evidence)
    else:
        moved, reason = True, "its parameters lie outside the space of today"
    return WarmStart(
        from_study=record["from"],
        n_enqueued=len(record["params"]),
        learning_rate=previous["learning_rate"],
        n_epochs=previous["n_epochs"],
        score=previous["score"],
        moved=moved,
        reason=reason,
    )


def _moved(
    n_epochs: int, again: TrialResult, best: TrialResult, evidence: Evidence
) -> tuple[bool | None, str]:
    """Return whether the answer moved, None where that cannot be said, and why.

    again: the trial of the earlier answer's parameters on the new data
    """
    if again.outcome is Outcome.FAILED:
        return None, f"trained again, it failed: {again.reason}"
    if again.curves is None or again.value is None:
        return True, "trained again, it was pruned as worse than the others"
    if evidence.equivalent_trials is None:
        return None, "one fold cannot say"
    if again.number not in evidence.equivalent_trials:
        return True, f"trained again, it has {again.value:.4g}: worse than trial {best.number}"
    # It may have been chosen past its max_epochs, where only the best trial is trained.
    n_again = min(n_epochs, again.curves.n_epochs) if again.any_epoch else n_epochs
    within = equivalent_epochs(again.curves) if again.any_epoch else (again.curves.n_epochs,)
    if n_again not in within:
        return True, f"trained again, it is best after {again.best_n_epochs} epochs"
    return False, "trained again, it cannot be told from the best"


def _earlier(
    question: Question, n_trials: int, *, storage: str | None, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return what to begin with, of the latest study that has something for this space."""
    for name, answer in _answers(question):
        journal = storage_of(storage) or question.folder.with_name(name) / "journal.log"
        try:
            ranked = optimization.best_params(journal, name)
        except StoreUnavailable as error:
            say(f"no warm start from {name}: {error}")
            continue
        # The answer itself first: it is what the new one is compared with.
        ranked.sort(key=lambda trial: trial[0] != answer["trial"])
        first: dict[int, dict[str, Any]] = {}
        for number, sampled in ranked:
            if len(first) == n_trials:
                break
            params = {**answer["params"], **sampled}
            if reason := why_outside(params, question):
                say(f"left out trial {number} of {name}: {reason}")
            else:
                wanted = question.spec.sampled_with(params)
                first[number] = {key: params[key] for key in wanted}
        if first:
            return {
                "from": name,
                "previous": {key: answer[key] for key in ("learning_rate", "n_epochs", "score")},
                "params": list(first.values()),
                "answer_first": answer["trial"] in first,
            }
    return None


def _answers(question: Question) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield folder and decision of the other studies of this name and objective, latest first."""
    wanted = (question.spec.name, question.spec.objective)
    for answer in answers_in(question.folder.parent):
        is_other = answer.folder != question.folder
        if is_other and (answer.values["study"], answer.objective) == wanted:
            yield answer.name, dict(answer.values)


def why_outside(params: Mapping[str, Any], question: Question) -> str:
    """Return why parameters are not in the study's space, in words; "" when they are."""
    for name, dimension in {**question.spec.fixed, **question.spec.sampled_with(params)}.items():
        if name not in params:
            return f"it has no {name}"
        if not contains(dimension, params[name]):
            where = "not" if name in question.spec.fixed else "not in"
            return f"{name}={params[name]!r} is {where} {dimension}"
    return ""
