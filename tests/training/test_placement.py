"""Where rows and states stay, seen on logical processors with memory that is made up.

All but the first stand for GPUs; these tests run in a process of their own, since TensorFlow takes
its devices once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import BadInput
from pipeline.placement import Holding, size
from pipeline.training import Mode, devices, typical_params
from pipeline.training.devices import HOST, Device
from pipeline.training.measure import measured_engine
from pipeline.training.programs import KerasProgram
from tests.training.fit import some_long
from tests.training.models import advanced, all_curves, case, dense

ROOT = Path(__file__).parents[2]

LOGICAL = """
import sys
from dataclasses import replace

import numpy as np
import tensorflow as tf

processor, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 3)

from pipeline.training.devices import Device
from pipeline.training.snapshot_file import as_bytes, of_bytes
from tests.training.models import advanced, all_curves, case, with_every_state


def places(training):
    of_folds = ({value.device[-5:] for value in state} for state in training.states.values())
    return [", ".join(devices) for devices in of_folds]


def where_rows_are(engine):
    of_folds = (arrays.x for arrays in engine.arrays.values())
    return ["the host" if isinstance(x, np.ndarray) else x.device[-5:] for x in of_folds]


(mode,) = sys.argv[1:]
case_ = case(with_every_state)
here = case_.trained(3, mode=mode)
one, two = ["CPU:1"], ["CPU:1", "CPU:2"]
engine = case_.engine(mode)
holding = engine.holding(engine.program(case_.params))
row_bytes = holding.all_rows if engine.rows_on_device else 0
of_one_fold = replace(holding, n_folds=1 if engine.rows_on_device else 2)
for name, needed, names, others in (
    ("resident", holding.all_states, one, two),
    ("offloaded", holding.states_at_work, one, one),
    ("spread", of_one_fold.all_states, two, one),
):
    memory, said = int((row_bytes + needed) / 0.7) + 2, []
    engine = case_.engine(mode, devices=[Device(each, memory) for each in names], say=said.append)
    training = advanced(case_.training(engine), 2)
    held = places(training)
    stored, _ = of_bytes(as_bytes(training.snapshot(), case_.params))
    resumed = case_.training(engine)
    resumed.restore(stored)
    assert places(resumed) == held
    continued = [training, resumed]
    if others != names:
        continued.append(case_.training(case_.engine(mode, devices=[*map(Device, others)])))
        continued[-1].restore(stored)
    for again in continued:
        advanced(again, 1)
    assert {v.device[-5:] for v in training.program.variables} == {"CPU:1"}
    for again in continued:
        np.testing.assert_array_equal(all_curves(again), all_curves(here))
        for ours, theirs in zip(again.states[1], here.states[1], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    if engine.rows_on_device:  # XLA refuses variables of another device, all else brings them
        for number, sets in training.program.epoch._scratch._free.items():
            handles = [handle for each in sets for handle in each.values()]
            assert {handle.device[-5:] for handle in handles} <= {names[number]}
    for fold in (0, 1):
        np.testing.assert_array_equal(
            training.program.predict(fold, training.states[fold], np.arange(9)),
            here.program.predict(fold, here.states[fold], np.arange(9)),
        )
    assert training.program.n_compiled == here.program.n_compiled
    print(name, where_rows_are(engine), held, said)
"""


@pytest.mark.parametrize("mode", some_long(["plain", "xla", "stream"], ["plain"]))
def test_folds_are_spread_and_states_that_do_not_fit_offloaded_without_changing_a_bit(mode):
    done = subprocess.run(
        [sys.executable, "-c", LOGICAL, mode],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    resident, offloaded, spread = done.stdout.splitlines()
    rows, both = ["the host"] * 2 if mode == "stream" else ["CPU:1"] * 2, ["CPU:1"] * 2
    assert resident == f"resident {rows} {both} []"
    assert offloaded.startswith(f"offloaded {rows} {['CPU:0'] * 2} [\"2 folds' states of ")
    assert "each is brought there for its epoch and taken back" in offloaded
    # Keras's own functions write into the one model: what streams stays on one device.
    each = (rows, both) if mode == "stream" else (["CPU:1", "CPU:2"],) * 2
    assert spread == f"spread {each[0]} {each[1]} []"


def held_by(mode: Mode = "plain") -> Holding:
    case_ = case(dense)
    engine = case_.engine(mode)
    return engine.holding(engine.program(case_.params))


def test_every_byte_of_rows_and_states_is_counted():
    """Rows: 44 of 6 float32 columns and an int64 label; the model: SGD with momentum.

    Weights 6·8+8+8·3+3 = 83, as many slots, iterations; loss and accuracy as total and count.
    """
    case_, holding = case(dense), held_by()
    assert holding.rows == 44 * (6 * 4 + case_.data.y.dtype.itemsize)
    assert holding.n_folds == 2
    program = case_.engine().program(case_.params)
    assert isinstance(program, KerasProgram)
    by_hand = sum(v.numpy().nbytes for v in program.variables)
    assert holding.state == by_hand
    assert by_hand >= 2 * 83 * 4


def test_each_folds_preprocessed_copy_is_counted_and_labels_once():
    from sklearn.preprocessing import StandardScaler

    plain, scaled = case(dense), case(dense, preprocess=StandardScaler())
    weighted = case(dense, class_weight={0: 1.0, 1: 5.0, 2: 0.2})
    copy = 44 * 6 * 4
    assert scaled.engine().holding().rows == plain.engine().holding().rows + copy
    assert weighted.engine().holding().rows == plain.engine().holding().rows + 2 * 44 * 4


def too_small() -> Device:
    return Device(HOST, held_by().rows)


def test_rows_that_do_not_fit_make_a_new_study_stream_with_the_reason(monkeypatch):
    case_, small = case(dense), too_small()
    monkeypatch.setattr("pipeline.training.keras_engine.training_devices", lambda: (small,))
    measured = measured_engine(case_.spec, case_.data, case_.folds)
    assert measured.engine.setup.mode == "stream"
    rows = size(2 * held_by("stream").rows)
    assert f"its rows, {rows} while two engines hold them, do not fit beside" in measured.reason
    assert f"in 70% of CPU:0 with {size(small.memory or 0)} free" in measured.reason
    monkeypatch.undo()
    streamed = advanced(case_.training(measured.engine), 2)
    np.testing.assert_array_equal(all_curves(streamed), all_curves(case_.trained(2)))


@pytest.mark.parametrize("mode", ["plain", "xla"])
def test_a_mode_that_is_set_or_recorded_is_refused_where_the_rows_do_not_fit(mode):
    with pytest.raises(BadInput, match=r"its rows, .* do not fit .* Allowed: engine='stream'"):
        case(dense).engine(mode, devices=[too_small()])


def test_rows_that_fit_alone_but_not_beside_a_folds_states_are_refused_too():
    case_, holding = case(dense), held_by()
    memory = int((holding.all_rows + holding.state) / 0.7)
    engine = case_.engine(devices=[Device(HOST, memory)])
    with pytest.raises(BadInput, match="do not fit beside one fold's states"):
        engine.program(typical_params(case_.spec))


# --- as far as GPUs can be stood in for ---


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_gpu_is_set_to_grow_and_to_determinism_unless_the_study_gives_it_up(
    deterministic, monkeypatch
):
    done = []
    experimental = "pipeline.training.devices.tf.config.experimental"
    monkeypatch.setattr(devices, "GPUS", ["gpu"])
    monkeypatch.setattr(f"{experimental}.set_memory_growth", lambda *of: done.append(of))
    monkeypatch.setattr(f"{experimental}.enable_op_determinism", lambda: done.append("same bits"))
    devices.set_up(None, deterministic=deterministic)
    assert done == [("gpu", True), *(["same bits"] if deterministic else [])]


def test_workers_that_share_a_gpu_get_their_part_of_its_memory(monkeypatch):
    given = []
    monkeypatch.setattr(devices, "GPUS", ["gpu"])
    monkeypatch.setattr(devices, "gpu_memory_mb", lambda number: 1000.0)
    config = "pipeline.training.devices.tf.config"
    monkeypatch.setattr(f"{config}.experimental.enable_op_determinism", lambda: None)
    monkeypatch.setattr(
        f"{config}.set_logical_device_configuration",
        lambda gpu, parts: given.append((gpu, [part.memory_limit for part in parts])),
    )
    devices.set_up(None, gpu_share=0.25)
    assert given == [("gpu", [225])]


def test_a_gpu_is_described_by_what_the_driver_says_and_trains(monkeypatch):
    details = {"device_name": "NVIDIA Example", "compute_capability": (9, 0)}
    monkeypatch.setattr(devices, "GPUS", ["gpu"])
    monkeypatch.setattr(devices, "device_names", lambda: ["/device:CPU:0", "/device:GPU:0"])
    monkeypatch.setattr(
        "pipeline.training.devices.tf.config.experimental.get_device_details", lambda gpu: details
    )
    monkeypatch.setattr(devices, "gpu_memory_mb", lambda which, number: {"free": 1000.0}[which])
    monkeypatch.setattr(
        "pipeline.training.devices.tf.config.get_logical_device_configuration", lambda gpu: None
    )
    devices.training_devices.cache_clear()
    try:
        assert devices.training_devices() == (Device("GPU:0", 1000 * 2**20),)
        assert devices.described_devices() == [
            "CPU:0",
            "GPU:0 with 1.05 GB free, NVIDIA Example, compute capability 9.0",
        ]
        limited = type("Limited", (), {"memory_limit": 500})
        monkeypatch.setattr(
            "pipeline.training.devices.tf.config.get_logical_device_configuration",
            lambda gpu: [limited],
        )
        devices.training_devices.cache_clear()
        assert devices.training_devices() == (Device("GPU:0", 500 * 2**20),)
    finally:
        devices.training_devices.cache_clear()


def test_folds_are_spread_over_the_gpus_that_are_like_the_first(monkeypatch):
    makes = ["NVIDIA Large", "NVIDIA Small", "NVIDIA Large"]
    monkeypatch.setattr(devices, "GPUS", [0, 1, 2])
    monkeypatch.setattr(devices, "device_names", lambda: [f"/device:GPU:{n}" for n in range(3)])
    monkeypatch.setattr(devices, "gpu_memory_mb", lambda which, number: 1000.0 * (number + 1))
    config = "pipeline.training.devices.tf.config"
    monkeypatch.setattr(f"{config}.get_logical_device_configuration", lambda gpu: None)
    monkeypatch.setattr(
        f"{config}.experimental.get_device_details", lambda gpu: {"device_name": makes[gpu]}
    )
    devices.training_devices.cache_clear()
    try:
        assert devices.training_devices() == (
            Device("GPU:0", 1000 * 2**20), Device("GPU:2", 3000 * 2**20),
        )  # fmt: skip
    finally:
        devices.training_devices.cache_clear()


def test_a_process_uses_as_many_gpus_as_each_worker_has(monkeypatch):
    seen, grown = [], []
    config = "pipeline.training.devices.tf.config"
    monkeypatch.setattr(devices, "GPUS", ["a", "b", "c"])
    monkeypatch.setattr(f"{config}.set_visible_devices", lambda *of: seen.append(of))
    monkeypatch.setattr(
        f"{config}.experimental.set_memory_growth", lambda gpu, on: grown.append(gpu)
    )
    devices.prepare(None, n_gpus=2, deterministic=False)
    assert (seen, grown) == ([(["a", "b"], "GPU")], ["a", "b"])
    devices.prepare(None, deterministic=False)
    assert (len(seen), grown[2:]) == (1, ["a", "b", "c"])
