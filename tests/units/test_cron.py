"""Crontab lines, read and run as cron does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.units import When
from pipeline.units.cron import MAX_COMMAND_BYTES, crontab, escaped
from tests.units.stub import expected, job_in, project, told


def as_cron_reads(command: str) -> str:
    r"""Return the shell's part: up to a bare "%"; "\%" is one, other backslashes stay."""
    shell, at = "", 0
    while at < len(command) and command[at] != "%":
        if command[at] == "\\":
            shell += "%" if command[at + 1] == "%" else command[at : at + 2]
            at += 2
        else:
            shell += command[at]
            at += 1
    return shell


def line_of(unit: str) -> tuple[str, str]:
    """Return (the five fields, the command) of the only line that is no comment."""
    (line,) = [line for line in unit.splitlines() if not line.startswith("#")]
    *fields, command = line.split(" ", 5)
    return " ".join(fields), command


def run(job) -> subprocess.CompletedProcess[str]:
    """Run it as cron does: /bin/sh, another folder, hardly any environment."""
    _, command = line_of(crontab(job))
    return subprocess.run(
        ["/bin/sh", "-c", as_cron_reads(command)],
        cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_job_is_started_as_it_says_from_anywhere(tmp_path):
    job = job_in(project(tmp_path), "--set", r"name=a\%b%%", "0")
    assert run(job).stdout == ""
    assert told(job) == [expected(job)]


def test_a_line_starts_when_it_is_to(tmp_path):
    fields, _ = line_of(crontab(job_in(tmp_path, when=When(4, 5, 12, ("sat",)))))
    assert fields == "5 4,16 * * 6"


@pytest.mark.parametrize("code", [0, 4, 5, 130])
def test_what_is_no_failure_is_not_mailed(tmp_path, code):
    done = run(job_in(project(tmp_path), str(code)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("code", [1, 2, 3, 6])
def test_a_failure_is_mailed_with_its_code_and_log(tmp_path, code):
    job = job_in(project(tmp_path), str(code))
    assert run(job).stdout == f"search-tiny-study-1 failed, see {job.log}: exit code {code}\n"


def test_a_project_that_is_gone_is_mailed(tmp_path):
    done = run(job_in(tmp_path / "gone", "0"))
    assert "failed" in done.stdout
    assert "gone" in done.stderr


def test_a_search_past_its_time_is_asked_to_stop_once(tmp_path):
    """`timeout` without --foreground signals twice, and the second one ends a search at once."""
    job = job_in(project(tmp_path), "wait", timeout_secs=1.0, margin_secs=1.0)
    assert run(job).stdout == ""
    assert told(job)[1] == ["SIGTERM"]


def test_a_percent_sign_behind_a_backslash_survives():
    for command in ("echo 'a%b'", r"echo 'a\%b'", r"echo 'a\\%%b'", "echo ü"):
        shell = as_cron_reads(escaped(command))
        done, want = (
            subprocess.run(["/bin/sh", "-c", c], capture_output=True).stdout
            for c in (shell, command)
        )
        assert done == want


def test_a_command_that_cron_cuts_off_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"at most 998 bytes, .*; use --systemd, got 1"):
        crontab(job_in(tmp_path, "x" * MAX_COMMAND_BYTES))


@pytest.mark.skipif(not shutil.which("crontab"), reason="crontab is not installed")
def test_cron_takes_it(tmp_path):
    """The longest command as well. Vixie cron checks with -n, cronie and later ones with -T."""
    usage = subprocess.run(["crontab", "-h"], capture_output=True, text=True)
    check = "-T" if re.search(r"\s-T\b", usage.stdout + usage.stderr) else "-n"
    room = MAX_COMMAND_BYTES - len(line_of(crontab(job_in(Path("/h"), "x")))[1].encode()) + 1
    for job in (job_in(project(tmp_path)), job_in(Path("/h"), "x" * room)):
        file = tmp_path / "crontab"
        file.write_text(crontab(job), encoding="utf-8")
        done = subprocess.run(["crontab", check, file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    refused = crontab(job_in(tmp_path)).replace("30 2", "30 25")
    file.write_text(refused, encoding="utf-8")
    assert subprocess.run(["crontab", check, file], capture_output=True).returncode != 0
