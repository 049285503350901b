"""Nodes that share no folder, on a database server and a tracking server, with real kills."""

import contextlib
import os
import signal

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.batch import StopRequest
from pipeline.cli_jobs import worker_options
from pipeline.errors import AnotherRunActive, BadInput, ExitCode
from pipeline.nodes import RECORD, check_versions, differences
from pipeline.on_ray.actor import about_node
from pipeline.optimization import StudyLock, finished, read_study
from pipeline.progress import Display
from pipeline.search import search
from pipeline.study_file import load_study
from pipeline.worker import worked
from tests import kill
from tests.nodes import (
    PATIENCE_SECS,
    assert_as_alone,
    decided,
    ended,
    folder_of,
    searched_alone,
    start,
)
from tests.postgres import PASSWORD
from tests.test_ladder_workers import study_in as ladder_in
from tests.test_workers import N_TRIALS, children, study_in, until
from tests.tiny_study import bits, tiny, write_study


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return what a search comes to that nothing happens to."""
    return searched_alone(tmp_path_factory.mktemp("alone"))


def test_a_search_in_a_server_is_the_one_in_a_journal(home, database):
    spec = tiny(home, fields="dict(test_size=0.2)")
    expected = bits(search(spec))
    in_server = search(spec, storage=database)
    assert bits(in_server) == expected
    again = search(spec, storage=database)
    assert bits(again) == expected
    assert again.refit.model_uri == in_server.refit.model_uri  # it was not made again
    study = read_study(database, f"tiny-{in_server.signature}")
    assert {trial.user_attrs["claim"] is None for trial in study.trials} == {False}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (
            lambda url: url.replace(PASSWORD, "wr0ng"),
            "authentication failed|Access denied",
        ),
        (lambda url: "postgresql+pg8000://me:wr0ng@host/study", "must be postgresql://"),
    ],
)
def test_a_wrong_server_is_told_before_the_data_are_loaded(address, reason, home, database):
    path = write_study(home)
    loads = 'def load_data():\n    raise RuntimeError("loaded")\n'
    path.write_text(path.read_text().replace("def load_data():\n", loads))
    spec = load_study(path)
    with pytest.raises(BadInput, match=reason) as error:
        search(spec, storage=address(database))
    assert "wr0ng" not in str(error.value)


@pytest.mark.parametrize(
    "tell",
    [
        lambda study, url: about_node(study, ".", None, url),
        lambda study, url: worked(
            worker_options([study, "--question", "tiny-1", "--storage", url]),
            Display(),
            StopRequest(),
        ),
    ],
    ids=["asked by the head", "at work"],
)
def test_a_worker_elsewhere_that_cannot_use_the_server_says_so_before_it_loads_data(
    tell, home, database
):
    path = write_study(home)
    path.write_text(path.read_text().replace("def load_data():", "def load_data():\n    1 / 0"))
    with pytest.raises(BadInput, match=r"authentication failed|Access denied"):
        tell(str(path), database.replace(PASSWORD, "wr0ng"))


def test_the_variable_of_optuna_names_the_server(home, monkeypatch):
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://me:wr0ng@nowhere.invalid/study")
    with pytest.raises(BadInput, match=r"me:\*\*\*@nowhere.invalid"):
        search(tiny(home))


def test_who_holds_the_study_on_another_node_is_named(home, database):
    from pipeline.question import pose

    spec = tiny(home)
    lock = StudyLock(database, spec.name, pose(spec).name)
    assert lock.acquire()
    with pytest.raises(AnotherRunActive, match=rf"{os.getpid()} \(host, process\)"):
        search(spec, storage=database)
    lock.release()


class Study:
    """Stands for Optuna's, with what its holder wrote down."""

    def __init__(self, **versions):
        self.user_attrs = {RECORD: {"host": "head", "versions": versions}}


def test_versions_that_differ_are_named_with_both_nodes(monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "second")
    monkeypatch.setattr(
        "pipeline.tracking.versions", lambda: {"keras": "3.15.1", "optuna": "5.0.0"}
    )
    monkeypatch.setattr("pipeline.nodes.INTRODUCTION_SECS", 0.0)
    check_versions(Study(keras="3.15.1", optuna="5.0.0"))
    with pytest.raises(BadInput, match=r"on second, which joins head: keras 3\.15\.1 here and 3"):
        check_versions(Study(keras="3.14.0", optuna="5.0.0"))


def test_differences_of_two_studies_are_named():
    mine = {
        "source": "a", "data_fingerprint": "1", "rows": {"development": 60, "test": 0},
        "fields": {"seed": "0", "budget": "3", "batch_size": "16"},
    }  # fmt: skip
    theirs = {
        "source": "b", "data_fingerprint": "2", "rows": {"development": 50, "test": 9},
        "fields": {"seed": "0", "budget": "9", "batch_size": "32"},
    }  # fmt: skip
    assert differences(mine, mine) == []
    assert differences(mine, theirs) == [
        "the code of the study file, or of what it imports",
        "the data, 60 rows here and 59 there",
        "batch_size, 16 here and 32 there",
    ]


