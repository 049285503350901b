"""python -m pipeline.schedule: what it checks, what it prints, and that its units run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.cli_jobs import schedule_options
from pipeline.errors import ExitCode
from pipeline.schedule import main
from pipeline.units import UNITS
from tests.data_file.tables import table, write
from tests.tiny_study import write_study

ROOT = Path(__file__).parents[1]
IMAGE = ("--image", "registry.example/epochs:1")


def printed(capsys, *arguments: object) -> str:
    assert main(schedule_options([*map(str, arguments)])) == ExitCode.SUCCESS
    return capsys.readouterr().out


def commands(unit: str, kind: str) -> list[str]:
    """Return the search that a unit starts, of paths that need no quotes."""
    if kind == "kubernetes":
        pod = yaml.safe_load(unit)["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        return pod["containers"][0]["command"]
    (line,) = [line for line in unit.splitlines() if "-m pipeline.search" in line]
    words = shlex.split(line.replace("ExecStart=", "").replace(">>", " >>"))
    start = words.index("-m") - 1
    ends = [n for n, word in enumerate(words) if word.startswith(">>")]
    return words[start : ends[0] if ends else None]


@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_holds_the_interpreter_the_study_and_the_searchs_options(kind, tmp_path, capsys):
    study = write_study(tmp_path)
    image = IMAGE if kind == "kubernetes" else ()
    behind = ("--trials", "60", "--set", "rule=plateau")
    unit = printed(capsys, study, f"--{kind}", "--timeout", "90m", *image, "--", *behind)
    python = "/usr/local/bin/python" if image else sys.executable
    module = [python, "-m", "pipeline.search", str(study)]
    assert commands(unit, kind) == [*module, "--timeout", "90m", *behind]


def test_a_data_file_is_scheduled_as_it_is_typed_and_read_anew_each_time(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    data = write(tmp_path, table())
    behind = ("--target", "label", "--trials", "5")
    unit = printed(capsys, "data.csv", "--cron", "--timeout", "1h", "--", *behind)
    module = [sys.executable, "-m", "pipeline.search", str(data)]
    assert commands(unit, "cron") == [*module, "--timeout", "1h", *behind]
    assert str(tmp_path / "mlruns" / "logs") in unit
    options = schedule_options(["data.csv", "--cron", "--", *behind, "--write-study", "s.py"])
    assert main(options) == ExitCode.BAD_INPUT
    assert "--write-study must be left out of a job" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["cron", "systemd", "slurm"])
def test_the_logs_folder_is_there_before_a_scheduler_needs_it(kind, tmp_path, capsys):
    unit = printed(capsys, write_study(tmp_path), f"--{kind}")
    log = tmp_path / "mlruns" / "logs" / "search-tiny.log"
    assert str(log) in unit
    assert log.parent.is_dir()


def test_the_time_is_that_of_the_option_or_the_study_or_six_hours(tmp_path, capsys):
    own = write_study(tmp_path, fields="dict(budget=Budget(timeout_secs=60))", name="own")
    none = write_study(tmp_path, name="none")
    for arguments, time in (((own, "--timeout", "2h"), "2h"), ((own,), "1m"), ((none,), "6h")):
        assert commands(printed(capsys, *arguments, "--cron"), "cron")[-2:] == ["--timeout", time]


def test_a_unit_has_what_this_shell_would_let_the_search_find(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "beside")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://example.org")
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql://example.org/optuna?user=search")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "https://objects.example.org")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    unit = printed(capsys, write_study(tmp_path), "--slurm")
    exports = dict(re.findall(r"(?m)^export (\w+)=(.*)$", unit))
    assert exports["PYTHONPATH"] == f"{tmp_path / 'beside'}:{ROOT}"
    assert exports["MLFLOW_TRACKING_URI"] == "https://example.org"
    assert exports["MLFLOW_S3_ENDPOINT_URL"] == "https://objects.example.org"
    assert "AWS_SECRET_ACCESS_KEY" not in exports
    assert exports["OPTUNA_STORAGE"] == "'postgresql://example.org/optuna?user=search'"
    assert "secret" not in unit.lower()
    image = printed(capsys, "studies/tiny.py", "--kubernetes", *IMAGE)
    assert "PYTHONPATH" not in image  # these folders are not in it


def test_what_a_study_prints_is_no_part_of_the_unit(tmp_path, capsys):
    study = write_study(tmp_path)
    study.write_text("print('hello')\n" + study.read_text())
    assert "hello" not in printed(capsys, study, "--systemd")


BAD = {
    "no such study": (["missing.py", "--cron"], "does not exist"),
    "no such time": (["STUDY", "--cron", "--at", "25:00"], "--at must be a time"),
    "no such rhythm": (["STUDY", "--cron", "--every", "5h"], "--every must be whole hours"),
    "no such day": (["STUDY", "--cron", "--on", "mo"], "did you mean 'mon'"),
    "a search that would be refused": (["STUDY", "--cron", "--", "--set", "sed=1"], "mean 'seed'"),
    "a time behind --": (["STUDY", "--cron", "--", "--timeout", "2h"], "given before --"),
    "a dry run": (["STUDY", "--cron", "--", "--dry-run"], "--dry-run must be left out"),
    "no time at all": (["STUDY", "--cron", "--timeout", "0"], "budget.timeout_secs must be"),
    "no margin": (["STUDY", "--cron", "--margin", "0"], "--margin must be a second or longer"),
    "no image": (["STUDY", "--kubernetes"], "--image must be given"),
    "an image for cron": (["STUDY", "--cron", *IMAGE], "need --kubernetes, got --image without"),
    "a password": (
        ["STUDY", "--cron", "--", "--tracking-uri", "https://me:hidden@example.org"],
        "must not hold a password, got 'https://me:***@example.org'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_would_fail_at_night_is_refused_now(case, tmp_path, capsys):
    arguments, message = BAD[case]
    study = str(write_study(tmp_path))
    options = schedule_options([study if word == "STUDY" else word for word in arguments])
    assert main(options) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert "hidden" not in err
    assert not (tmp_path / "mlruns").exists()


def test_a_log_that_cannot_be_written_is_told(tmp_path, capsys):
    study = write_study(tmp_path)
    (tmp_path / "mlruns").write_text("a file where the folder should be")
    assert main(schedule_options([str(study), "--cron"])) == ExitCode.STORE_UNAVAILABLE
    assert "writable folder" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--cron", "--slurm"], ["--cron", "--timeout", "soon"]])
def test_one_kind_is_asked_for(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        schedule_options(arguments)
    assert exit_.value.code == 2
    assert "--cron" in capsys.readouterr().err


@pytest.mark.long
def test_units_really_search_from_another_folder(home):
    """One search, three schedulers: the second and third find it finished."""
    project = home.rename(home.with_name("a b ü %Y"))
    study = write_study(project, fields="dict(budget=Budget(n_trials=1), refit=Refit(False))")
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(project)}
    scheduled = [sys.executable, "-m", "pipeline.schedule", str(study)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def unit(kind: str) -> str:
        command = [*scheduled, kind, "--timeout", "5m"]
        return subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, check=True
        ).stdout

    def answers() -> int:
        text = (project / "mlruns" / "logs" / "search-tiny.log").read_text(encoding="utf-8")
        assert "Traceback" not in text, text
        return text.count("Train with learning rate")

    line = unit("--cron").splitlines()[-1].split(" ", 5)[-1].replace("\\%", "%")
    mailed = subprocess.run(["sh", "-c", line], cwd="/", env=bare, capture_output=True, text=True)
    assert (mailed.returncode, mailed.stdout, mailed.stderr) == (0, "", "")
    assert answers() == 1
    (path,) = project.glob("mlruns/studies/*/decision.json")
    assert json.loads(path.read_text())["n_epochs"] >= 1

    found = re.findall(r"(?m)^(ExecStart|Environment|StandardOutput)=(.*)$", unit("--systemd"))
    texts = [(name, value.replace("%%", "%")) for name, value in found]
    (exec_start,) = [shlex.split(text) for name, text in texts if name == "ExecStart"]
    variables = [shlex.split(text)[0] for name, text in texts if name == "Environment"]
    (log,) = [Path(text[len("append:") :]) for name, text in texts if name == "StandardOutput"]
    done_codes = (ExitCode.SUCCESS, ExitCode.UNDETERMINED)
    with log.open("a") as output:
        started = subprocess.run(
            ["env", "-i", "PATH=/usr/bin:/bin", *variables, *exec_start],
            cwd=project, stdout=output, stderr=output,
        )  # fmt: skip
    assert started.returncode in done_codes
    assert answers() == 2

    script = project / "search.sbatch"
    script.write_text(unit("--slurm"), encoding="utf-8")
    with log.open("a") as output:
        started = subprocess.run(
            ["bash", script], cwd=project, env=bare, stdout=output, stderr=output
        )
    assert started.returncode in done_codes
    assert answers() == 3
    assert len(list(project.glob("mlruns/studies/*/decision.json"))) == 1


def test_help_loads_nothing_heavy():
    heavy = ("tensorflow", "keras", "mlflow", "optuna", "sklearn", "numpy", "yaml")
    code = (
        "import atexit, runpy, sys\n"
        f"atexit.register(lambda: print([m for m in {heavy!r} if m in sys.modules]))\n"
        "sys.argv = ['schedule', '--help']\n"
        "runpy.run_module('pipeline.schedule', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--systemd" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
