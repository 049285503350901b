"""What the nodes of a search tell each other, so that all of them train the same.

The process that holds the study writes it down with the study; whoever joins compares.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from typing import Any

from pipeline import optimization, tracking
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.question import Question
from pipeline.spec import UNSIGNED

RUN = "mlflow_run"
RECORD = "holder"
"""Under which the study keeps what its holder says of itself."""

MAX_CHARS = 60
"""Of a field's text, in a sentence."""

POLL_SECS = 0.5
INTRODUCTION_SECS = 5.0
"""Within which a process that has got the lock says who it is."""


def introduce(study: Any, question: Question) -> None:
    """Write down with Optuna's study who holds it, with what."""
    about = {
        "host": platform.node(),
        "who": optimization.who(),
        "versions": tracking.versions(),
        "threads": question.recorded_threads,
        "record": question.record,
    }
    if study.user_attrs.get(RECORD) != about:
        study.set_user_attr(RECORD, about)


def tell_run(study: Any, run: tracking.StudyRun) -> None:
    """Write down with Optuna's study where MLflow keeps its run."""
    where = {"host": platform.node(), "run_id": run.run_id, "address": run.store.address}
    if study.user_attrs.get(RUN) != where:
        study.set_user_attr(RUN, where)


def run_elsewhere(study: Any, store: tracking.Store) -> BadInput | None:
    """Return the error for a node whose tracking store has not got the study's run."""
    where = study.user_attrs.get(RUN)
    if where is None or tracking.has_run(store, where["run_id"]):
        return None
    return BadInput(
        f"all nodes must log to one tracking server, got {store.address} on {platform.node()}, "
        f"which has no run of this study; {where['host']} logs to {where['address']}"
    )


def check_versions(study: Any) -> None:
    """Raise BadInput, by name, when this node has other versions than the study's holder.

    What is written may be of the holder before, so it is looked at again for a while.
    """
    deadline = time.monotonic() + INTRODUCTION_SECS
    while wrong := _other_versions(study.user_attrs.get(RECORD)):
        if time.monotonic() >= deadline:
            raise BadInput(f"all nodes must have the same versions, got {wrong}")
        time.sleep(POLL_SECS)


def _other_versions(about: Mapping[str, Any] | None) -> str:
    """Return in what this node differs from a holder, in words; "" where it does not."""
    if about is None:
        return ""
    mine = tracking.versions()
    wrong = [
        f"{name} {mine.get(name, 'missing')} here and {theirs} there"
        for name, theirs in about["versions"].items()
        if mine.get(name) != theirs
    ]
    who = f"on {platform.node()}, which joins {about['host']}"
    return f"{who}: {', '.join(wrong)}" if wrong else ""


def threads_of(storage: str, name: str, *, patience_secs: float) -> list[int]:
    """Return the threads that a study was begun with on any node; none where it is new."""
    try:
        study = optimization.read_study(storage, name, patience_secs=patience_secs)
    except StoreUnavailable:  # it is not there yet
        return []
    threads = study.user_attrs.get(RECORD, {}).get("threads", ())
    optimization.disconnect(study._storage)
    return list(threads)


def another_study(question: Question, storage: str, who: str) -> BadInput:
    """Return the error for a node whose study is not the one that another node holds.

    who: holds it, in words
    """
    theirs: list[Any] = []
    deadline = time.monotonic() + INTRODUCTION_SECS
    while not theirs and time.monotonic() < deadline:
        time.sleep(POLL_SECS)
        notes = optimization.notes_of(storage, RECORD, beginning=f"{question.spec.name}-")
        theirs = [note for note in notes if who.startswith(f"{note['who']} ")]
    what = differences(question.record, theirs[-1]["record"]) if theirs else []
    return BadInput(
        f"the study must be the same on all nodes, got another one on {platform.node()} than on "
        f"{who}: {'; '.join(what) or 'its file or its data'}"
    )


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return in what two studies of one name differ, in words; see `Question.record`."""
    found = []
    if mine["source"] != theirs["source"]:
        found.append("the code of the study file, or of what it imports")
    if mine["data_fingerprint"] != theirs["data_fingerprint"]:
        rows = [each["rows"]["development"] + each["rows"]["test"] for each in (mine, theirs)]
        found.append(f"the data, {rows[0]} rows here and {rows[1]} there")
    for name in sorted({*mine["fields"], *theirs["fields"]}):
        here, there = (str(each["fields"].get(name)) for each in (mine, theirs))
        if here != there and name not in UNSIGNED:
            found.append(f"{name}, {_short(here)} here and {_short(there)} there")
    return found


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
