"""Services and timers, read as systemd.syntax(7) and systemd.service(5) say, and run so."""

import os
import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from pipeline.errors import BadInput
from pipeline.units import When
from pipeline.units.systemd import service_and_timer
from tests.units.stub import expected, job_in, project, told

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed"
)


def files(unit: str) -> dict[str, str]:
    """Return the printed files by their names."""
    parts = re.split(r"(?m)^# ~/\.config/systemd/user/(\S+)$", unit)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class Repeated(dict):
    """Keeps every value of a key: Environment= may be repeated."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and key in self:
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def settings(text: str, section: str) -> dict[str, list[str]]:
    parser = RawConfigParser(
        dict_type=Repeated, strict=False, delimiters=("=",), comment_prefixes=("#", ";")
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return {key: value.splitlines() for key, value in parser.items(section)}


def path(value: str) -> Path:
    """Return a setting that is one value: no quotes, no escapes, but specifiers."""
    return Path(specified(value))


def specified(text: str) -> str:
    assert not re.search(r"%(?!%)", text.replace("%%", ""))
    return text.replace("%%", "%")


def words(text: str) -> list[str]:
    """Split a setting at spaces; quotes group, and a backslash escapes, in and out of them."""
    found: list[str] = []
    word, quote, at = "", "", 0
    begun = False
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
            assert text[at] in "\\\"'"
            word += text[at]
        elif quote:
            quote, word = ("", word) if char == quote else (quote, word + char)
        elif char in "\"'" and not word:
            quote, begun = char, True
        elif char == " ":
            found, word, begun = [*found, word] if word or begun else found, "", False
        else:
            word += char
        at += 1
    assert not quote
    return [specified(word) for word in ([*found, word] if word or begun else found)]


def started(service: dict[str, list[str]]) -> list[str]:
    """Return the command: in its arguments "$$" is a "$", and a single one begins a variable."""
    program, *arguments = words(*service["ExecStart"])
    assert not any(re.search(r"\$(?!\$)", word.replace("$$", "")) for word in arguments)
    return [program, *(word.replace("$$", "$") for word in arguments)]


def service_of(job) -> dict[str, list[str]]:
    return settings(files(service_and_timer(job))["search-tiny-study-1.service"], "Service")


@pytest.mark.parametrize("option", ["name=a", "", r"a\b", r"\\", ";", "$X ${X}", "'\"' %n", "a\\"])
def test_the_command_is_the_jobs(tmp_path, option):
    job = job_in(tmp_path / "a b", "--set", option, python=Path("/opt/py thon%/ü/bin/python"))
    assert started(service_of(job)) == list(job.command)


def test_the_job_is_started_as_it_says_from_anywhere(tmp_path):
    job = job_in(project(tmp_path), "--set", r"name=a\%b%%", "0")
    service = service_of(job)
    assert path(*service["WorkingDirectory"]) == job.home
    assert service["StandardError"] == ["inherit"]
    (output,) = service["StandardOutput"]
    variables = [words(value) for value in service["Environment"]]
    environment = dict(word.split("=", 1) for (word,) in variables)
    with path(output.removeprefix("append:")).open("a") as log:
        subprocess.run(started(service), cwd=job.home, env=environment, stdout=log, check=True)
    assert told(job) == [expected(job)]


def test_a_search_past_its_time_is_asked_to_stop_once_and_what_is_no_failure_is_none(tmp_path):
    service = service_of(job_in(tmp_path, timeout_secs=3600.0, margin_secs=60.0, grace_secs=5.0))
    assert service["Type"] == ["exec"]  # RuntimeMaxSec has no effect on a oneshot
    assert (service["RuntimeMaxSec"], service["TimeoutStopSec"]) == (["3660"], ["5"])
    assert service["KillMode"] == ["mixed"]
    assert service["SuccessExitStatus"] == ["4 5 130"]


def test_the_timer_starts_the_service_of_its_name(tmp_path):
    both = files(service_and_timer(job_in(tmp_path, when=When(4, 5, 12, ("sat",)))))
    assert set(both) == {"search-tiny-study-1.service", "search-tiny-study-1.timer"}
    timer = settings(both["search-tiny-study-1.timer"], "Timer")
    assert timer == {"OnCalendar": ["Sat *-*-* 04,16:05:00"], "Persistent": ["true"]}
    install = settings(both["search-tiny-study-1.timer"], "Install")
    assert install == {"WantedBy": ["timers.target"]}


@pytest.mark.parametrize("name", ["ends in a space ", "ends in a backslash\\"])
def test_a_project_that_systemd_cannot_read_is_refused(tmp_path, name):
    with pytest.raises(BadInput, match="ends in neither a space nor a backslash"):
        service_and_timer(job_in(tmp_path / name))


def verified(unit: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for name, text in files(unit).items():
        (folder / name).write_text(text, encoding="utf-8")
    runtime = folder / "runtime"
    runtime.mkdir(exist_ok=True)
    return subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", *(folder / n for n in files(unit))],
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True, text=True,
    )  # fmt: skip


@needs_systemd
def test_systemd_takes_both_files(tmp_path):
    unit = service_and_timer(job_in(project(tmp_path), "--set", r"name=a\%b%%"))
    done = verified(unit, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert verified(unit.replace("RuntimeMaxSec=", "RuntimeMax="), tmp_path).stderr


@needs_systemd
@pytest.mark.parametrize(
    "when", [When(), When(0, 5, 1), When(22, 0, 8, ("mon", "thu")), When(days=("sun",))]
)
def test_systemd_understands_when(when):
    done = subprocess.run(
        ["systemd-analyze", "calendar", when.on_calendar], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Next elapse" in done.stdout
