from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.units import UNITS, Job
from pipeline.units.job import duration
from tests.units.stub import job_in

HOME = Path("/projects/one")
UNIT_FIELDS = {"image": "image:1"}


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({"MLFLOW_TRACKING_URI": "https://me:secret@example.org"}, ()),
        ({}, ("--storage", "postgresql://me:secret@example.org/optuna")),
        ({}, ("--tracking-uri=https://secret@example.org",)),
        ({}, ("--tracking-uri", "https://example.org/?access_token=secret")),
    ],
)
def test_no_unit_holds_a_password(kind, environment, options):
    with pytest.raises(BadInput, match="must not hold a password") as refused:
        UNITS[kind](job_in(HOME, *options, environment=environment, **UNIT_FIELDS))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"timeout_secs": 0.0}, "--timeout must be a second or longer, and finite, got '0s'"),
        ({"margin_secs": float("inf")}, "--margin must be .*, got 'infs'"),
        ({"grace_secs": float("nan")}, "--grace must be .*, got 'nans'"),
        ({"python": Path("here")}, "a path in a unit must be absolute, got 'here'"),
        ({"study": Path("/two\nlines")}, r"must be one line of printable text, got '/two\\nlines'"),
        ({"options": ("--set", "name=a\tb")}, "one line of printable text"),
    ],
)
def test_a_job_that_no_scheduler_can_run_is_refused(fields, says):
    with pytest.raises(BadInput, match=says):
        job_in(HOME, **fields)


def test_the_search_ends_by_itself_before_it_is_asked_to_and_that_before_it_is_killed():
    job = job_in(HOME, timeout_secs=90.5, margin_secs=60.0, grace_secs=0.5 + 1)
    assert job.command[-2:] == ("--timeout", "90.5s")
    assert (job.stop_after_secs, job.kill_after_secs) == (151, 2)


@pytest.mark.parametrize(
    ("secs", "text"), [(7200, "2h"), (5400, "90m"), (61, "61s"), (0.1, "0.1s"), (86400, "24h")]
)
def test_a_time_is_written_as_the_search_reads_it(secs, text):
    assert duration(secs) == text


@pytest.mark.parametrize(
    ("name", "unit_name"),
    [
        ("digits", "search-digits"),
        ("A.b__c-", "search-a-b-c"),
        ("größe", "search-gr-e"),
        ("ß", "search"),
    ],
)
def test_a_unit_has_a_name_that_every_scheduler_takes(name, unit_name):
    job: Job = job_in(HOME, name=name)
    assert job.unit_name == unit_name
    assert job.log == HOME / "mlruns" / "logs" / f"{unit_name}.log"
