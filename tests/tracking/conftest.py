from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.results import Outcome, TrialResult
from pipeline.tracking.runs import StudyRun
from pipeline.tracking.store import Store, open_store
from pipeline.tracking.writer import MetricWriter


@pytest.fixture
def store(home: Path) -> Store:
    return open_store(None, home)


@pytest.fixture
def writer(store: Store) -> Iterator[MetricWriter]:
    with MetricWriter(store.client, interval_secs=0.01) as writer:
        yield writer


@pytest.fixture
def open_study(store: Store, writer: MetricWriter):
    """Open the run of one study, as each session of it does."""

    def open_(**changes) -> StudyRun:
        given = {
            "experiment": "digits",
            "signature": "0a1b2c3d4e5f",
            "tags": {"git.commit": "abc"},
            "params": {"seed": "0", "budget": "Budget(n_trials=2)"},
        }
        return StudyRun.open(store, writer, **{**given, **changes})

    return open_


@pytest.fixture
def objective() -> Objective:
    return Objective()


@pytest.fixture
def trial_result(objective: Objective):
    """Build a result with two folds and three epochs, the mean best after two."""

    def build(outcome: Outcome = Outcome.COMPLETED, **changes) -> TrialResult:
        values = np.array([[3.0, 1.0, 2.0], [5.0, 2.0, 4.0]])
        given = {
            "number": 7,
            "params": {"learning_rate": 0.1, "max_epochs": 3},
            "outcome": outcome,
            "curves": FoldCurves(values, objective),
            "seconds": 1.5,
            "n_updates": 60,
        }
        return TrialResult(**{**given, **changes})

    return build
