"""The simulation of many workers: a search in its middle, and the arithmetic. No outcome."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from pipeline.optimization import open_study
from pipeline.optimization.stored import Finished
from tests.benchmarks.scale_report import Scale, draw, in_words
from tests.benchmarks.scale_seed import store, under_way
from tests.benchmarks.scale_server import Watch
from tests.benchmarks.scale_study import question_of, spec_of
from tests.benchmarks.scale_worker import Alone, Timings
from tests.benchmarks.test_replay import N_EPOCHS, made_up
from tests.postgres import running_server

ROOT = Path(__file__).parents[2]


def found(told, window=(10.0, 20.0), n_workers=2):
    nobody: Any = None
    watch = Watch(nobody, "", holding=[1, 0], waiting=[3, 1], secs=10.0, processor_secs=5.0)
    return Scale.of(
        n_workers, 1.0, made_up(), 7, window, told, watch, Alone(0.05, 0.03, 40)
    )  # fmt: skip


def test_idle_is_what_is_not_training_in_the_time_that_is_looked_at():
    calls = {"tell": [(9.0, 1.0, 0.5), (12.0, 2.0, 0.5), (13.0, 4.0, 0.5), (20.5, 1.0, 0.5)]}
    told = [
        Timings(calls, epochs=[(8.0, 12.0), (13.0, 15.0)], processor_secs=2.0),
        Timings({"tell": []}, epochs=[(19.0, 25.0)], failures=["no"], processor_secs=1.0),
    ]
    scale = found(told)
    assert scale.idle_share == 1 - (2 + 2 + 1) / 20
    assert scale.trials_per_sec == 0.2  # those that were told in it
    assert scale.calls["tell"].median_secs == 3.0
    assert (scale.client_cores, scale.server_cores) == (0.3, 0.5)
    assert (scale.lock_share, scale.n_waiting) == (0.5, 2.0)
    assert scale.failures == ["no"]
    assert "| 2 | 1 | 7 | 50 (30; 40) | 0.20 | 75% | 50% | 2.0 | 3000 (" in in_words([scale])


def test_what_was_written_is_drawn(tmp_path):
    scale = found([Timings({"tell": []})])
    (tmp_path / "scale.json").write_text(json.dumps([scale], default=lambda each: each.__dict__))
    (read,) = map(Scale.of_plain, json.loads((tmp_path / "scale.json").read_text()))
    assert read.alone == scale.alone
    draw({"now": [scale], "before": [read]}, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_in_its_middle_is_stored_as_optuna_would(tmp_path):
    table = made_up(diverges=0)
    spec = spec_of(table, 100)
    question = question_of(spec, tmp_path)
    trials, n_epochs = under_way(table, question, 20, 5)
    stored, one_by_one = (
        open_study(f"sqlite:///{tmp_path / name}.db", "study", spec) for name in ("a", "b")
    )
    store(stored, trials)
    one_by_one.add_trials(trials)
    for mine, theirs in zip(stored.trials, one_by_one.trials, strict=True):
        for what in ("number", "state", "params", "values", "user_attrs", "intermediate_values"):
            assert getattr(mine, what) == getattr(theirs, what)
    finished = Finished(stored, spec).all()
    assert {len(finished), len(stored.trials) - 5} == {20}
    assert 0 < sum(trial.value is not None for trial in finished) < 20
    running = stored.get_trials(states=(TrialState.RUNNING,))
    assert [len(trial.intermediate_values) for trial in running] == n_epochs
    assert max(n_epochs) < N_EPOCHS


@pytest.fixture
def folder(tmp_path):
    table = made_up(diverges=0)
    points = np.stack(list(table.points.values()), axis=1)
    np.savez(tmp_path / "one.npz", hp=points, valid=table.losses, hp_names=list(table.points))
    return tmp_path


def test_the_command_lets_workers_search_through_a_server(folder):
    with running_server():
        pass  # or it is skipped
    command = [
        "tests/benchmarks/scale.py", folder, "--workers", "3", "--epoch-secs", "0.03", "--ended",
        "5", "--ramp-secs", "1", "--secs", "4", "--json", folder / "scale.json",
    ]  # fmt: skip
    ended = subprocess.run(
        [sys.executable, *command], cwd=ROOT, text=True, capture_output=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    (scale,) = map(Scale.of_plain, json.loads((folder / "scale.json").read_text()))
    assert scale.n_workers == 3
    assert not scale.failures
    assert 0 < scale.idle_share < 1
    assert scale.trials_per_sec > 0
    assert {kind for kind, calls in scale.calls.items() if calls.n} == set(scale.calls)
    assert scale.n_connections >= 3
    assert scale.statements_per_sec > 0
    assert scale.server_cores > 0
    assert "| 3 | 0.03 | 5 |" in ended.stdout
