"""Several processes at one ladder, of which any may be killed at any moment."""

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ExitCode
from pipeline.optimization import begun
from pipeline.results import Outcome
from tests.crew import (
    children,
    claimed,
    command_of,
    ended,
    is_being_trained,
    searching,
    stored,
    two_at_once,
    until,
)
from tests.kill import answer_in, assert_mlflow_has, curves_in, finish
from tests.tiny_study import write_study

N_TRIALS = 10
HORIZON = 80
LONG_HORIZON = 400
"""So long that two commands meet, of which one may start seconds after the other."""
# What is proposed does not depend on who has come how far by then.
FIELDS = """dict(
    test_size=0.2,
    sampler=lambda seed: RandomSampler(seed=seed),
    pruner={pruner},
    strategy={strategy},
    early_stopping=None,
    space={{"learning_rate": FloatDistribution(1e-3, 1e-1, log=True), "max_epochs": {horizon}}},
    budget=Budget(n_trials={n_trials}),
)"""
LADDER = "Ladder(rungs=(1 / 8, 1 / 2, 1 / 2, 1), n_finalists=2, n_snapshots=2)"


def study_in(home: Path, strategy: str = LADDER, horizon: int = HORIZON) -> Path:
    pruner = "NopPruner()" if strategy == "None" else "None"
    fields = FIELDS.format(pruner=pruner, strategy=strategy, horizon=horizon, n_trials=N_TRIALS)
    path = write_study(home, fields=fields)
    path.write_text("from optuna.samplers import RandomSampler\n" + path.read_text())
    return path


@pytest.fixture(scope="module")
def whole(make_home):
    """Return every trial's parameters and curves of all folds to its end, trained without pause."""
    return trained_whole(make_home("whole"), HORIZON)


@pytest.fixture(scope="module")
def long_whole(make_home):
    """Return the same of the longer search."""
    return trained_whole(make_home("long_whole"), LONG_HORIZON)


def trained_whole(home: Path, horizon: int):
    finish(study_in(home, "None", horizon))
    return curves_in(home)


def assert_climbed(home: Path, whole) -> None:
    """No trial is lost or doubled, and each has the bits that it would have had without a pause."""
    found, horizon = curves_in(home), whole[0][2].n_epochs
    assert found.keys() == whole.keys()
    for number, (params, outcome, curves) in found.items():
        assert params == whole[number][0]
        if outcome is Outcome.COMPLETED:
            assert curves.values.shape == (3, horizon)
        else:
            assert outcome is Outcome.PRUNED
            has_all = len(curves.folds) == 3
            assert curves.folds == ((0, 1, 2) if has_all else (0,))
            assert curves.n_epochs in ({horizon / 2} if has_all else {horizon / 8, horizon / 2})
        expected = whole[number][2].values[list(curves.folds), : curves.n_epochs]
        np.testing.assert_array_equal(curves.values, expected)
    completed = [n for n, (_, outcome, _) in found.items() if outcome is Outcome.COMPLETED]
    assert 2 <= len(completed) < N_TRIALS / 2
    assert answer_in(home)["trial"] in completed
    assert_mlflow_has(home, found)
    assert not list(home.glob("mlruns/studies/*/snapshots/*.npz"))
    assert not claimed(home)


def is_being_climbed(study) -> bool:
    return len(begun(study)) > 2 and bool(is_being_trained(study))


def at_work(search) -> list[int]:
    with contextlib.suppress(FileNotFoundError):  # it has ended
        return children(search.pid)
    return []


def kill_some_worker(search, chance: random.Random) -> None:
    if pids := at_work(search):
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)


def until_gone(pids: list[int]) -> None:
    until(lambda: not any(map(command_of, pids)), secs=60)


@pytest.mark.long
def test_two_workers_climb_one_ladder_though_one_of_them_is_killed(home, whole):
    study = study_in(home)
    with searching(study, "--workers", "2") as search:
        until(stored(study, is_being_climbed))
        kill_some_worker(search, random.Random(0))
        told, said = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
    assert "was ended by SIGKILL; another takes its place" in said
    assert "that were paused are not trained further" in said
    assert "paused" in said
    assert_climbed(home, whole)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_workers_and_heads_are_killed_at_random_moments(home, whole, seed):
    study, chance = study_in(home), random.Random(seed)
    for _ in range(2):
        with searching(study, "--workers", "2") as search:
            until(stored(study, is_being_climbed))
            for _ in range(2):
                time.sleep(chance.random())
                kill_some_worker(search, chance)
            time.sleep(3 * chance.random())
            pids = at_work(search)
            search.kill()
        until_gone(pids)
        if answered(home):
            break
    with searching(study, "--workers", "2") as search:
        told, _ = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
    assert_climbed(home, whole)


def answered(home: Path) -> bool:
    return any(home.glob("mlruns/studies/*/decision.json"))


@pytest.mark.long
@pytest.mark.parametrize("kill_holder", [False, True])
def test_two_commands_climb_one_ladder(home, long_whole, kill_holder):
    with two_at_once(study_in(home, horizon=LONG_HORIZON)) as processes:
        if kill_holder:
            (note,) = home.glob("mlruns/studies/*/holder.json")
            holder = json.loads(note.read_text())["pid"]
            first, *processes = sorted(processes, key=lambda process: process.pid != holder)
            assert first.pid == holder
            first.kill()
        told = [ended(process) for process in processes]
    assert {each["exit_code"] for each, _ in told} <= {ExitCode.SUCCESS, ExitCode.UNDETERMINED}
    assert all("paused" in said for _, said in told)  # each has trained some
    assert len({json.dumps(each["decision"]["trials"]) for each, _ in told}) == 1
    assert_climbed(home, long_whole)


@pytest.mark.long
def test_a_signal_stops_all_and_one_process_goes_on(home, whole):
    study = study_in(home)
    with searching(study, "--workers", "2") as search:
        until(stored(study, is_being_climbed))
        search.send_signal(signal.SIGTERM)
        told, _ = ended(search)
    assert told["exit_code"] == ExitCode.INTERRUPTED
    finish(study)
    assert_climbed(home, whole)


@pytest.mark.long
def test_fold_epochs_are_not_overshot_by_several_workers(home):
    most = 700
    study = study_in(home)
    with searching(study, "--workers", "2", "--max-fold-epochs", str(most)) as search:
        told, _ = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
    # What was trained for the answer as well.
    assert most / 2 <= told["costs"]["fold_epochs"] <= most
