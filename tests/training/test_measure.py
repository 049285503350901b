"""The choice of engine mode, and the work that it is chosen for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.folds import Fold
from pipeline.spec import Budget, StudySpec
from pipeline.training import expected_work, measure, measured_engine, typical_params
from pipeline.training.measure import SearchWork, Timing
from tests.training.models import case, dense


def spec_of(space, **of_spec):
    return StudySpec(
        load_data=lambda: None, build_model=dense, name="test",
        space={"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), **space}, **of_spec,
    )  # fmt: skip


def folds_of(*n_validation, n_rows=44):
    rows = np.arange(n_rows)
    return tuple(Fold(i, rows[n:], rows[:n]) for i, n in enumerate(n_validation))


def test_expected_fold_epochs_are_half_of_what_is_proposed():
    spec = spec_of({"max_epochs": IntDistribution(10, 30)}, budget=Budget(n_trials=7))
    assert expected_work(spec, folds_of(9, 9)).n_fold_epochs == 7 * 2 * 20 * 0.5
    spec = spec_of({"max_epochs": 12}, budget=Budget(n_trials=7))
    assert expected_work(spec, folds_of(9, 9)).n_fold_epochs == 7 * 2 * 12 * 0.5
    spec = spec_of({"max_epochs": CategoricalDistribution([4, 8])}, budget=Budget(n_trials=7))
    assert expected_work(spec, folds_of(9, 9)).n_fold_epochs == 7 * 2 * 6 * 0.5


@pytest.mark.parametrize(
    ("space", "n_programs"),
    [
        ({}, 1),
        ({"units": CategoricalDistribution([8, 16, 32])}, 3),
        ({"units": IntDistribution(8, 32, step=8), "depth": IntDistribution(1, 2)}, 8),
        ({"dropout": FloatDistribution(0, 0.5)}, 20),  # every trial its own
        ({"units": IntDistribution(1, 1000)}, 20),  # no more than trials
        ({"units": 8, "activation": "relu"}, 1),
    ],
)
def test_expected_programs_are_architectures_times_pairs_of_last_batches(space, n_programs):
    spec = spec_of(
        {"max_epochs": IntDistribution(10, 30), **space}, budget=Budget(n_trials=20), batch_size=8
    )
    assert expected_work(spec, folds_of(8, 16)).n_programs == n_programs  # (4, 0) both
    assert expected_work(spec, folds_of(8, 9)).n_programs == 2 * n_programs  # (3, 1) too


def test_the_typical_proposal_is_the_middle_of_the_space():
    spec = spec_of(
        {
            "max_epochs": IntDistribution(10, 31),
            "dropout": FloatDistribution(0.0, 0.5),
            "units": CategoricalDistribution([8, 16, 32]),
            "steps": IntDistribution(0, 8, step=4),
            "fixed": "relu",
        },
        batch_size=8,
    )
    assert typical_params(spec) == {
        "learning_rate": pytest.approx(1e-2), "max_epochs": 20, "dropout": 0.25, "units": 16,
        "steps": 4, "fixed": "relu", "batch_size": 8,
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["plain", "xla", "stream"])
def test_a_mode_that_is_set_is_obeyed(mode):
    case_ = case(dense, engine=mode)
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.engine.mode == mode
    assert measured.timing.mode == mode
    assert measured.reason == f"engine='{mode}' is set"
    assert measured.engine.n_compiled == 1  # and the first trial finds its program compiled
    case_.training(measured.engine).advance()
    assert measured.engine.n_compiled == 1


def test_a_short_search_does_not_try_xla():
    case_ = case(dense)
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.timing.mode == "plain"
    assert "not worth" in measured.reason


@pytest.mark.parametrize(("xla_secs", "mode"), [(0.79, "xla"), (0.81, "plain"), (2.0, "plain")])
def test_xla_must_gain_a_fifth_of_the_whole_search(monkeypatch, xla_secs, mode):
    def timed(spec, data, folds, params, mode, say):
        program = SimpleNamespace(xla_wish=(None, ""))
        engine = SimpleNamespace(mode=mode, program=lambda params: program)
        return engine, Timing(mode, 0.0, 1.0 if mode == "plain" else xla_secs)

    monkeypatch.setattr(measure, "_timed", timed)
    case_ = case(dense, max_epochs=100)
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert (measured.engine.mode, measured.timing.mode) == (mode, mode)
    assert "with XLA" in measured.reason
    assert "without" in measured.reason


def test_compiling_counts_in_a_searchs_time():
    work = SearchWork(n_fold_epochs=100, n_programs=3)
    assert Timing("xla", compile_secs=5.0, fold_epoch_secs=0.01).search_secs(work) == 16.0
