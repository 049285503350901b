"""The simulation of many workers: a search in its middle, and the arithmetic. No outcome."""

import functools
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
from tests.benchmarks.replay_report import Search
from tests.benchmarks.scale_clock import Cost, VirtualClock
from tests.benchmarks.scale_report import Scale, draw, in_words
from tests.benchmarks.scale_seed import store, under_way
from tests.benchmarks.scale_server import Watch
from tests.benchmarks.scale_study import question_of, spec_of
from tests.benchmarks.scale_worker import LOCK, Timings
from tests.benchmarks.test_replay import N_EPOCHS, made_up
from tests.postgres import running_server

ROOT = Path(__file__).parents[2]


class Costs:
    """A meter whose readings are set by what workers say that they did."""

    def __init__(self):
        self._now = Cost(0.0, 0.0, 0)

    def did(self, client_secs=0.0, server_secs=0.0, n_round_trips=0):
        self._now = Cost(*np.add(self._now, (client_secs, server_secs, n_round_trips)))

    def read(self):
        return self._now


def played(*workers, n_cores=8):
    """Return when each of the workers, generators of what they do next, came to which point."""
    costs = Costs()
    seen: list[tuple[int, str, float]] = []
    clock = VirtualClock(costs.read, n_cores=n_cores, round_trip_secs=0.5)

    def work(name, worker):
        seen.extend((name, point, clock.now()) for point in worker(clock, costs))

    for name, worker in enumerate(workers):
        clock.begin(0.0, functools.partial(work, name, worker))
    clock.run(100.0)
    return seen


def test_what_a_worker_did_is_charged_to_it_alone():
    def works(clock, costs):
        costs.did(client_secs=1.0, n_round_trips=4)
        yield "worked"
        clock.sleep(2.0)
        yield "slept"

    def sleeps(clock, costs):
        clock.sleep(4.0)
        yield "slept"

    assert played(works, sleeps) == [(0, "worked", 3.0), (1, "slept", 4.0), (0, "slept", 5.0)]


def test_the_lock_is_had_in_the_order_in_which_it_was_wanted():
    def holds(before, secs):
        def worker(clock, costs):
            clock.sleep(before)
            clock.acquire()
            yield "has it"
            costs.did(client_secs=secs)
            clock.release()
            yield "goes on"

        return worker

    assert played(holds(1.0, 5.0), holds(3.0, 1.0), holds(2.0, 1.0)) == [
        (0, "has it", 1.0), (0, "goes on", 6.0), (2, "has it", 6.0),
        (2, "goes on", 7.0), (1, "has it", 7.0), (1, "goes on", 8.0),
    ]  # fmt: skip


@pytest.mark.parametrize(("n_cores", "last"), [(1, 6.0), (2, 4.0), (3, 2.0)])
def test_a_server_does_as_much_at_once_as_it_has_cores(n_cores, last):
    def asks(clock, costs):
        costs.did(server_secs=2.0)
        yield "served"

    ends = [at for _, _, at in played(asks, asks, asks, n_cores=n_cores)]
    assert max(ends) == last


def test_who_runs_ahead_leaves_the_other_cores_free():
    def ahead(clock, costs):
        for _ in range(4):
            costs.did(client_secs=1.0, server_secs=1.0)
            yield "ahead"
        clock.sleep(1.0)

    def behind(clock, costs):
        costs.did(server_secs=1.0)
        yield "behind"

    assert played(ahead, behind, n_cores=2)[-1] == (1, "behind", 1.0)


def test_what_is_done_again_and_again_costs_the_server_alone():
    def asks(clock, costs):
        clock.every(1.0, 1.0, lambda: costs.did(client_secs=9.0, server_secs=0.5))
        clock.sleep(3.25)
        yield "slept"
        costs.did(server_secs=1.0)
        yield "served"

    assert played(asks, n_cores=1) == [(0, "slept", 3.25), (0, "served", 4.5)]


def found(told, window=(10.0, 20.0), n_workers=2):
    nobody: Any = None
    watch = Watch(nobody, "", processor_secs=5.0, n_statements=70)
    return Scale.of(n_workers, 1.0, 0.5, made_up(), 7, window, told, watch)


def test_idle_is_what_is_not_training_in_the_time_that_is_looked_at():
    calls = {
        "tell": [(9.0, 1.0, 0.5), (12.0, 2.0, 0.5), (13.0, 4.0, 0.5), (20.5, 1.0, 0.5)],
        LOCK: [(9.5, 1.0, 0.1), (11.0, 0.5, 0.1), (12.0, 2.0, 0.1)],
    }
    told = [
        Timings(calls=calls, epochs=[(8.0, 12.0), (13.0, 15.0)], processor_secs=2.0),
        Timings(epochs=[(19.0, 25.0)], failures=["no"], processor_secs=1.0),
    ]
    scale = found(told)
    assert scale.idle_share == 1 - (2 + 2 + 1) / 20
    assert scale.trials_per_sec == 0.2  # those that were told in it
    assert scale.calls["tell"].median_secs == 3.0
    assert (scale.client_cores, scale.server_cores) == (0.3, 0.5)
    assert (scale.lock_share, scale.statements_per_sec) == (0.25, 7.0)
    assert scale.failures == ["no"]
    assert "| 2 | 1 | 0.5 | 7 | 0.20 | 75% | 25% |" in in_words([scale])


def test_what_was_written_is_drawn(tmp_path):
    scale = found([Timings(calls={"tell": [(12.0, 1.0, 0.5)]})])
    (tmp_path / "scale.json").write_text(json.dumps([scale], default=lambda each: each.__dict__))
    (read,) = map(Scale.of_plain, json.loads((tmp_path / "scale.json").read_text()))
    assert read.calls.keys() == scale.calls.keys()
    searches = [
        Search("way", "f", "t", seed, 2, 1, 0.0, (1.0, 0.5), 3.0, n_workers)
        for n_workers in (1, 10)
        for seed in range(2)
    ]
    draw([read], searches, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_in_its_middle_is_stored_as_optuna_would(tmp_path):
    table = made_up(diverges=0)
    spec = spec_of(table)
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


@pytest.mark.parametrize("clock", [[], pytest.param(["--real-time"], marks=pytest.mark.long)])
@pytest.mark.long
def test_the_command_lets_workers_search_through_a_server(folder, clock):
    with running_server():
        pass  # or it is skipped
    command = [
        "tests/benchmarks/scale.py", folder, "--workers", "3", "--epoch-secs", "0.1", "--ended",
        "5", "--start-secs", "1", "--ramp-secs", "1", "--secs", "5", *clock,
        "--json", folder / "scale.json", "--png", folder / "scale.png",
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
    assert 0 < scale.lock_share < 1
    assert scale.statements_per_sec > 0
    assert scale.server_cores > 0
    assert "| 3 | 0.1 |" in ended.stdout
