"""Answers that were written down, and how one of them is named: by folder, study or run."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import tracking
from pipeline.addresses import tracking_uri_of
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, NoResult, unknown_name
from pipeline.objective import Objective
from pipeline.retention import RECORD
from pipeline.study_file import find_study, home_of, load_study

WINNER = "winner.json"


@dataclass(frozen=True, eq=False)
class Answer:
    """A study's answer as it lies in its folder; code and data may be others by now.

    values: the decision
    """

    folder: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Answer:
        """Return the answer in a study's folder."""
        return cls(folder, json.loads((folder / RECORD).read_text(encoding="utf-8")))

    @property
    def name(self) -> str:
        """The study's name and signature."""
        return f"{self.values['study']}-{self.values['signature']}"

    @property
    def decided(self) -> datetime:
        """When it was written."""
        return datetime.fromtimestamp((self.folder / RECORD).stat().st_mtime)

    @functools.cached_property
    def objective(self) -> Objective:
        """What was monitored."""
        return Objective(**self.values["objective"])

    @functools.cached_property
    def curves(self) -> FoldCurves | None:
        """The winner's fold curves; None where they are gone, or are those of another answer."""
        path = self.folder / WINNER
        if not path.exists():
            return None
        winner = json.loads(path.read_text(encoding="utf-8"))
        if winner.get("of", [None])[0] != self.values["trial"]:
            return None
        trial = winner["trial"]
        return FoldCurves(
            np.array(trial["curves"]),
            self.objective,
            tuple(trial["folds"]),
            trial["n_repeats"],
            trial.get("weights"),
        )


def answers_in(studies: Path) -> Iterator[Answer]:
    """Yield the answers under a project's `mlruns/studies`, the latest first."""
    paths = studies.glob(f"*/{RECORD}")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        yield Answer.read(path.parent)


def found(text: str) -> Answer:
    """Return the answer that is meant.

    text: a study's folder; or its name with its signature; or its run's id in MLflow, also one of
        another project in the store of MLFLOW_TRACKING_URI; or a study, a file or a name, for its
        latest answer, and with ~1, ~2, … for the ones before that
    Raises NoResult for a study that has no answer yet, BadInput when nothing is of that name.
    """
    path = Path(text)
    folder = path.parent if path.name == RECORD else path
    if (folder / RECORD).is_file():
        return Answer.read(folder.resolve())
    if (folder / "journal.log").is_file():
        raise NoResult(f"{text} must have been searched to its end, got no {RECORD} in it yet")
    here = list(answers_in(Path.cwd() / "mlruns" / "studies"))
    for answer in here:
        if text in (answer.name, answer.values["run_id"]):
            return answer
    if re.fullmatch("[0-9a-f]{32}", text) and (uri := tracking_uri_of(None)):
        return _in_store(text, uri)
    study, separator, steps = text.partition("~")
    if separator and not steps.isdecimal():
        raise BadInput(f"an earlier answer must be STUDY~1, STUDY~2, …, got {text!r}")
    return _of_study(study, int(steps or 0), here)


def _in_store(run_id: str, uri: str) -> Answer:
    """Return the answer of a run whose study lies elsewhere, brought here."""
    store = tracking.open_store(uri, Path.cwd())
    folder = Path.cwd() / "mlruns" / "answers" / run_id
    tracking.bring_files(store, run_id, (RECORD, WINNER), folder)
    if not (folder / RECORD).exists():
        raise NoResult(f"run {run_id} in {store.address} must have an answer, got no {RECORD}")
    return Answer.read(folder)


def _of_study(study: str, n_back: int, here: list[Answer]) -> Answer:
    """Return a study's latest answer, or one before it."""
    try:
        file = find_study(study)
    except BadInput:
        name, answers = study, here
    else:
        name = load_study(file).name
        answers = list(answers_in(home_of(file) / "mlruns" / "studies"))
    of_study = [answer for answer in answers if answer.values["study"] == name]
    if len(of_study) > n_back:
        return of_study[n_back]
    if of_study:
        raise BadInput(
            f"study {name} must have {n_back + 1} answers for {study}~{n_back}, got {len(of_study)}"
        )
    if name != study or answers is not here:
        raise NoResult(f"study {name} must have been searched before it is compared, got no answer")
    names = {name for each in here for name in (each.name, str(each.values["study"]))}
    raise unknown_name("answer", study, names)
