"""A study on a real journal; its trials train nothing, their curves are made by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from pipeline.curves import FoldCurves
from pipeline.optimization import Proposal, open_study
from pipeline.results import Outcome, TrialResult
from pipeline.spec import StudySpec


@pytest.fixture(autouse=True)
def _no_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a journal not wait for the disk: it must outlive the machine, a test need not."""
    monkeypatch.setattr("os.fsync", lambda file: None)


@pytest.fixture
def make_spec() -> Callable[..., StudySpec]:
    def make(max_epochs: Any = 10, **fields: Any) -> StudySpec:
        space = {
            "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
            "momentum": FloatDistribution(0.0, 1.0),
            "max_epochs": max_epochs,
        }
        return StudySpec(
            **{
                "name": "by_hand",
                "load_data": lambda: None,
                "build_model": lambda params: params,
                "space": space,
                "seed": 3,
                "strategy": None,
                **fields,
            }
        )

    return make


@pytest.fixture
def open_journal(tmp_path: Path) -> Callable[..., optuna.Study]:
    """Return a function that opens a study's journal: each time as a new session would."""

    def open_it(spec: StudySpec, name: str = "journal") -> optuna.Study:
        return open_study(tmp_path / f"{name}.log", "study", spec)

    return open_it


@pytest.fixture
def result_of() -> Callable[..., TrialResult]:
    """Return a function that makes a proposal's result from its mean curve."""

    def result(
        proposal: Proposal,
        spec: StudySpec,
        means: list[float],
        outcome: Outcome = Outcome.COMPLETED,
        reason: str = "",
    ) -> TrialResult:
        curves = FoldCurves(np.array([means, means]), spec.objective) if means else None
        return TrialResult(
            proposal.number, proposal.params, outcome, curves, 1.5, 7 * len(means), reason
        )

    return result


@pytest.fixture
def run_trial(result_of: Callable[..., TrialResult]) -> Callable[..., TrialResult]:
    """Return a function that reports a mean curve until it ends or is pruned, and tells."""

    def run(
        proposal: Proposal, spec: StudySpec, means: list[float], *, horizon_free: bool = True
    ) -> TrialResult:
        for n_epochs, mean in enumerate(means, start=1):
            if proposal.report(n_epochs, mean, horizon_free=horizon_free):
                result = result_of(proposal, spec, means[:n_epochs], Outcome.PRUNED)
                break
        else:
            result = result_of(proposal, spec, means)
        proposal.tell(result)
        return result

    return run
