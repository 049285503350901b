"""A disk that is full or read-only half-way: one sentence, and the search goes on afterwards."""

import shutil

import pytest

from pipeline.errors import ExitCode
from tests.faults import (
    BALLAST,
    command,
    ended,
    fill,
    make_read_only,
    refuse_to_grow,
    search_until,
    small_disk,
    unmount,
)
from tests.kill import FIELDS, answer_in, assert_mlflow_tells_the_truth, finish
from tests.tiny_study import write_study

PATIENCE = ["--store-patience", "1s"]

WHERE = [("report", 4)]

EVERYWHERE = [
    *(("start", 1), ("ask", 1), ("ask", 2), ("run created", 2), ("epoch", 3), ("logging", 2)),
    *(("snapshot", 2), ("journal line", 5), ("before tell", 1), ("after tell", 2), ("winner", 1)),
    *(("decision", 1), ("decision", 2), ("fold models", 1), ("registration", 1)),
    *(("last words", 1), ("row losses", 1), ("winner's curve", 1), ("refit", 1)),
]

STORES = ["--tracking-uri", "sqlite:///runs/mlflow.db", "--storage", "{home}/trials/journal.log"]

READ_ONLY = [("trials", "report", 5)]

MORE_READ_ONLY = [
    *(("runs", "report", 4), ("runs", "refit", 1), (".", "epoch", 3)),
    *(("runs", "before tell", 3), ("trials", "before tell", 3), ("trials", "ask", 2)),
    *((".", "before tell", 2), (".", "winner", 1), (".", "refit", 1), (".", "last words", 1)),
]


def in_ci_and_long(in_ci, long):
    return [*in_ci, *(pytest.param(*case, marks=pytest.mark.long) for case in long)]


def assert_one_sentence(code, said):
    assert code == ExitCode.STORE_UNAVAILABLE, said
    assert sum(line.startswith("error: ") for line in said.splitlines()) == 1, said
    assert "Traceback" not in said, said


def assert_as_uninterrupted(home, uninterrupted):
    answer, n_epochs = uninterrupted
    assert answer_in(home) == answer
    assert_mlflow_tells_the_truth(home, n_epochs)


@pytest.fixture
def disk(tmp_path, migrated_database):
    with small_disk(tmp_path / "disk", megabytes=16) as home:
        (home / "mlruns").mkdir()
        shutil.copy(migrated_database, home / "mlruns" / "mlflow.db")
        yield home


@pytest.mark.parametrize(("point", "call"), in_ci_and_long(WHERE, EVERYWHERE))
def test_a_full_disk_ends_the_search_which_goes_on_when_there_is_room(
    disk, uninterrupted, point, call
):
    study = write_study(disk, fields=FIELDS)
    options = [str(study), *PATIENCE]
    assert_one_sentence(*ended(search_until, options, fill, disk, point, call))
    assert_one_sentence(*ended(command, options))
    (disk / BALLAST).unlink()
    finish(study)
    assert_as_uninterrupted(disk, uninterrupted)


@pytest.mark.parametrize(
    ("point", "call"), in_ci_and_long([], [("report", 5), ("registration", 1)])
)
def test_so_does_a_limit_on_the_size_of_files(home, uninterrupted, point, call):
    study = write_study(home, fields=FIELDS)
    options = [str(study), *PATIENCE]
    assert_one_sentence(*ended(search_until, options, refuse_to_grow, home, point, call))
    finish(study)
    assert_as_uninterrupted(home, uninterrupted)


@pytest.mark.parametrize(("folder", "point", "call"), in_ci_and_long(READ_ONLY, MORE_READ_ONLY))
@pytest.mark.long
def test_a_store_that_becomes_read_only_ends_the_search_which_goes_on_when_it_can_be_written(
    disk, migrated_database, uninterrupted, folder, point, call
):
    study = write_study(disk, fields=FIELDS)
    for name in ("runs", "trials"):
        (disk / name).mkdir()
    shutil.copy(migrated_database, disk / "runs" / "mlflow.db")
    options = [str(study), *PATIENCE, *(each.format(home=disk) for each in STORES)]
    assert_one_sentence(*ended(search_until, options, make_read_only, disk / folder, point, call))
    assert_one_sentence(*ended(command, options))
    unmount(disk / folder)
    code, said = ended(command, options)
    assert code in (ExitCode.SUCCESS, ExitCode.UNDETERMINED), said
    shutil.copy(disk / "runs" / "mlflow.db", disk / "mlruns" / "mlflow.db")
    assert_as_uninterrupted(disk, uninterrupted)
