"""Workers as actors of a Ray cluster: where they are placed, what is refused, real nodes lost."""

import json
import os
import platform
import signal
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import workers
from pipeline.cli import check_together, search_options
from pipeline.crew import Crew, End
from pipeline.errors import BadInput, ExitCode, StoreUnavailable
from pipeline.on_ray.actor import about_node, handed_on
from pipeline.on_ray.places import Node, placed
from pipeline.optimization import finished
from pipeline.study_file import load_study
from tests.crew import ROOT, is_being_trained, searching, stored, until
from tests.kill import FIELDS, answer_in, finish
from tests.nodes import begun_in
from tests.ray_cluster import actors_of, add_node, running_cluster
from tests.test_workers import N_TRIALS, assert_as_alone, session_for, study_in
from tests.tiny_study import Heard, runs_of, tiny, write_study

ANSWERED = (ExitCode.SUCCESS, ExitCode.UNDETERMINED)


def nodes_with(*resources: dict[str, float]) -> list[Node]:
    return [Node(f"node {n}", str(n), each) for n, each in enumerate(resources)]


BIG, SMALL = {"CPU": 8.0, "memory": 1e10}, {"CPU": 2.0}
GPUS = {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("has", "n_workers", "needs", "n", "n_places"),
    [
        ([BIG], 1, {"CPU": 5}, 1, 1),  # no more than there are folds
        ([BIG], 2, {"CPU": 4}, 2, 2),  # no fewer places than workers
        ([BIG, SMALL], 4, {"CPU": 2}, 4, 5),
        ([SMALL], 8, {"CPU": 1}, 8, 2),  # the others wait
        ([BIG, BIG], "auto", {"CPU": 5}, 2, 2),
        ([SMALL, SMALL, SMALL], "auto", {"CPU": 2}, 3, 3),
        ([BIG] * 30, "auto", {"CPU": 5}, 20, 30),  # no more than trials
        ([GPUS, SMALL], "auto", {"CPU": 4, "GPU": 1}, 2, 2),
        ([GPUS, SMALL], 2, {"CPU": 4, "GPU": 1}, 2, 2),
        ([GPUS, GPUS], 1, {"CPU": 5, "GPU": 2}, 1, 2),  # folds are spread, but not over nodes
        ([GPUS], 3, {"CPU": 2, "GPU": 0.5}, 3, 4),
        ([GPUS], 6, {"CPU": 1, "GPU": 0.3333}, 6, 6),
    ],
)
def test_a_worker_gets_what_its_folds_keep_busy_and_leaves_room_for_the_others(
    has, n_workers, needs, n, n_places
):
    found = placed("auto", nodes_with(*has), n_workers, most_cpus=5, n_trials=20)
    assert (found.needs, found.n_workers, found.n_places) == (needs, n, n_places)
    # One more on the GPU is the process that answers.
    assert found.gpu_share == {0.5: 1 / 3, 0.3333: 1 / 4}.get(needs.get("GPU", 1), 1.0)


def test_what_was_given_is_what_each_needs_and_must_fit_somewhere():
    nodes = nodes_with(GPUS, BIG)

    def placed_with(needs, n_workers=1):
        return placed("auto", nodes, n_workers, most_cpus=5, n_trials=20, needs=needs)

    found = placed_with({"CPU": 2.0, "GPU": 0.5}, "auto")
    assert (found.n_workers, found.n_cpus, found.n_on_a_node, found.n_gpus) == (4, 2, 4, 1)
    with pytest.raises(BadInput, match=r"got GPU=4: node 0 has CPU=8, GPU=2; node 1 has CPU=8$"):
        placed_with({"GPU": 4.0})
    with pytest.raises(BadInput, match="must fit on a node"):
        placed("auto", nodes_with({"CPU": 0.0}), 1, most_cpus=5, n_trials=20)


