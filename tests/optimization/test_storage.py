import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, StoreUnavailable
from pipeline.optimization import next_proposal, open_study, read_study
from pipeline.results import Outcome

FIRST_RECORD = b'{"op_code":0,"worker_id":"'


def test_a_fresh_journal_is_made_with_its_folders(make_spec, tmp_path):
    path = tmp_path / "deep" / "er" / "journal.log"
    study = open_study(path, "study", make_spec())
    assert study.trials == []
    assert path.read_bytes().startswith(FIRST_RECORD)


def test_the_direction_is_the_objectives(make_spec, tmp_path):
    from pipeline.objective import Objective

    spec = make_spec(objective=Objective("val_accuracy", "maximize"))
    assert open_study(tmp_path / "j.log", "study", spec).direction.name == "MAXIMIZE"


def test_the_same_name_is_the_same_study(make_spec, open_journal):
    spec = make_spec()
    next_proposal(open_journal(spec), spec)
    assert len(open_journal(spec).trials) == 1


def test_a_torn_last_line_is_cut_and_the_next_write_works(make_spec, open_journal, tmp_path):
    spec, path = make_spec(), tmp_path / "journal.log"
    study = open_journal(spec)
    next_proposal(study, spec).write_note("kept", 1)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":8,"worker_id":"half a rec')
    study = open_journal(spec)
    assert path.read_bytes().startswith(whole)
    assert b"half a rec" not in path.read_bytes()
    next_proposal(study, spec).write_note("next", 2)
    assert open_journal(spec).trials[0].user_attrs == {"kept": 1, "next": 2}


@pytest.mark.parametrize("n_bytes", [0, 1, 5, len(FIRST_RECORD)])
def test_a_journal_torn_in_its_first_line_begins_anew(n_bytes, make_spec, open_journal, tmp_path):
    (tmp_path / "journal.log").write_bytes(FIRST_RECORD[:n_bytes])
    assert open_journal(make_spec()).trials == []


def test_a_dead_writers_lock_is_not_waited_for(make_spec, open_journal, tmp_path):
    spec, path = make_spec(), tmp_path / "journal.log"
    next_proposal(study := open_journal(spec), spec).write_note("kept", 1)
    code = (
        "import os, sys, pathlib; from pipeline.optimization.journal import JournalLock\n"
        "path = pathlib.Path(sys.argv[1]); JournalLock(path).acquire()\n"
        'path.open(\'ab\').write(b\'{"op_code":8,"worker_id":"half a rec\')\n'
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.read_bytes().endswith(b"half a rec")
    start = time.monotonic()
    next_proposal(study, spec).write_note("next", 2)
    assert time.monotonic() - start < 5  # Optuna's own lock waits for 30 s
    assert open_journal(spec).trials[0].user_attrs == {"kept": 1, "next": 2}


def test_a_study_that_is_read_is_left_to_whoever_writes_it(make_spec, open_journal, tmp_path):
    spec, path = make_spec(), tmp_path / "journal.log"
    next_proposal(open_journal(spec), spec)
    torn = path.read_bytes() + b'{"op_code":8,"worker_id":"half a rec'
    path.write_bytes(torn)
    assert len(read_study(path, "study").trials) == 1
    assert path.read_bytes() == torn
    with pytest.raises(StoreUnavailable, match="must be in its storage"):
        read_study(path, "another")


@pytest.mark.parametrize(
    "content",
    [
        b'{"learning_rate": 0.1}',
        b"a,b\n1,2",
        b"hello\n",
        b"[1]\n",
        b"PK\x03\x04\n\xff\xfe\x00rest",
        b"\n",
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(content, make_spec, tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"journal file .*results.csv: .* no Optuna journal"):
        open_study(path, "study", make_spec())
    assert path.read_bytes() == content


def test_a_broken_line_inside_a_journal_is_refused(make_spec, open_journal, tmp_path):
    spec, path = make_spec(), tmp_path / "journal.log"
    next_proposal(open_journal(spec), spec)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:1], b"broken\n", *lines[1:]]))
    with pytest.raises(StoreUnavailable, match="JSONDecodeError"):
        open_journal(spec)


def cannot_be_written(tmp_path: Path) -> list[Path]:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    read_only = tmp_path / "read_only"
    read_only.mkdir(mode=0o500)
    # /proc takes no files, not even from root, who may write to a read-only folder.
    places = [tmp_path, file / "journal.log", Path("/proc/journal.log")]
    return places if os.geteuid() == 0 else [*places, read_only / "journal.log"]


