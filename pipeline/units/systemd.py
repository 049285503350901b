"""A service and its timer for systemd 240 or newer (systemd.service(5), systemd.timer(5))."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.errors import require
from pipeline.units.job import NO_FAILURE, Job, commented

FOLDER = "~/.config/systemd/user"


def service_and_timer(job: Job) -> str:
    """Return the two files, one after the other.

    Raises BadInput for a project whose path systemd cannot read.
    """
    home = str(job.home)
    allowed = "a path that ends in neither a space nor a backslash, as systemd drops these"
    require(home == home.rstrip(" \\"), "the project's folder", allowed, home)
    name = job.unit_name
    how = [
        *job.comments,
        "",
        f"Save both parts in {FOLDER}/, then:",
        "  systemctl --user daemon-reload",
        f"  systemctl --user enable --now {name}.timer",
        "  loginctl enable-linger        # or it runs only while you are logged in",
        f"Now, once: systemctl --user start {name}. How it went: systemctl --user status {name}.",
        f"Its log: {job.log}",
    ]
    return f"{commented(how)}\n\n{_service(job)}\n{_timer(job)}"


def _service(job: Job) -> str:
    python, *arguments = job.command
    # The program itself, unlike its arguments, is no place in which systemd looks for variables.
    words = [quoted(python), *(quoted(word).replace("$", "$$") for word in arguments)]
    variables = [
        f"Environment={quoted(f'{name}={value}')}" for name, value in job.environment.items()
    ]
    codes = " ".join(str(code.value) for code in NO_FAILURE)
    return "\n".join(
        [
            f"# {FOLDER}/{job.unit_name}.service",
            "[Unit]",
            f"Description=Search of study {job.name}",
            "",
            "[Service]",
            "Type=exec",
            f"WorkingDirectory={_literal(job.home)}",
            *variables,
            f"ExecStart={' '.join(words)}",
            f"StandardOutput=append:{_literal(job.log)}",
            "StandardError=inherit",
            "# Undetermined; another run active; interrupted, and continued by the next start.",
            f"SuccessExitStatus={codes}",
            f"RuntimeMaxSec={job.stop_after_secs}",
            f"TimeoutStopSec={job.kill_after_secs}",
            "# Ask the search alone to stop, once: a second signal ends it within its epoch.",
            "KillMode=mixed",
            "",
        ]
    )


def _timer(job: Job) -> str:
    return f"""\
# {FOLDER}/{job.unit_name}.timer
[Unit]
Description=Start the search of study {job.name}, {job.when}

[Timer]
OnCalendar={job.when.on_calendar}
# Where the machine was off at that time, start once it is on again.
Persistent=true

[Install]
WantedBy=timers.target
"""


def quoted(word: str) -> str:
    """Return a word of ExecStart= or Environment=; "%" begins a specifier everywhere."""
    text = word.replace("%", "%%")
    if re.fullmatch(r"[\w./:=,+@%-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(path: Path) -> str:
    """Return a path as settings with one value take it: no quotes, no escapes, but specifiers."""
    return str(path).replace("%", "%%")
