"""The choice of engine mode, and the work that it is chosen for."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipeline.budget import Budget
from pipeline.folds import Fold
from pipeline.spec import StudySpec
from pipeline.training import (
    chosen_engine,
    engine_for,
    expected_work,
    measure,
    measured_engine,
    resident,
    timing,
    typical_params,
)
from pipeline.training.architectures import typical_of_each_kind
from pipeline.training.engine import Setup, XlaRefused
from pipeline.training.measure import Measured
from pipeline.training.timing import SearchWork, Timing, Timings
from tests.training.models import advanced, all_curves, case, compiled, dense, hidden, softmax
from tests.training.test_equals_fit import own_test_step


def spec_of(space, **of_spec):
    return StudySpec(
        load_data=lambda: None, build_model=dense, name="test",
        space={"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), **space}, **of_spec,
    )  # fmt: skip


def folds_of(*n_validation, n_rows=44):
    rows = np.arange(n_rows)
    return tuple(Fold(i, rows[n:], rows[:n]) for i, n in enumerate(n_validation))


def test_expected_fold_epochs_are_half_of_what_is_proposed_or_what_a_strategy_trains():
    spec = spec_of({"max_epochs": IntDistribution(10, 30)}, budget=Budget(n_trials=7))
    assert expected_work(spec, folds_of(9, 9)).n_fold_epochs == 7 * 2 * 20 * 0.5
    spec = spec_of({"max_epochs": 12}, budget=Budget(n_trials=7), strategy=None)
    assert expected_work(spec, folds_of(9, 9)).n_fold_epochs == 7 * 2 * 12 * 0.5
    pausing = spec_of({"max_epochs": 9}, budget=Budget(n_trials=7))
    # All have one epoch of one fold, half of them one of the other, and a quarter two more of both;
    # two go on from three.
    expected = 7 * (1 + 1 / 2 + 2 * 2 / 4) + 2 * 2 * (9 - 3)
    assert expected_work(pausing, folds_of(9, 9)).n_fold_epochs == expected
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
    assert measured.engine.setup.mode == mode
    assert measured.reason == f"engine='{mode}' is set"
    assert measured.engine.n_compiled == 1  # and the first trial finds its program compiled
    case_.training(measured.engine).advance()
    assert measured.engine.n_compiled == 1


TWO_WIDTHS = {"max_epochs": IntDistribution(2, 3), "units": CategoricalDistribution([4, 8])}


def test_a_set_engine_is_tried_but_not_timed(monkeypatch):
    monkeypatch.setattr(measure, "timed", None)
    case_ = case(dense, engine="plain")
    engine, reason = chosen_engine(case_.spec, case_.data, case_.folds)
    assert (engine.setup.mode, reason) == ("plain", "engine='plain' is set")
    assert engine.n_compiled == 1
    case_.training(engine).advance()
    assert engine.n_compiled == 1


def test_xla_compiles_nothing_before_the_first_trial_says_which_architecture(monkeypatch):
    case_ = case(dense, engine="xla")
    spec = replace(case_.spec, space={**case_.spec.space, **TWO_WIDTHS})
    monkeypatch.setattr("pipeline.training.resident.ResidentProgram.run_epoch", None)
    engine, _ = chosen_engine(spec, case_.data, case_.folds)
    assert engine.setup.mode == "xla"


@pytest.mark.parametrize("space", [{}, TWO_WIDTHS])
def test_what_xla_cannot_compile_is_refused_before_the_first_trial(space):
    def with_text(params):
        text = keras.layers.Lambda(lambda x: x + float_of(tf.strings.length(tf.as_string(x))))
        model = keras.Sequential([keras.Input((6,)), text, keras.layers.Dense(3)])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def float_of(x):
        return tf.cast(x, tf.float32)

    case_ = case(with_text, engine="xla")
    spec = replace(case_.spec, space={**case_.spec.space, **space})
    with pytest.raises(XlaRefused, match="unsupported operations"):
        chosen_engine(spec, case_.data, case_.folds)


def test_a_short_search_does_not_try_xla():
    case_ = case(dense)
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.engine.setup.mode == "plain"
    assert "not worth" in measured.reason


@pytest.mark.parametrize(("xla_secs", "mode"), [(0.79, "xla"), (0.81, "plain"), (2.0, "plain")])
def test_xla_must_gain_a_fifth_of_the_whole_search(monkeypatch, xla_secs, mode):
    def timed(engine, spec, folds, params):
        timing = Timing(0.0, {"plain": 1.0, "xla": xla_secs}[engine.setup.mode])
        return Timings(timing, timing)

    monkeypatch.setattr(measure, "timed", timed)
    case_ = case(dense, max_epochs=100)
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.engine.setup == Setup(mode)
    assert measured.timing.fold_epoch_secs == (xla_secs if mode == "xla" else 1.0)
    assert "with XLA" in measured.reason
    assert "without" in measured.reason


def test_compiling_counts_in_a_searchs_time():
    work = SearchWork(n_fold_epochs=100, n_programs=3)
    assert Timing(compile_secs=5.0, fold_epoch_secs=0.01).search_secs(work) == 16.0


@pytest.mark.parametrize(("secs_in_turn", "in_turn"), [(0.79, True), (0.81, False)])
def test_folds_train_in_turn_only_where_that_is_a_fifth_faster(monkeypatch, secs_in_turn, in_turn):
    def epoch_secs(engine, spec, folds, params):
        assert len(folds) == 2
        return secs_in_turn if engine.lanes.n == 1 else 1.0

    monkeypatch.setattr(timing, "epoch_secs", epoch_secs)
    monkeypatch.setattr(resident, "n_lanes", lambda: 3)
    case_ = case(dense, engine="plain")
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.engine.setup.in_turn is in_turn
    assert measured.engine.lanes.n == (1 if in_turn else 2)
    assert measured.timing.fold_epoch_secs == (secs_in_turn if in_turn else 1.0) / 2


# --- several kinds of models ---


def of_a_kind(params):
    layers = {"dense": [], "dropout": [keras.layers.Dropout(0.5)]}.get(params["kind"], [])
    model = compiled(hidden(), *layers, softmax(), params=params)
    model.run_eagerly = params["kind"] == "eager"
    if params["kind"] == "none":
        raise ValueError("no such model")
    return model


def of_kinds(*kinds, **fields):
    case_ = case(of_a_kind, params={"kind": kinds[0]})
    rate = FloatDistribution(1e-3, 1e-1, log=True)
    # The middle of the choices, which is the last of two, is the first kind.
    varied = {"learning_rate": rate, "kind": CategoricalDistribution([*kinds[1:], kinds[0]])}
    space = {**case_.spec.space, **varied, **fields.pop("space", {})}
    return replace(case_, spec=replace(case_.spec, space=space, **fields))


def test_one_proposal_is_typical_of_each_kind_of_layers():
    spec = of_kinds("dense", "dropout", space={"units": IntDistribution(4, 8)}).spec
    assert [params["kind"] for params in typical_of_each_kind(spec)] == ["dense", "dropout"]
    assert typical_of_each_kind(spec)[0] == typical_params(spec)
    spec = of_kinds("dense", "none").spec
    assert [params["kind"] for params in typical_of_each_kind(spec)] == ["dense"]


@pytest.fixture
def epochs_take(monkeypatch):
    """Let epochs of kinds of models take so many seconds, by mode."""

    def take(**secs):
        monkeypatch.setattr(timing, "epoch_secs", lambda engine, spec, folds, params: (
            secs[params["kind"]][engine.setup.mode == "xla"] * len(folds)))  # fmt: skip

    return take


def test_a_mode_is_chosen_for_each_kind_of_models(epochs_take):
    epochs_take(dense=(1.0, 0.1), dropout=(2.0, 3.0))
    case_ = of_kinds("dense", "dropout", budget=Budget(n_trials=300))
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.engine.setup.kinds == {"Dense": "xla", "Dense, Dropout": "plain"}
    assert measured.engine.setup.mode == "xla"  # of a kind that was not timed: as the first
    assert measured.timing.fold_epoch_secs == pytest.approx((0.1 + 2.0) / 2)
    assert "Dense: about" in measured.reason
    assert "Dense, Dropout: about" in measured.reason
    modes = {program.kind: key[0] for key, program in measured.engine._programs.items()}
    assert modes == measured.engine.setup.kinds
    for kind in ("dense", "dropout"):
        measured.engine.program({**case_.params, "kind": kind})
    assert measured.engine.n_compiled == 4  # two kinds in two modes, none of them once more


def test_a_study_trains_each_kind_of_models_as_it_has_recorded(epochs_take):
    case_ = of_kinds("dense", "dropout")
    setup = Setup.of_kinds({"Dense": "xla", "Dense, Dropout": "plain"}, in_turn=False)
    again = Setup.of(json.loads(json.dumps(asdict(setup))))
    assert again == setup
    engine = engine_for(again, case_.spec, case_.data, case_.folds)
    for kind, mode in (("dense", "xla"), ("dropout", "plain")):
        params = {**case_.params, "kind": kind}
        mixed = all_curves(advanced(replace(case_, params=params).training(engine), 2))
        assert np.array_equal(
            mixed, all_curves(replace(case_, params=params).trained(2, mode=mode))
        )


def test_kinds_that_agree_have_one_mode(epochs_take):
    epochs_take(dense=(1.0, 0.1), dropout=(2.0, 0.2))
    case_ = of_kinds("dense", "dropout", budget=Budget(n_trials=300))
    setup = measured_engine(case_.spec, case_.data, case_.folds).engine.setup
    assert (setup.mode, setup.kinds) == ("xla", {})


def test_programs_that_were_timed_and_not_chosen_are_dropped(epochs_take):
    epochs_take(dense=(1.0, 0.1))
    case_ = of_kinds("dense", "dense too", budget=Budget(n_trials=300))  # of the same layers
    engine = measured_engine(case_.spec, case_.data, case_.folds).engine
    assert [key[0] for key in engine._programs] == ["xla"]


def test_all_stream_where_one_kind_must(monkeypatch):
    monkeypatch.setattr(measure, "WORTH_MEASURING_SECS", 0.0)
    case_ = of_kinds("dense", "eager", "dropout")
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.engine.setup.mode == "stream"
    assert "run_eagerly=True" in measured.reason


@pytest.fixture
def validation(monkeypatch):
    """Return whether larger validation batches are taken that leave so much of an epoch's time."""

    def taken(share, *, mode="plain", epoch_secs=0.01, **of_case):
        case_ = case(dense, **of_case)
        engine = engine_for(Setup(mode), case_.spec, case_.data, case_.folds)
        monkeypatch.setattr(measure, "epoch_secs", lambda engine, *_: (
            share if engine.setup.validation_factor > 1 else 1.0))  # fmt: skip
        before = Measured(engine, Timing(0.0, epoch_secs), "why")
        after = measure._with_measured_validation(before, case_.spec, case_.folds)
        is_taken = engine.setup.validation_factor > 1
        assert after.timing.fold_epoch_secs == epoch_secs * (share if is_taken else 1)
        assert after.reason.startswith("why")
        return is_taken

    monkeypatch.setattr(measure, "WORTH_MEASURING_SECS", 0.0)
    return taken


