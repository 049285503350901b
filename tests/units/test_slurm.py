"""Batch scripts: the #SBATCH lines read as sbatch reads them, the script run by bash."""

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import BadInput, ExitCode
from pipeline.optimization import begun
from pipeline.units.slurm import batch_script
from tests.crew import ENVIRONMENT, stored, until
from tests.kill import answer_in
from tests.nodes import begun_in
from tests.postgres import PASSWORD
from tests.slurm import NODES, running_slurm
from tests.test_workers import assert_as_alone, study_in
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


@pytest.fixture(scope="module")
def slurm():
    with running_slurm() as running:
        yield running


def test_slurm_takes_it(tmp_path, slurm):
    file = tmp_path / "script.sbatch"
    file.write_text(batch_script(job_in(project(tmp_path))), encoding="utf-8")
    done = subprocess.run(
        ["sbatch", "--test-only", file], env=slurm.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"to start at", done.stderr)


@pytest.mark.parametrize("join", [("--if-running", "join"), ("--if-running=join",)])
def test_jobs_that_join_each_other_do_not_wait_for_each_other(join, tmp_path):
    alone, several = job_in(tmp_path), job_in(tmp_path, *join, "0")
    assert options(batch_script(alone))["--dependency"] == "singleton"
    assert "--dependency" not in options(batch_script(several))
    assert options(batch_script(several))["--output"].endswith("/search-tiny-study-1-%N.log")
    assert "--array=1-8" in batch_script(several)
    assert "--array" not in batch_script(job_in(tmp_path, "--if-running", "wait"))


def scheduled(study: Path, *options: str) -> Path:
    """Return what the command prints, in a file."""
    script = study.parents[1] / "search.sbatch"
    command = ["-m", "pipeline.schedule", str(study), "--slurm", "--", *options]
    with script.open("w") as printed:
        subprocess.run(
            [sys.executable, *command],
            cwd=study.parent,
            env=ENVIRONMENT,
            stdout=printed,
            check=True,
        )
    return script


@pytest.mark.long
@pytest.mark.parametrize(
    ("is_holder", "is_server"), [(True, False), (False, True)], ids=["in a folder", "on a server"]
)
@pytest.mark.parametrize(
    ("fault", "states"),
    [
        (("scancel", "--batch", "--signal=USR1"), [("FAILED", "130:0")]),  # the warning
        (("scancel", "--batch", "--signal=KILL"), [("FAILED", "0:9")]),
        (("scancel",), [("CANCELLED", "0:15"), ("CANCELLED", "130:0")]),
        (("scontrol", "requeue"), [("COMPLETED", "0:0"), ("FAILED", "4:0")]),  # as if preempted
    ],
    ids=["warned", "killed", "cancelled", "preempted"],
)
def test_tasks_of_an_array_find_what_one_search_finds_though_one_is_ended(
    fault, states, is_holder, is_server, home, alone, slurm, postgres
):
    environment, study = {**ENVIRONMENT}, study_in(home)
    options = ["--if-running", "join", "--store-patience", "2s"]
    at_work = stored(study, begun)
    if is_server:
        address = postgres.new_database()
        environment["PGPASSWORD"] = PASSWORD
        # As it may stand in a script.
        options += ["--storage", address.replace(f"search:{PASSWORD}@", "") + "?user=search"]
        at_work = partial(begun_in, address, alone[0]["signature"])
    job = slurm.submit(scheduled(study, *options), "--array=1-2", environment=environment)
    until(lambda: len(at_work() or ()) == 2)
    (holder,) = home.glob("mlruns/studies/*/holder.json")
    first = json.loads(holder.read_text())["host"]
    tasks = [f"{job}_{n}" for n in (1, 2)]
    nodes = {slurm.state(task)["NodeList"]: task for task in tasks}
    assert set(nodes) == set(NODES)
    ended = next(task for node, task in nodes.items() if (node == first) == is_holder)
    slurm.asked(*fault, ended)
    ends = {task: until(partial(slurm.ended, task)) for task in tasks}
    assert ends.pop(ended) in states
    assert set(ends.values()) <= {("COMPLETED", "0:0"), ("FAILED", "4:0")}
    logs = [home / "mlruns" / "logs" / f"search-tiny-{node}.log" for node in NODES]
    assert all("Traceback" not in log.read_text() for log in logs)
    answer, n_epochs = alone
    fields = {**answer["fields"], "budget": answer_in(home)["fields"]["budget"]}  # has a time here
    assert_as_alone(home, ({**answer, "fields": fields}, n_epochs))
