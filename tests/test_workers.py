"""Several processes at one study: started by one of them, or joined; any of them may be killed."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import workers
from pipeline.budget import Budget
from pipeline.crew import End
from pipeline.errors import ExitCode
from pipeline.optimization import finished
from pipeline.study_file import load_study
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
from tests.kill import answer_in, assert_mlflow_tells_the_truth, finish
from tests.tiny_study import Heard, runs_of, write_study

# What is proposed does not depend on who has finished what by then.
N_TRIALS = 10
FIELDS = """dict(
    test_size=0.2,
    sampler=lambda seed: RandomSampler(seed=seed),
    space={
        "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "max_epochs": IntDistribution(40, 60),
    },
    budget=Budget(n_trials=N_TRIALS),
)"""


SCORED = """ | dict(
    scorers=["roc_auc"], objective=Objective("val_roc_auc"), budget=Budget(n_trials=4),
)"""


def study_in(home: Path, more: str = "") -> Path:
    path = write_study(home, fields=FIELDS.replace("N_TRIALS", str(N_TRIALS)) + more)
    path.write_text("from optuna.samplers import RandomSampler\n" + path.read_text())
    return path


# The same command on a machine whose memory every process outgrows.
LIMITED = (
    "-c",
    "from pipeline import cli, ending, machine; machine.CEILING_SHARE = 1e-9; "
    "ending.end_process('pipeline.search', cli.search_options())",
)


def assert_as_alone(home: Path, alone: tuple[dict[str, Any], dict[int, int]]) -> None:
    """All is as one process left it, but for the threads, which several share."""
    (answer, n_epochs), found = alone, answer_in(home)
    assert {**found, "engine": found["engine"]["mode"]} == {
        **answer,
        "engine": answer["engine"]["mode"],
    }
    assert_mlflow_tells_the_truth(home, n_epochs)
    assert not list(home.glob("mlruns/studies/*/snapshots/*.npz"))
    assert not claimed(home)


def test_two_workers_find_what_one_finds(home, alone):
    study = study_in(home)
    with searching(study, "--workers", "2") as search:
        at_work = until(lambda: len(now := children(search.pid)) == 2 and now)
        told, said = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
    assert "2 worker(s)" in said
    assert sum(line.startswith("trial  ") for line in said.splitlines()) == N_TRIALS
    assert told["costs"]["trials"]["completed"] == N_TRIALS
    assert not any(command_of(pid) for pid in at_work)
    assert_as_alone(home, alone)
    # Each has trained some.
    logs = [path.read_text() for path in home.glob("mlruns/studies/*/workers/*.log")]
    assert [("trial  " in log) for log in logs] == [True, True]


@pytest.mark.long
def test_two_workers_score_what_one_scores(home, tmp_path_factory):
    one = tmp_path_factory.mktemp("one")
    finish(study_in(one, SCORED))
    with searching(study_in(home, SCORED), "--workers", "2") as search:
        told, _ = ended(search)
    kept = ("trial", "n_epochs", "params", "score", "standard_error", "validated")
    assert {k: told["decision"][k] for k in kept} == {k: answer_in(one)[k] for k in kept}
    assert "val_roc_auc" in told["decision"]["validated"]
    _, trials = runs_of(home)
    assert all("fold_2/val_roc_auc" in run.data.metrics for run in trials)


class Stub:
    """A worker that ends so often with its memory grown, and then for good."""

    name, log, is_waiting = "1", "log", False

    def __init__(self, n_renewals: int) -> None:
        self.n_left, self.n_starts, self.is_at_work = n_renewals, 0, True

    def start(self) -> None:
        self.n_starts += 1
        self.n_left -= 1
        self.is_at_work = True

    def ended(self) -> End | None:
        if not self.is_at_work:
            return None
        self.is_at_work = False
        return End(ExitCode.SUCCESS, {"ceiling_reached": self.n_left > 0})


def session_for(heard: Heard) -> Any:
    """Stand for a session in which no trial ever ends."""
    return SimpleNamespace(
        stop=None,
        display=heard,
        finished=SimpleNamespace(all=tuple),
        spec=SimpleNamespace(budget=Budget()),
        spending=SimpleNamespace(ended_by=""),
    )


@pytest.mark.parametrize(("is_over", "n_starts"), [(False, 9), (True, 0)])
def test_a_worker_that_has_grown_is_renewed_while_there_is_work_and_has_not_died(
    is_over, n_starts, monkeypatch
):
    monkeypatch.setattr(workers, "POLL_SECS", 0.0)
    monkeypatch.setattr(workers, "is_over", lambda session: is_over)
    heard, stub = Heard(), Stub(9)
    watch = SimpleNamespace(look=lambda: 0, before=())
    workers._attend(cast(Any, [stub]), cast(Any, watch), session_for(heard))
    assert stub.n_starts == n_starts
    assert heard.lines == ["worker 1 has grown too large: renewed"] * n_starts


@pytest.mark.long
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_process_that_has_grown_too_large_is_renewed_until_all_is_trained(home, n_workers):
    """Each architecture takes 4 · 50 MB that nothing gives back, and a process may grow by 100."""
    study = study_in(home)
    text = study.read_text().replace(
        "    import keras\n", "    import keras\n\n    HOARD.append(b'x' * 50_000_000)\n"
    )
    text = text.replace("N_ROWS = 60", "N_ROWS = 60\nHOARD = []")
    text = text.replace(
        "IntDistribution(40, 60),", "3, 'units': CategoricalDistribution(range(99)),"
    )
    study.write_text(text)
    with searching(study, "--workers", str(n_workers), "--trials", "5", start=LIMITED) as search:
        told, said = ended(search)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
    assert "has grown too large: renewed" in said
    assert ("this process has grown too large: 1 worker(s)" in said) == (n_workers == 1)
    assert "was ended by" not in said
    assert sum(line.startswith("trial  ") for line in said.splitlines()) == 5
    assert told["costs"]["trials"]["completed"] == 5
    assert not claimed(home)


@pytest.mark.long
def test_a_worker_killed_among_three_is_replaced_and_a_signal_stops_all(home, alone):
    study = study_in(home)
    with searching(study, "--workers", "3") as search:
        at_work = until(lambda: len(now := children(search.pid)) == 3 and now)
        until(stored(study, is_being_trained))
        os.kill(at_work[0], signal.SIGKILL)
        until(lambda: len(now := children(search.pid)) == 3 and at_work[0] not in now)
        at_work = children(search.pid)
        search.send_signal(signal.SIGTERM)
        told, said = ended(search)
    assert told["exit_code"] == ExitCode.INTERRUPTED
    assert "worker 1 was ended by SIGKILL; another takes its place" in said
    assert not any(command_of(pid) for pid in at_work)
    assert runs_of(home)[0].info.status == "KILLED"
    finish(study)
    assert_as_alone(home, alone)


@pytest.mark.long
def test_workers_stop_with_their_supervisor(home, alone):
    study = study_in(home)
    with searching(study, "--workers", "2") as search:
        at_work = until(lambda: len(now := children(search.pid)) == 2 and now)
        until(stored(study, is_being_trained))
        search.kill()
    until(lambda: not any(b"pipeline.worker" in command_of(pid) for pid in at_work), secs=60)
    n_finished = len(finished(stored(study, lambda found: found)(), load_study(study)))
    assert n_finished < N_TRIALS
    finish(study)
    assert_as_alone(home, alone)


@pytest.mark.long
def test_one_that_joined_goes_on_and_answers_when_the_first_dies(home, alone):
    study = study_in(home)
    with two_at_once(study) as processes:
        (note,) = home.glob("mlruns/studies/*/holder.json")
        holder = json.loads(note.read_text())["pid"]
        first, second = sorted(processes, key=lambda process: process.pid != holder)
        assert first.pid == holder
        first.kill()
        told, said = ended(second)
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
    assert told["costs"]["trials"]["completed"] == N_TRIALS
    assert "goes on, unstopped" in said  # it gave the answer
    assert_as_alone(home, alone)


@pytest.mark.long
def test_one_that_joined_gives_the_same_answer_as_the_first(home, alone):
    with two_at_once(study_in(home)) as processes:
        (one, one_said), (other, other_said) = map(ended, processes)
    assert one["exit_code"] == other["exit_code"]
    kept = ("epochs", "learning_rate", "splits_hash", "trials")
    assert {k: one["decision"].get(k) for k in kept} == {k: other["decision"].get(k) for k in kept}
    assert "trial  " in one_said
    assert "trial  " in other_said
    assert (one_said + other_said).count("goes on, unstopped") == 1
    assert_as_alone(home, alone)


@pytest.mark.long
def test_budgets_count_every_workers_epochs(home):
    study = study_in(home)
    with searching(study, "--workers", "2", "--max-fold-epochs", "450") as search:
        told, _ = ended(search)
    assert told["exit_code"] != ExitCode.FAILED
    assert told["decision"]["budget_over"] == "max_fold_epochs=450"
    # An epoch of three folds too many by each of two workers, and what the answer keeps back.
    assert 200 <= told["costs"]["fold_epochs"] <= 450 + 2 * 3


@pytest.mark.long
def test_what_ends_a_worker_ends_the_search_with_its_reason(home):
    study = study_in(home)
    text = study.read_text()
    study.write_text(text.replace("def load_data():", "def load_data():\n    broken()").replace(
        "N_ROWS = 60",
        "N_ROWS = 60\ndef broken():\n    import sys\n"
        "    assert 'pipeline.worker' not in ' '.join(sys.orig_argv), 'not in a worker'",
    ))  # fmt: skip
    with searching(study, "--workers", "2") as search:
        told, _ = ended(search)
    assert told["exit_code"] == ExitCode.BAD_INPUT
    assert "not in a worker" in told["error"]
