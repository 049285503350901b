"""One contract for every pruner and sampler of Optuna's standard set."""

import importlib.util
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna import pruners, samplers
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.optimization import finished, next_proposal
from pipeline.results import Outcome, TrialResult

# Optuna calls QMCSampler and PatientPruner experimental.
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

HORIZON = 9
GRID: dict[str, list[Any]] = {
    "learning_rate": [0.001, 0.01, 0.1],
    "momentum": [0.0, 0.9],
    "max_epochs": [HORIZON],
    "batch_size": [16, 32],
}

PRUNERS: dict[str, Callable[[], Any]] = {
    "default": lambda: None,
    "nop": lambda: pruners.NopPruner(),
    "median": lambda: pruners.MedianPruner(n_startup_trials=2),
    "median after a warm-up": lambda: pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=3),
    "percentile": lambda: pruners.PercentilePruner(25.0, n_startup_trials=2),
    "successive halving": lambda: pruners.SuccessiveHalvingPruner(),
    "hyperband": lambda: pruners.HyperbandPruner(max_resource=HORIZON),
    "threshold": lambda: pruners.ThresholdPruner(upper=0.9),
    "patient": lambda: pruners.PatientPruner(pruners.MedianPruner(n_startup_trials=2), patience=2),
}
SAMPLERS: dict[str, Callable[[int], Any] | None] = {
    "default": None,
    "random": lambda seed: samplers.RandomSampler(seed),
    "tpe": lambda seed: samplers.TPESampler(n_startup_trials=3, seed=seed),
    "scrambled qmc": lambda seed: samplers.QMCSampler(
        seed=seed, scramble=True, warn_independent_sampling=False
    ),
    "qmc": lambda seed: samplers.QMCSampler(seed=seed, warn_independent_sampling=False),
    "gp": lambda seed: samplers.GPSampler(seed=seed, n_startup_trials=3),
    "cma-es": lambda seed: samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
    "grid": lambda seed: samplers.GridSampler(GRID, seed=seed),
}
NEEDS = {"cma-es": "cmaes", "gp": "torch"}
N_TRIALS = 12


def curve(params, *, good):
    start, slope = (0.5, -0.01) if good else (1.0, 0.01)
    return [start + params["learning_rate"] + slope * n for n in range(1, HORIZON + 1)]


@pytest.fixture
def spec_of(make_spec):
    def make(**fields):
        return make_spec(
            space={
                "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
                "momentum": FloatDistribution(0.0, 1.0),
                "max_epochs": IntDistribution(HORIZON, HORIZON),
                "batch_size": CategoricalDistribution([16, 32]),
            },
            **fields,
        )

    return make


def check(spec, open_it, run_trial, *, horizon_free):
    """Run a search over two sessions; every trial must end, inside the space, and be kept."""
    told: list[TrialResult] = []
    for _ in range(2):
        study = open_it()
        for _ in range(N_TRIALS // 2):
            proposal = next_proposal(study, spec)
            assert proposal.number == len(told)
            for name, distribution in spec.sampled.items():
                assert distribution._contains(distribution.to_internal_repr(proposal.params[name]))
            means = curve(proposal.params, good=proposal.number % 3 != 2)
            told.append(run_trial(proposal, spec, means, horizon_free=horizon_free))
    kept = finished(open_it(), spec)
    assert [(t.number, t.params, t.outcome, t.value) for t in kept] == [
        (t.number, t.params, t.outcome, t.value) for t in told
    ]
    assert {t.outcome for t in told} <= {Outcome.COMPLETED, Outcome.PRUNED}
    assert any(t.outcome is Outcome.COMPLETED for t in told)
    return told


@pytest.mark.parametrize("horizon_free", [True, False], ids=["epochs", "shares"])
@pytest.mark.parametrize("name", PRUNERS)
def test_a_pruner(name, horizon_free, spec_of, open_journal, run_trial):
    spec = spec_of(pruner=PRUNERS[name](), sampler=lambda seed: optuna.samplers.RandomSampler(seed))
    told = check(spec, lambda: open_journal(spec), run_trial, horizon_free=horizon_free)
    pruned = [t for t in told if t.outcome is Outcome.PRUNED]
    assert bool(pruned) == (name != "nop")
    assert all(t.curves.n_epochs < HORIZON for t in pruned)


@pytest.mark.parametrize("pruner", ["default", "hyperband"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler(name, pruner, spec_of, open_journal, run_trial):
    if importlib.util.find_spec(NEEDS.get(name, "optuna")) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    spec = spec_of(pruner=PRUNERS[pruner](), sampler=SAMPLERS[name])
    first = check(spec, lambda: open_journal(spec, "one"), run_trial, horizon_free=True)
    again = check(spec, lambda: open_journal(spec, "two"), run_trial, horizon_free=True)
    assert [t.params for t in first] == [t.params for t in again]
    points = {tuple(t.params.values()) for t in first}
    assert len(points) == N_TRIALS
    if name == "grid":
        assert points == set(itertools.product(*(GRID[key] for key in first[0].params)))


def test_reports_of_a_contract_run_raise_no_warning(spec_of, open_journal, run_trial):
    spec = spec_of(pruner=pruners.HyperbandPruner(max_resource=HORIZON))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(spec, lambda: open_journal(spec), run_trial, horizon_free=False)