def test_what_a_node_must_have_is_told(tmp_path):
    from pipeline.on_ray.survey import problem_of

    study = tmp_path / "study.py"
    about = about_node(str(study), str(tmp_path), str(tmp_path / "marker"))
    mine, now = about["versions"], about["time"]
    assert problem_of(about, mine, now, now) == f"have the study file {study}; it is missing"
    study.touch()
    about = about_node(str(study), str(tmp_path), str(tmp_path / "marker"))
    assert "need --storage postgresql://" in problem_of(about, mine, now, now)
    about = about_node(str(study), str(tmp_path), None)
    assert problem_of(about, mine, about["time"], about["time"]) == ""
    wrong = problem_of(about, {**mine, "keras": "9.9"}, about["time"], about["time"])
    assert wrong == f"have the head's versions, got keras {mine['keras']} there and 9.9 here"
    assert "got 99 s" in problem_of(about, mine, about["time"] + 99, about["time"] + 100)
    assert "got 99 s" in problem_of(about, mine, about["time"] - 100, about["time"] - 99)


def test_variables_that_change_bits_go_along_and_no_secret_does():
    given = {"TF_ENABLE_ONEDNN_OPTS": "0", "XLA_FLAGS": "", "PGPASSWORD": "s", "PATH": "/bin"}
    assert handed_on(given) == {"TF_ENABLE_ONEDNN_OPTS": "0", "XLA_FLAGS": ""}


@pytest.mark.parametrize("text", ["CPU", "CPU=0", "GPU=1.5", "=1", "CPU=two"])
def test_resources_that_ray_cannot_count_are_refused(text, capsys):
    with pytest.raises(SystemExit) as exited:
        search_options(["--ray", "--ray-resources", text])
    assert exited.value.code == ExitCode.BAD_INPUT
    assert "as CPU=4,GPU=0.5" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--ray-resources", "CPU=1"], ["--ray", "--nested", "3"]])
def test_options_that_need_each_other_or_do_not_go_together(arguments):
    with pytest.raises(BadInput, match="--ray"):
        check_together(search_options(["digits", *arguments]))


def crew_of(home, *arguments):
    study = str(write_study(home))
    return Crew.of(search_options([study, *arguments]), tiny(home), home)


def test_a_cluster_for_the_search_is_this_machine_and_is_not_started_to_say_so(home, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("pipeline.crew.n_cores", lambda: 7)
    monkeypatch.setenv("OPTUNA_STORAGE", "study.log")
    crew = crew_of(home, "--ray", "--workers", "2")
    assert (crew.share.threads, crew.is_apart) == (3, True)
    assert "--storage=study.log" in crew.arguments  # a node has not this process's variables
    assert str(crew.placement) == (
        "2 worker(s) on Ray started on this machine, 1 node(s) with room for 2, each with CPU 3"
    )
    assert crew_of(home, "--ray").share.threads is None  # as one that trains alone


def test_a_ray_that_is_not_installed_is_told_with_its_extra(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "pipeline.on_ray.survey", None)
    with pytest.raises(BadInput, match=r"pip install 'epoch-pipeline\[ray\]'"):
        crew_of(home, "--ray")


@pytest.mark.parametrize(
    ("address", "kind", "reason"),
    [
        ("ray://head:10001", BadInput, "must be HOST:PORT"),
        ("head", BadInput, "must be HOST:PORT"),
        ("nowhere.invalid:6379", BadInput, "cannot be reached"),
        ("127.0.0.1:PORT", StoreUnavailable, "Connection refused"),
    ],
)
def test_a_cluster_that_does_not_answer_is_told_soon(address, kind, reason, home):
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("127.0.0.1", 0))
        address, start = address.replace("PORT", str(bound.getsockname()[1])), time.monotonic()
        with pytest.raises(kind, match=reason):
            crew_of(home, "--ray", address)
    assert time.monotonic() < start + 20


