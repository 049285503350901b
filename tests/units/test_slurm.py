"""Batch scripts: the #SBATCH lines read as sbatch reads them, the script run by bash."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.errors import BadInput, ExitCode
from pipeline.units.slurm import batch_script
from tests.units.stub import AWKWARD, expected, job_in, project, told


def argument(text: str) -> str:
    """Return a line's only argument: quotes group, a backslash escapes, a bare "#" ends it."""
    word, quote, at = "", "", 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
            word += text[at]
        elif quote:
            quote, word = ("", word) if char == quote else (quote, word + char)
        elif char in "\"'":
            quote = char
        else:
            assert char not in " #"
            word += char
        at += 1
    assert not quote
    return word


def options(script: str) -> dict[str, str]:
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH ")]
    words = (argument(line.removeprefix("#SBATCH ")) for line in lines)
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def bash(script: str, tmp_path: Path, **streams) -> subprocess.Popen[str]:
    """Start it as Slurm does: in --chdir, with its output in --output."""
    file = tmp_path / "script.sbatch"
    file.write_text(script, encoding="utf-8")
    found = options(script)
    log = Path(found["--output"].replace("%%", "%"))
    with log.open("a") as output:
        return subprocess.Popen(["bash", str(file)], cwd=found["--chdir"], stdout=output, text=True)


def test_the_job_is_started_as_it_says(tmp_path):
    job = job_in(project(tmp_path), "--set", "name=a'b%%", "0")
    assert bash(batch_script(job), tmp_path).wait(60) == 0
    assert told(job) == [expected(job)]


def test_the_options_say_where_how_long_and_what_before_the_end(tmp_path):
    job = job_in(tmp_path / AWKWARD, timeout_secs=3600.0, margin_secs=60.0, grace_secs=90.0)
    assert options(batch_script(job)) == {
        "--job-name": "search-tiny-study-1",
        "--chdir": str(job.home),
        "--output": str(job.log).replace("%", "%%"),
        "--open-mode": "append",
        "--time": "63",  # minutes: 61 and 90 seconds, rounded up
        "--signal": "B:USR1@90",
        "--requeue": "",
        "--dependency": "singleton",
    }


def test_options_stand_before_the_first_command(tmp_path):
    """Slurm reads no further."""
    lines = batch_script(job_in(tmp_path)).splitlines()
    assert lines[0] == "#!/bin/bash"
    first = next(n for n, line in enumerate(lines) if not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_the_batch_shell_reaches_the_search_once(tmp_path, number):
    job = job_in(project(tmp_path), "wait")
    running = bash(batch_script(job), tmp_path)
    while not job.log.exists() or not job.log.read_text():
        assert running.poll() is None
    running.send_signal(number)
    assert running.wait(60) == ExitCode.INTERRUPTED
    assert told(job)[1] == [number.name]


def test_a_project_that_slurm_cannot_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match="a path without a backslash"):
        batch_script(job_in(tmp_path / "a\\b"))


def test_bash_takes_it(tmp_path):
    file = tmp_path / "script.sbatch"
    file.write_text(batch_script(job_in(tmp_path / AWKWARD, "it's")), encoding="utf-8")
    done = subprocess.run(["bash", "-n", file], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("sbatch"), reason="sbatch is not installed")
def test_slurm_takes_it(tmp_path):
    if subprocess.run(["scontrol", "ping"], capture_output=True).returncode:
        pytest.skip("no Slurm controller answers")
    file = tmp_path / "script.sbatch"
    file.write_text(batch_script(job_in(project(tmp_path))), encoding="utf-8")
    done = subprocess.run(["sbatch", "--test-only", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"to start at", done.stderr)


@pytest.mark.parametrize("join", [("--if-running", "join"), ("--if-running=join",)])
def test_jobs_that_join_each_other_do_not_wait_for_each_other(join, tmp_path):
    alone, several = job_in(tmp_path), job_in(tmp_path, *join, "0")
    assert options(batch_script(alone))["--dependency"] == "singleton"
    assert "--dependency" not in options(batch_script(several))
    assert "--array=1-8" in batch_script(several)
    assert "--array" not in batch_script(job_in(tmp_path, "--if-running", "wait"))