def test_larger_validation_batches_must_save_a_fifth_of_an_epoch(validation):
    assert validation(0.79)
    assert not validation(0.81)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "xla"},
        {"validation_batch_size": 8},
        {"epoch_secs": 1.0},  # arithmetic, in batches of any size
        {"folds": folds_of(9, 9)},  # of 44 rows: less than a fifth could be saved
    ],
)
def test_larger_validation_batches_are_not_tried_where_they_cannot_pay(validation, fields):
    assert not validation(0.1, **fields)


def test_a_short_search_does_not_try_larger_validation_batches(validation, monkeypatch):
    monkeypatch.setattr(measure, "WORTH_MEASURING_SECS", 1e9)
    assert not validation(0.1)


@pytest.mark.parametrize("mode", ["plain", "stream"])
def test_measured_validation_batches_are_as_those_that_a_study_sets(mode):
    measured, set_ = case(own_test_step), case(own_test_step, validation_batch_size=16)
    engine = measured.engine(mode)
    engine.setup = replace(engine.setup, validation_factor=2)
    curves = all_curves(advanced(measured.training(engine), 2))
    assert np.array_equal(curves, all_curves(set_.trained(2, mode=mode)))
    assert not np.array_equal(curves, all_curves(measured.trained(2, mode=mode)))


def test_an_engine_that_was_recorded_earlier_is_as_it_was():
    assert Setup.of({"mode": "xla", "reason": "of old"}) == Setup("xla")
    assert Setup.of({"mode": "plain", "in_turn": True}) == Setup("plain", in_turn=True)


def test_only_folds_of_one_program_are_timed(monkeypatch):
    monkeypatch.setattr(resident, "n_lanes", lambda: 3)
    folds = folds_of(9, 8, 17)  # (3, 1), (4, 0) and (3, 1) rows in the last batches of 8
    case_ = case(dense, folds=folds, engine="plain")
    assert measured_engine(case_.spec, case_.data, folds).engine.n_compiled == 1