def test_a_cluster_whose_head_is_gone_for_a_moment_is_waited_for():
    from pipeline.on_ray.connection import LOOK_SECS, SILENCE_SECS, Pulse

    now = [0.0]
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        pulse = Pulse(f"127.0.0.1:{head.getsockname()[1]}", clock=lambda: now[0])
        now[0] = 1000.0
        pulse.check()
    now[0] += LOOK_SECS
    pulse.check()
    now[0] += SILENCE_SECS - LOOK_SECS
    pulse.check()
    now[0] += LOOK_SECS
    with pytest.raises(StoreUnavailable, match="nothing has answered for 20 s"):
        pulse.check()


class Waits:
    """A worker for which there is no place."""

    name, log, is_waiting, is_at_work = "2", "log", True, True

    def ended(self):
        return None

    def end(self):
        self.is_waiting = self.is_at_work = False


class Ends:
    """A worker that dies so often, then ends well."""

    name, log, is_waiting, is_at_work = "1", "log", False, True

    def __init__(self, n_deaths: int) -> None:
        self.n_left = n_deaths

    def start(self) -> None:
        self.is_at_work = True

    def ended(self):
        if not self.is_at_work:
            return None
        self.is_at_work, self.n_left = False, self.n_left - 1
        return End(ExitCode.SUCCESS) if self.n_left < 0 else End(None, died_of="a test")


def test_who_waits_for_a_place_is_counted_and_sent_home_at_the_end(monkeypatch):
    monkeypatch.setattr(workers, "POLL_SECS", 0.01)
    monkeypatch.setattr(workers, "PLACE_SECS", 0.0)
    monkeypatch.setattr(workers, "is_over", lambda session: False)
    heard = Heard()
    watch = SimpleNamespace(look=lambda: 0, before=())
    crew = cast(Any, [Ends(1), Waits()])
    assert workers._attend(crew, cast(Any, watch), session_for(heard))
    assert heard.lines == [
        "worker 1 was ended by a test; another takes its place",
        "2 worker(s): 1 of them wait for a place in Ray's cluster",
    ]


def two_at_work(search, home):
    """Return the processes of two actors, once they are there."""
    return until(lambda: search.poll() is not None or (len(n := actors_of(home)) == 2 and n))


def ended(process):
    """Return what a command told, and what it said; Ray's own words are none of it."""
    told, said = process.communicate(timeout=240)
    for word in ("Traceback", "raylet", "Token authentication", "\033"):
        assert word not in said, said
    return json.loads(told), said


@pytest.fixture(scope="module")
def cluster():
    with running_cluster(1, 1) as running:
        yield running


def test_two_nodes_find_what_one_process_finds(home, cluster, uninterrupted):
    study = write_study(home, fields=FIELDS)
    with searching(study, "--workers", "2", "--ray", cluster.address) as search:
        actors = two_at_work(search, home)
        told, said = ended(search)
    assert told["exit_code"] in ANSWERED
    assert f"on Ray at {cluster.address}, 2 node(s) with room for 2, each with CPU 1 and 1 " in said
    assert_as_alone(home, uninterrupted)
    logs = [path.read_text() for path in home.glob("mlruns/studies/*/workers/[12].log")]
    assert any("trial  " in log for log in logs)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in actors), secs=20)


@pytest.mark.long
def test_one_worker_is_the_search_in_one_process_bit_for_bit(home, uninterrupted):
    with searching(write_study(home, fields=FIELDS), "--ray", "local") as search:
        told, said = ended(search)
    assert told["exit_code"] in ANSWERED
    assert "1 worker(s) on Ray started on this machine, 1 node(s)" in said
    assert answer_in(home) == uninterrupted[0]


@pytest.mark.long
def test_a_node_of_other_versions_is_refused_by_name_before_training(home, tmp_path):
    package = tmp_path / "other" / "keras-9.9.9.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Name: keras\nVersion: 9.9.9\n")
    path = os.pathsep.join([str(package.parent), str(ROOT)])
    with running_cluster(1) as cluster:
        add_node(cluster, 1, env_vars={"PYTHONPATH": path})
        with pytest.raises(BadInput, match=r"got keras 9\.9\.9 there and 3\..* here, on ") as error:
            crew_of(home, "--ray", cluster.address)
    assert platform.node() in str(error.value)


