"""How many threads an operation has: decided before TensorFlow runs, in copies of the process."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.budget import Budget
from pipeline.training import Setup, apart, threads
from pipeline.training.measure import WORTH_MEASURING_SECS
from pipeline.training.threads import Found, found_apart
from pipeline.training.timing import Timing, expected_work
from tests.tiny_study import write_study
from tests.training.models import case, dense

ROOT = Path(__file__).parents[2]
FEW = 1


@pytest.fixture
def timings(monkeypatch):
    """Return seconds per fold-epoch by (threads of an operation, engine), for a test to fill."""
    timings: dict[tuple[int | None, str], float | None] = {}

    def timed(spec, data, folds, threads, operation_threads, engine):
        secs = timings[operation_threads, engine]
        mode: Any = "xla" if engine == "auto" else engine
        return secs and Found(Setup(mode), Timing(0.0, secs), "timed", operation_threads)

    monkeypatch.setattr(threads, "_timed", timed)
    monkeypatch.setattr(threads, "in_a_copy", lambda task: task())
    monkeypatch.setattr(threads, "can_copy", lambda: True)
    monkeypatch.setattr(threads, "n_cores", lambda: 2)
    return timings


def found(timings, *, cores=None, **of_spec):
    case_ = case(dense, max_epochs=100, **of_spec)
    return found_apart(case_.spec, case_.data, case_.folds, threads=cores)


@pytest.mark.parametrize("engine", ["plain", "auto"])
@pytest.mark.parametrize(("all_secs", "n"), [(0.79, None), (0.81, FEW), (2.0, FEW)])
def test_a_thread_per_core_must_gain_a_fifth_of_the_search(timings, engine, all_secs, n):
    timings |= {(FEW, "plain"): 1.0, (None, engine): all_secs}
    chosen = found(timings, engine=engine)
    assert chosen.operation_threads == n
    assert chosen.setup.mode == ("xla" if n is None and engine == "auto" else "plain")
    assert chosen.timing.fold_epoch_secs == (all_secs if n is None else 1.0)
    assert "1000.0 ms a fold-epoch with 1 thread an operation in mode plain" in chosen.reason
    assert f"{1e3 * all_secs:.1f} ms a fold-epoch with a thread per core" in chosen.reason


def test_of_a_short_search_no_more_is_timed_than_must_be(timings):
    case_ = case(dense, max_epochs=100)
    n_fold_epochs = expected_work(case_.spec, case_.folds).n_fold_epochs
    timings[FEW, "plain"] = 0.9 * WORTH_MEASURING_SECS / n_fold_epochs
    chosen = found(timings, engine="plain")  # a second timing is a KeyError
    assert chosen.operation_threads == FEW
    assert "no more was timed" in chosen.reason


@pytest.mark.parametrize(
    "fields",
    [
        {"engine": "xla"},
        {"engine": "stream"},
        {"operation_threads": 2},
        {"threads": 1},
        {"engine": "plain", "threads": 2},  # which cannot be trained
    ],
)
def test_nothing_is_found_out_where_nothing_is_to_be_decided(timings, fields):
    timings[FEW, "plain"] = None
    assert found(timings, cores=fields.get("threads"), **fields) is None


def test_of_few_updates_nothing_is_timed(timings):
    case_ = case(dense, max_epochs=10, engine="plain", budget=Budget(n_trials=60))
    assert found_apart(case_.spec, case_.data, case_.folds, threads=None) is None  # 1800


@pytest.mark.parametrize(("n", "few"), [(4, 2), (5, 2), (16, 8)])
def test_few_are_the_cores_share_of_each_fold_at_once(timings, n, few):
    timings |= {(few, "plain"): 1.0, (None, "plain"): 1.0}
    assert found(timings, cores=n, engine="plain").operation_threads == few


APART = """
import sys
from pipeline import training
from pipeline.question import pose
from pipeline.study_file import load_study
from pipeline.training.apart import in_a_copy

def fails():
    raise ValueError

question = pose(load_study(sys.argv[1]), measures=True)
question.folder.mkdir(parents=True, exist_ok=True)
question.record_threads()
print(training.operation_threads(), question.found and question.found.setup.mode, in_a_copy(fails))
"""


def test_a_daemonic_process_is_not_copied_as_it_may_have_no_children(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(apart, "GPUS", [])
    monkeypatch.setattr(apart, "runs", lambda: False)
    assert apart.can_copy()
    daemonic = SimpleNamespace(daemon=True)
    monkeypatch.setattr(multiprocessing, "current_process", lambda: daemonic)
    assert not apart.can_copy()


def test_it_is_timed_in_a_copy_recorded_and_obeyed(tmp_path):
    def posed():
        return subprocess.run(
            [sys.executable, "-c", APART, str(study)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip

    fields = '{"threads": 2, "budget": Budget(n_trials=10_000)}'
    study = write_study(tmp_path, fields=fields)
    n, *others = posed()
    assert (n in ("1", "2"), others) == (True, ["plain", "None"])  # which one hangs on the machine
    (record,) = tmp_path.glob("mlruns/studies/*/threads")
    assert record.read_text() == f"2 {n}"
    other = {"1": "2", "2": "1"}[n]
    record.write_text(f"2 {other}")
    assert posed() == [other, "None", "None"]
