"""A study with its data split: everything that is decided before the first trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline import training
from pipeline.curves import FoldCurves
from pipeline.data import Dataset, load
from pipeline.folds import Folds, set_test_rows_aside, split
from pipeline.spec import StudySpec
from pipeline.study_file import source_of


@dataclass(frozen=True, eq=False)
class Question:
    """A checked study.

    development, test: the rows to search on, and those set aside, if any
    folds: of the development rows
    data_fingerprint: of all rows
    signature: what makes this the same study, taken once: its file may be edited meanwhile
    home: the project that holds the study
    """

    spec: StudySpec
    development: Dataset
    test: Dataset | None
    folds: Folds
    data_fingerprint: str
    signature: str
    home: Path

    @property
    def name(self) -> str:
        """The study's name and signature: another signature is another study."""
        return f"{self.spec.name}-{self.signature}"

    @property
    def folder(self) -> Path:
        """Where the study keeps its journal, its lock and its decision."""
        return self.home / "mlruns" / "studies" / self.name

    @property
    def rows(self) -> str:
        """The rows and how they are split, in words."""
        sizes = sorted({len(fold.train) for fold in self.folds})
        size = f"{sizes[0]}–{sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
        text = f"{self.development.n_rows} rows, {len(self.folds)} fold(s) of {size} training rows"
        return text if self.test is None else f"{text}, {self.test.n_rows} test rows set aside"


def pose(spec: StudySpec, *, say: Callable[[str], None] = lambda line: None) -> Question:
    """Load the data, set test rows aside, and check everything that a user can get wrong.

    Raises BadInput, before anything is trained or written.
    """
    devices = training.set_up(spec.threads)
    data = load(spec.load_data)
    development, test = set_test_rows_aside(data, spec.test_size, spec.seed)
    question = pose_on(spec, development, test, data_fingerprint=data.fingerprint)
    say(f"study {question.name}: {question.rows}, on {', '.join(devices)}")
    return question


def pose_on(
    spec: StudySpec, development: Dataset, test: Dataset | None, *, data_fingerprint: str
) -> Question:
    """Split the development rows, once, and check that the study can be searched on them.

    data_fingerprint: of all rows, those set aside included
    Raises BadInput, before anything is trained or written.
    """
    folds = split(development, spec.splitter, spec.seed)
    # A rule that cannot be applied says so now, on a flat curve, not after the search.
    horizon = spec.longest_horizon
    flat = FoldCurves(np.zeros((len(folds), horizon)), spec.objective, n_repeats=folds.n_repeats)
    spec.rule.choose(flat, horizon)
    training.check_model(spec, development, folds[0])
    signature = spec.signature(data_fingerprint=data_fingerprint, splits_hash=folds.hash)
    home = source_of(spec.build_model, spec.load_data).home
    return Question(spec, development, test, folds, data_fingerprint, signature, home)