@pytest.mark.long
def test_more_workers_than_places_are_said_to_wait_and_the_search_ends(home, cluster, alone):
    with searching(study_in(home), "--workers", "3", "--ray", cluster.address) as search:
        told, said = ended(search)
    assert told["exit_code"] in ANSWERED
    assert "3 worker(s): 1 of them wait for a place in Ray's cluster" in said
    assert_as_alone(home, alone)


@pytest.mark.long
def test_an_actor_that_has_grown_too_large_is_renewed(home, cluster):
    study = write_study(home, fields="dict(budget=Budget(n_trials=2))")
    grown = "from pipeline.machine import Ceiling\n"
    grown += "Ceiling.look = lambda ceiling: setattr(ceiling, 'is_reached', True)\n"
    study.write_text(grown + study.read_text())
    with searching(study, "--ray", cluster.address) as search:
        told, said = ended(search)
    assert told["exit_code"] in ANSWERED
    assert "has grown too large: renewed" in said
    assert told["costs"]["trials"]["completed"] == 2


@pytest.mark.long
def test_an_actor_that_is_killed_is_started_again_and_a_signal_stops_all(home, cluster, alone):
    study = study_in(home)
    with searching(study, "--workers", "2", "--ray", cluster.address) as search:
        actors = two_at_work(search, home)
        until(stored(study, is_being_trained))
        os.kill(actors[0], signal.SIGKILL)
        now = until(lambda: len(now := actors_of(home)) == 2 and actors[0] not in now and now)
        search.send_signal(signal.SIGTERM)
        told, said = ended(search)
    assert told["exit_code"] == ExitCode.INTERRUPTED
    assert "was ended by the loss of its process or of its node; another takes its place" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in now)
    assert runs_of(home)[0].info.status == "KILLED"
    finish(study)
    assert_as_alone(home, alone)


@pytest.mark.long
def test_actors_end_with_the_head_and_the_same_command_continues(home, cluster, alone):
    study = study_in(home)
    with searching(study, "--workers", "2", "--ray", cluster.address) as search:
        two_at_work(search, home)
        until(stored(study, is_being_trained))
        search.kill()
    until(lambda: not actors_of(home), secs=60)
    n_finished = len(finished(stored(study, lambda found: found)(), load_study(study)))
    assert n_finished < N_TRIALS
    with searching(study, "--workers", "2", "--ray", cluster.address) as search:
        told, _ = ended(search)
    assert told["exit_code"] in ANSWERED
    assert_as_alone(home, alone)


@pytest.mark.long
def test_what_was_trained_on_a_node_that_is_lost_goes_on_elsewhere(home, database, alone):
    study = study_in(home)
    with running_cluster(1) as cluster:
        node = add_node(cluster, 1)
        options = ["--storage", database, "--store-patience", "2s", "--ray", cluster.address]
        with searching(study, "--workers", "2", *options) as search:
            two_at_work(search, home)
            until(lambda: len(begun_in(database, alone[0]["signature"])) == 2)
            cluster.remove_node(node, allow_graceful=False)
            told, said = ended(search)
    assert told["exit_code"] in ANSWERED
    assert "was ended by the loss of its process or of its node" in said
    assert_as_alone(home, alone)


@pytest.mark.long
def test_what_ends_an_actor_ends_the_search_with_its_reason(home, cluster):
    study = write_study(home)
    study.write_text(
        study.read_text().replace(
            "def load_data():",
            "def load_data():\n    import sys\n"
            "    assert 'default_worker' not in str(sys.orig_argv), 'not in an actor'",
        )
    )
    with searching(study, "--ray", cluster.address) as search:
        told, _ = ended(search)
    assert told["exit_code"] == ExitCode.BAD_INPUT
    assert f"worker 1 on {platform.node()}: " in told["error"]
    assert "not in an actor" in told["error"]
