"""What befalls the database of a search, on real servers; see the table in pipeline/README.md."""

import platform
import threading
import time

import pytest

from pipeline.errors import ExitCode
from tests.mysql import MySQL
from tests.nodes import assert_as_alone, ended, folder_of, searched_alone, start
from tests.postgres import PASSWORD, Postgres, running_server
from tests.test_workers import study_in
from tests.tiny_study import write_study

KINDS = [Postgres, MySQL]
AWAY_SECS = 20.0
LONG_PATIENCE = ("--store-patience", "60s")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return what a search comes to that nothing happens to."""
    return searched_alone(tmp_path_factory.mktemp("alone"))


@pytest.fixture
def stoppable(request):
    """Return a server of the test's own."""
    with running_server(request.param) as server:
        yield server


each_kind = pytest.mark.parametrize("stoppable", KINDS, indirect=True)


def until_said(process, beginning):
    """Read what a process says until a line begins like this."""
    said = ""
    while not (line := process.stderr.readline()).startswith(beginning):
        said += line
        assert process.poll() is None, said


def stop_for(server, secs):
    server.stop("immediate")
    time.sleep(secs)
    server.start()


@pytest.mark.long
@pytest.mark.parametrize("n_workers", [1, 2])
@each_kind
def test_a_database_that_is_away_and_comes_back_loses_nothing(n_workers, home, alone, stoppable):
    storage = stoppable.new_database()
    workers = ("--workers", str(n_workers))
    process = start(study_in(folder_of(home, "one")), storage, *LONG_PATIENCE, *workers)
    until_said(process, "trial   2")
    stop_for(stoppable, AWAY_SECS)
    told, _ = ended(process)
    assert_as_alone(told, alone, storage)


@pytest.mark.long
@each_kind
def test_so_it_is_with_two_nodes(home, alone, stoppable, tracking_server):
    storage = stoppable.new_database()
    one, two = (
        start(
            study_in(folder_of(home, name)), storage, "--if-running", "join", *LONG_PATIENCE,
            tracking=tracking_server.url,
        )
        for name in ("one", "two")
    )  # fmt: skip
    until_said(one, "trial ")
    until_said(two, "trial ")
    stop_for(stoppable, AWAY_SECS)
    second: list = []
    reader = threading.Thread(target=lambda: second.append(ended(two)))
    reader.start()
    answers = [ended(one)]
    reader.join()
    for told, _ in answers + second:
        assert_as_alone(told, alone, storage)
    said = "".join(said for _, said in answers + second)
    assert said.count("refit on ") == 1


@pytest.mark.long
@each_kind
def test_one_that_stays_away_ends_the_search_readably_and_the_same_command_continues(
    home, alone, stoppable
):
    storage, study = stoppable.new_database(), study_in(folder_of(home, "one"))
    process = start(study, storage)
    until_said(process, "trial   2")
    stoppable.stop("immediate")
    told, _ = ended(process)
    assert told["exit_code"] == ExitCode.STORE_UNAVAILABLE
    assert "the study's storage cannot be used: " in told["error"]
    assert "start the same command: finished trials are kept" in told["error"]
    told, _ = ended(start(study, storage))
    assert told["exit_code"] == ExitCode.STORE_UNAVAILABLE  # it is still away
    stoppable.start()
    told, _ = ended(start(study, storage))
    assert_as_alone(told, alone, storage)


@pytest.mark.long
def test_of_two_that_begin_at_once_one_searches_and_the_other_one_is_told(home, alone, database):
    heads = [start(study_in(folder_of(home, name)), database) for name in ("one", "two")]
    told = sorted((ended(head)[0] for head in heads), key=lambda each: each["exit_code"])
    assert_as_alone(told[0], alone, database)
    assert told[1]["exit_code"] == ExitCode.ANOTHER_RUN_ACTIVE
    assert "another process is running this study: " in told[1]["error"]


@pytest.mark.long
def test_a_password_in_the_address_is_written_nowhere(home, database):
    study = write_study(folder_of(home, "one"))
    given = ("--storage", database, "--log-file", "log", "--workers", "2")
    told, _ = ended(start(study, "", *given))
    assert told["exit_code"] in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), told["error"]
    files = [path for path in home.rglob("*") if path.is_file()]
    assert home / "one" / "log" in files
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


# The same command on a node whose clock is ten minutes behind.
BEHIND = """
from datetime import UTC, datetime, timedelta

from pipeline import cli, ending
from pipeline.optimization import check_server

check_server.__kwdefaults__["clock"] = lambda: datetime.now(UTC) - timedelta(minutes=10)
ending.end_process("pipeline.search", cli.search_options())
"""


@pytest.mark.long
def test_a_node_whose_clock_is_wrong_is_refused_by_name_and_the_others_search_on(
    home, alone, database, tracking_server
):
    tracking = tracking_server.url
    one, two = (study_in(folder_of(home, name)) for name in ("one", "two"))
    first = start(one, database, "--if-running", "join", tracking=tracking)
    until_said(first, "trial ")
    joining = start(two, database, "--if-running", "join", tracking=tracking, code=BEHIND)
    told, _ = ended(joining)
    assert told["exit_code"] == ExitCode.BAD_INPUT
    assert f"the clock of {platform.node()} must be within 60 s" in told["error"]
    assert "s behind; let both be set by NTP" in told["error"]
    told, _ = ended(first)
    assert_as_alone(told, alone, database)