@pytest.mark.long
def test_two_nodes_train_one_study_and_one_with_other_data_is_refused(
    home, database, tracking_server, alone
):
    nodes = [study_in(folder_of(home, name)) for name in ("one", "two", "three")]
    nodes[2].write_text(nodes[2].read_text().replace("N_ROWS = 60", "N_ROWS = 61"))
    first = [
        start(node, database, "--if-running", "join", tracking=tracking_server.url)
        for node in nodes[:2]
    ]
    begun = until(lambda: list(home.glob("one/mlruns/studies/tiny-*")), secs=200)
    assert begun
    other = start(nodes[2], database, "--if-running", "join", tracking=tracking_server.url)
    told, _ = ended(other)
    assert told["exit_code"] == ExitCode.BAD_INPUT
    assert "the data, 61 rows here and 60 there" in told["error"]
    answers = [ended(process) for process in first]
    for told, _ in answers:
        assert_as_alone(told, alone, database)
    assert answers[0][0]["decision"]["refit"] == answers[1][0]["decision"]["refit"]
    said = "".join(said for _, said in answers)
    assert said.count("refit on ") == 1
    for number in range(N_TRIALS):
        assert said.count(f"trial {number:3d}  completed") == 1
    client = MlflowClient(tracking_server.url)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    names = [run.info.run_name for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(names) == [f"trial {n:03d}" for n in range(N_TRIALS)]


@pytest.mark.long
def test_two_nodes_climb_one_ladder(home, database, tracking_server):
    """A trial that paused on one node goes on on the other, to the bits that it would have had."""
    whole = folder_of(home, "whole")
    kill.finish(ladder_in(whole, "None"))
    expected = kill.curves_in(whole)
    studies = [ladder_in(folder_of(home, name)) for name in ("one", "two")]
    processes = [
        start(study, database, "--if-running", "join", tracking=tracking_server.url)
        for study in studies
    ]
    answers = [ended(process) for process in processes]
    for told, said in answers:
        assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), told["error"]
        assert " paused " in said
    assert decided(answers[0][0]) == decided(answers[1][0])
    name = f"tiny-{answers[0][0]['decision']['signature']}"
    trials = finished(read_study(database, name), load_study(studies[0]))
    assert [trial.number for trial in trials] == list(expected)
    for trial in trials:
        curves = trial.curves
        assert curves is not None
        whole_curves = expected[trial.number][2].values[list(curves.folds)]
        assert np.array_equal(curves.values, whole_curves[:, : curves.n_epochs])


def search_as_node(study, environment, point, call):
    """Search as a node that dies at a point, or does not where there is none."""
    os.environ.update(environment)
    kill.keep_every_epoch()
    if point:
        kill.wrap(point, lambda function: kill._dying(function, kill.POINTS[point][2], call))
    search(load_study(study), if_running="join", store_patience_secs=PATIENCE_SECS)


def node(study, environment, point="", call=0):
    process = kill.CONTEXT.Process(target=search_as_node, args=(study, environment, point, call))
    process.start()
    process.join(timeout=240)
    return process.exitcode


@pytest.mark.long
@pytest.mark.parametrize(
    ("point", "call"), [("before report", 5), ("before tell", 2), ("after tell", 2), ("winner", 1)]
)
def test_what_a_dead_node_was_at_goes_on_elsewhere(
    point, call, home, database, tracking_server, uninterrupted
):
    environment = {"OPTUNA_STORAGE": database, "MLFLOW_TRACKING_URI": tracking_server.url}
    one, two = (write_study(folder_of(home, name), fields=kill.FIELDS) for name in ("one", "two"))
    assert node(one, environment, point, call) == -signal.SIGKILL
    assert node(two, environment) == 0
    answer, n_epochs = uninterrupted
    assert kill.answer_in(two.parents[1]) == answer
    client = MlflowClient(tracking_server.url)
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    trials = {int(r.data.tags["trial"]): r for r in runs if "trial" in r.data.tags}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for number, run in trials.items():
        logged = client.get_metric_history(run.info.run_id, "val_loss_mean")
        assert [metric.step for metric in logged] == list(range(1, n_epochs[number] + 1))


@pytest.mark.long
def test_a_worker_that_is_killed_loses_nothing(home, database, alone):
    process = start(study_in(folder_of(home, "one")), database, "--workers", "2")
    (victim, *_) = until(lambda: children(process.pid))
    study_name = f"tiny-{alone[2]}"

    def is_training():
        with contextlib.suppress(Exception):
            trials = read_study(database, study_name).trials
            return any(len(t.intermediate_values) > 5 for t in trials if not t.state.is_finished())

    until(is_training)
    os.kill(victim, signal.SIGKILL)
    told, said = ended(process)
    assert "was ended by SIGKILL; another takes its place" in said
    assert_as_alone(told, alone, database)


@pytest.mark.long
def test_a_node_that_logs_elsewhere_is_refused(home, database, tracking_server):
    one, two = (study_in(folder_of(home, name)) for name in ("one", "two"))
    for each in (one, two):  # long enough for the second to meet the first
        each.write_text(each.read_text().replace("IntDistribution(40, 60)", "800"))
    first = start(one, database, "--if-running", "join", tracking=tracking_server.url)
    until(lambda: list(home.glob("one/mlruns/studies/tiny-*")), secs=200)
    told, _ = ended(start(two, database, "--if-running", "join"))
    assert told["exit_code"] == ExitCode.BAD_INPUT
    assert "all nodes must log to one tracking server, got sqlite:///" in told["error"]
    assert tracking_server.url in told["error"]
    first.kill()
    first.communicate()
