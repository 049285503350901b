"""Where workers are placed, how many suit a machine, and how large each may grow."""

import numpy as np
import pytest

from pipeline import machine
from pipeline.machine import Ceiling, Place, ceiling_mb, n_workers_for, places


def test_without_gpus_workers_share_the_cores():
    assert places(3, 0, {}) == [Place(), Place(), Place()]


@pytest.mark.parametrize(
    ("n_workers", "n_gpus", "visible", "expected"),
    [
        (2, 2, "", [("0", 1.0), ("1", 1.0)]),
        (2, 2, "5, GPU-3f", [("5", 1.0), ("GPU-3f", 1.0)]),
        # One that has several spreads its folds over them.
        (1, 2, "", [("0,1", 1.0)]),
        (2, 8, "", [("0,1,2,3", 1.0), ("4,5,6,7", 1.0)]),
        (3, 5, "9,8,7,6,5", [("9,8", 1.0), ("7,6", 1.0), ("5", 1.0)]),
        # On the first one the process that answers has its part, too.
        (3, 2, "", [("0", 1 / 3), ("1", 1.0), ("0", 1 / 3)]),
        (4, 2, "", [("0", 1 / 3), ("1", 1 / 2)] * 2),
        (4, 1, "7", [("7", 1 / 5)] * 4),
    ],
)
def test_gpus_are_dealt_out_or_taken_in_turn_and_shared_where_they_are_too_few(
    n_workers, n_gpus, visible, expected
):
    found = places(n_workers, n_gpus, {"CUDA_VISIBLE_DEVICES": visible})
    assert [(place.gpu, place.gpu_share) for place in found] == expected
    assert [place.n_gpus for place in found] == [len(gpu.split(",")) for gpu, _ in expected]
    assert Place().n_gpus == 0


@pytest.mark.parametrize(
    ("n_gpus", "threads", "n_folds", "n_trials", "free_mb", "expected"),
    [
        (0, None, 1, 30, None, 8),
        (0, None, 2, 30, None, 4),
        (0, None, 5, 30, None, 1),
        (0, None, 10, 30, None, 1),
        (0, None, 7 / 3, 30, None, 3),
        (0, 2, 5, 30, None, 4),
        (0, 16, 5, 30, None, 1),
        (0, None, 1, 3, None, 3),
        (2, None, 5, 30, None, 2),
        (0, None, 1, 30, 0.0, 1),
        (0, None, 1, 30, 1e9, 8),
    ],
)
def test_as_many_workers_as_cores_folds_gpus_trials_and_memory_allow(
    n_gpus, threads, n_folds, n_trials, free_mb, expected, monkeypatch
):
    monkeypatch.setattr(machine, "n_cores", lambda: 8)
    monkeypatch.setattr(machine, "free_memory_mb", lambda: free_mb)
    assert n_workers_for(n_gpus, threads, n_folds, n_trials) == expected


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Return a folder that stands for a system with 4 GB, 3 of them free, and no control group."""
    for name in ("MEMINFO", "OWN_CGROUPS", "OWN_MEMORY", "CGROUPS"):
        monkeypatch.setattr(machine, name, tmp_path / name.lower())
    (tmp_path / "meminfo").write_text("MemTotal:  4194304 kB\nMemAvailable:    3145728 kB\n")
    return tmp_path


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


GB = 2**30


def test_the_memory_is_the_systems_where_nothing_limits_it(system):
    assert (machine.free_memory_mb(), machine.memory_limit_mb()) == (3072.0, 4096.0)
    (system / "meminfo").unlink()
    assert (machine.free_memory_mb(), machine.memory_limit_mb()) == (None, None)


def test_a_limit_of_this_control_group_or_of_one_above_counts(system):
    (system / "own_cgroups").write_text("0::/jobs/mine\n")
    files = {"memory__current": GB, "memory__stat": f"anon 5\ninactive_file {GB // 2}"}
    group(system / "cgroups" / "jobs" / "mine", memory__max="max", **files)
    assert (machine.free_memory_mb(), machine.memory_limit_mb()) == (3072.0, 4096.0)
    group(system / "cgroups" / "jobs", memory__max=2 * GB, **files)
    assert (machine.free_memory_mb(), machine.memory_limit_mb()) == (1536.0, 2048.0)
    # More than the machine has, as version 1 writes for no limit.
    group(system / "cgroups" / "jobs", memory__max=2**63 - 4096, **files)
    assert (machine.free_memory_mb(), machine.memory_limit_mb()) == (3072.0, 4096.0)


@pytest.mark.parametrize("seen", ["jobs/mine", "."], ids=["host's path", "container's own"])
def test_a_limit_of_version_1_counts(system, seen):
    (system / "own_cgroups").write_text("9:name=systemd:/\n4:cpu,memory:/jobs/mine\n0::/\n")
    group(
        system / "cgroups" / "memory" / seen,
        memory__limit_in_bytes=2 * GB,
        memory__usage_in_bytes=GB,
        memory__stat=f"inactive_file 0\ntotal_inactive_file {GB // 4}",
    )
    assert (machine.free_memory_mb(), machine.memory_limit_mb()) == (1280.0, 2048.0)


def test_workers_and_the_process_that_answers_share_three_quarters_of_the_memory(system):
    assert ceiling_mb(1) == 0.75 * 4096 / 2
    assert ceiling_mb(3) == 0.75 * 4096 / 4
    (system / "meminfo").unlink()
    assert ceiling_mb(1) is None


@pytest.mark.parametrize(
    ("limit_mb", "after_trials", "expected"),
    [
        (900.0, [800, 850, 899, 901, 950], [False, False, False, True, True]),
        # It would begin as large again: there must be something to gain.
        (900.0, [950, 1000, 1049, 1050], [False, False, False, True]),
        (900.0, [2000, 2000, 2000], [False, False, False]),
        (None, [800, 8000], [False, False]),
        (900.0, [None, None], [False, False]),
    ],
)
def test_a_process_is_renewed_when_it_is_too_large_and_has_grown(
    limit_mb, after_trials, expected, monkeypatch
):
    ceiling, sizes = Ceiling(limit_mb), iter(after_trials)
    monkeypatch.setattr(machine, "used_memory_mb", lambda: next(sizes))
    for is_reached in expected:
        ceiling.look()
        assert ceiling.is_reached is is_reached


def test_a_process_sees_its_own_memory():
    before = machine.used_memory_mb()
    held = b"x" * 2**26
    after = machine.used_memory_mb()
    assert before is not None
    assert after is not None
    assert 60 < after - before < 100
    assert held


def test_a_mapped_file_is_no_memory_of_the_process(tmp_path):
    """A search is not to be renewed for having looked at its data."""
    np.save(tmp_path / "x.npy", np.ones(2**23))  # 64 MB
    before = machine.used_memory_mb()
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert mapped.sum() == 2**23
    after = machine.used_memory_mb()
    assert before is not None
    assert after is not None
    assert after - before < 30


def test_a_shared_gpus_memory_is_what_the_driver_says(tmp_path, monkeypatch):
    from pipeline.errors import BadInput
    from pipeline.training import devices
    from pipeline.training.devices import gpu_memory_mb

    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *"--id=3"*) echo 81559;; *) exit 6;; esac\n')
    tool.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(devices, "GPUS", ["gpu", "gpu"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert gpu_memory_mb() == 81559.0
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,3")
    assert gpu_memory_mb(number=1) == 81559.0
    with pytest.raises(BadInput, match="use one worker per GPU"):
        gpu_memory_mb()