def test_a_place_that_cannot_be_written_is_refused_in_one_line(make_spec, tmp_path):
    for path in cannot_be_written(tmp_path):
        with pytest.raises(StoreUnavailable, match=r"must be a writable journal file") as error:
            open_study(path, "study", make_spec())
        assert f"got {path}: " in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "kind", "reason"),
    [
        ("sqlite:////no/such/folder/study.db", StoreUnavailable, "unable to open database file"),
        ("mysql://me:s3cret@127.0.0.1:1/study", StoreUnavailable, "Connection refused"),
        ("mariadb://me:s3cret@127.0.0.1:1/study", StoreUnavailable, "Connection refused"),
        ("mysql+oursql://me:s3cret@127.0.0.1:1/study", BadInput, r"mysqldb://…\), got"),
        ("postgresql://me:s3cret@127.0.0.1:1/study", StoreUnavailable, "Connection refused"),
        (
            "postgresql://127.0.0.1:1/study?user=me&password=s3cret",
            StoreUnavailable,
            "Connection refused",
        ),
        ("postgresql://me:s3cret@nowhere.invalid/study", BadInput, "resolve host"),
        ("postgresql+pg8000://me:s3cret@127.0.0.1:1/study", BadInput, r"psycopg2://…\), got"),
        ("mysql://me:s3cr@et/s3cret@host:port/study", BadInput, "Name or service not known"),
        ("postgresql://me:s3cret@host:port/study", BadInput, "a journal file or a URL, got"),
        ("redis://:s3cret@localhost/0", BadInput, "driver of .* must be installed"),
        ("nonsense://", BadInput, "driver of .* must be installed"),
        ("://me:s3cret@host", BadInput, "a journal file or a URL, got"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_without_its_password(
    url, kind, reason, make_spec
):
    with pytest.raises(kind, match=reason) as error:
        open_study(url, "study", make_spec())
    text = str(error.value)
    assert mask_password(str(url)) in text
    assert "s3cr" not in text
    assert "\n" not in text


def test_an_error_that_holds_the_address_is_masked_too(make_spec, monkeypatch):
    import sqlalchemy.engine

    def refuse(url: object, **options: object) -> None:
        raise RuntimeError("cannot connect to oracle://me:s3cret@host/study\nmore")

    monkeypatch.setattr(sqlalchemy.engine, "create_engine", refuse)
    with pytest.raises(StoreUnavailable, match=r"to oracle://me:\*\*\*@host/study$"):
        open_study("oracle://me:s3cret@host/study", "study", make_spec())


def test_names_that_a_server_takes_for_one_are_refused(make_spec):
    spec = make_spec()
    twice = dataclasses.replace(spec, space={**spec.space, "Momentum": FloatDistribution(0.0, 1.0)})
    with pytest.raises(BadInput, match=r"more than case .* got 'momentum' and 'Momentum'"):
        open_study("mysql://me@127.0.0.1:1/study", "study", twice)
    with pytest.raises(StoreUnavailable, match="refused"):
        open_study("postgresql://me@127.0.0.1:1/study", "study", twice)


@pytest.mark.parametrize("name", ["study.db", "study.sqlite", "study.sqlite3"])
def test_a_sqlite_file_needs_its_scheme(name, make_spec, tmp_path):
    path = tmp_path / name
    with pytest.raises(BadInput, match=f"for SQLite write sqlite:///{path}"):
        open_study(path, "study", make_spec())
    assert not path.exists()


def test_a_sqlite_url_is_a_storage(make_spec, tmp_path):
    spec, url = make_spec(), f"sqlite:///{tmp_path / 'study.db'}"
    next_proposal(open_study(url, "study", spec), spec)
    assert len(open_study(url, "study", spec).trials) == 1


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mlruns/journal.log", "mlruns/journal.log"),
        (Path("mlruns/journal.log"), "mlruns/journal.log"),
        ("sqlite:///study.db", "sqlite:///study.db"),
        ("mysql://me@host/study", "mysql://***@host/study"),
        ("mysql://me:s3cret@host:3306/study", "mysql://me:***@host:3306/study"),
        ("postgresql://host/study?password=s3cret&x=1", "postgresql://host/study?password=***&x=1"),
    ],
)
def test_an_address_is_shown_without_its_password(address, shown):
    assert mask_password(str(address)) == shown


def test_reports_and_notes_do_not_wait_for_the_disk(
    make_spec, open_journal, result_of, monkeypatch
):
    waits: list[int] = []
    monkeypatch.setattr("os.fsync", waits.append)
    spec = make_spec()
    proposal = next_proposal(open_journal(spec), spec)
    n_before = len(waits)
    proposal.report(1, 0.7, horizon_free=True)
    proposal.write_note("kept", 1)
    assert len(waits) == n_before > 0
    kept = open_journal(spec).trials[0]
    assert (kept.intermediate_values, kept.user_attrs["kept"]) == ({1: 0.7}, 1)
    proposal.tell(result_of(proposal, spec, [0.7], Outcome.COMPLETED))
    assert len(waits) > n_before


def test_reports_that_a_power_cut_took_are_made_again(make_spec, open_journal, tmp_path):
    spec, path = make_spec(), tmp_path / "journal.log"
    proposal = next_proposal(open_journal(spec), spec)
    means = [0.9, 0.8, 0.7, 0.6]
    for n_epochs, mean in enumerate(means, start=1):
        proposal.report(n_epochs, mean, horizon_free=True)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    continued = next_proposal(open_journal(spec), spec)
    continued.report_again(means, horizon_free=True)
    assert open_journal(spec).trials[0].intermediate_values == dict(enumerate(means, start=1))
