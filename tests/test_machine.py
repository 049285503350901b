"""Where workers are placed, and how many suit a machine."""

import pytest

from pipeline import machine
from pipeline.machine import Place, n_workers_for, places


def test_without_gpus_workers_share_the_cores():
    assert places(3, 0, {}) == [Place(), Place(), Place()]


@pytest.mark.parametrize(
    ("n_workers", "n_gpus", "visible", "expected"),
    [
        (2, 2, "", [("0", 1.0), ("1", 1.0)]),
        (1, 2, "", [("0", 1.0)]),
        (3, 2, "", [("0", 0.5), ("1", 1.0), ("0", 0.5)]),
        (2, 2, "5, GPU-3f", [("5", 1.0), ("GPU-3f", 1.0)]),
        (4, 1, "7", [("7", 0.25)] * 4),
    ],
)
def test_gpus_are_taken_in_turn_and_shared_when_they_are_too_few(
    n_workers, n_gpus, visible, expected
):
    found = places(n_workers, n_gpus, {"CUDA_VISIBLE_DEVICES": visible})
    assert [(place.gpu, place.gpu_share) for place in found] == expected


@pytest.mark.parametrize(
    ("n_gpus", "threads", "n_trials", "free_mb", "expected"),
    [
        (0, None, 30, None, 8),
        (0, 2, 30, None, 4),
        (0, 16, 30, None, 1),
        (0, None, 3, None, 3),
        (2, None, 30, None, 2),
        (0, None, 30, 0.0, 1),
        (0, None, 30, 1e9, 8),
    ],
)
def test_as_many_workers_as_cores_gpus_trials_and_memory_allow(
    n_gpus, threads, n_trials, free_mb, expected, monkeypatch
):
    monkeypatch.setattr(machine, "n_cores", lambda: 8)
    monkeypatch.setattr(machine, "free_memory_mb", lambda: free_mb)
    assert n_workers_for(n_gpus, threads, n_trials) == expected


def test_the_free_memory_is_the_systems(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal:  4096 kB\nMemAvailable:    2048 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    assert machine.free_memory_mb() == 2.0
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "absent")
    assert machine.free_memory_mb() is None


def test_a_shared_gpus_memory_is_what_the_driver_says(tmp_path, monkeypatch):
    from pipeline.errors import BadInput
    from pipeline.training.devices import gpu_memory_mb

    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *"--id=3"*) echo 81559;; *) exit 6;; esac\n')
    tool.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert gpu_memory_mb() == 81559.0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "9")
    with pytest.raises(BadInput, match="use one worker per GPU"):
        gpu_memory_mb()
