"""The job that a scheduler is to run: one search, with its times, paths and environment."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.addresses import mask_password
from pipeline.errors import BadInput, ExitCode, require
from pipeline.units.when import When

NO_FAILURE = (ExitCode.UNDETERMINED, ExitCode.ANOTHER_RUN_ACTIVE, ExitCode.INTERRUPTED)
"""Exit codes besides 0 that nobody needs to be woken for."""


@dataclass(frozen=True)
class Job:
    """A search that a scheduler starts, in three times that follow on each other.

    name: the study's
    study, python: its file, and the interpreter; absolute
    home: the project that holds the study: the working directory
    when: when it starts
    timeout_secs: after it the search begins nothing new, chooses, refits and ends by itself
    margin_secs: for that; then the scheduler asks it to stop after its current epoch
    grace_secs: for that; then the scheduler kills it
    environment: variables of the job
    options: further ones of the search
    image, claim: the container image and the volume claim that holds `home`; for Kubernetes
    """

    name: str
    study: Path
    python: Path
    home: Path
    when: When
    timeout_secs: float
    margin_secs: float
    grace_secs: float
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()
    image: str = ""
    claim: str = ""

    def __post_init__(self) -> None:
        for name in ("timeout", "margin", "grace"):
            secs = getattr(self, f"{name}_secs")
            is_time = math.isfinite(secs) and secs >= 1
            require(is_time, f"--{name}", "a second or longer, and finite", f"{secs:g}s")
        for path in (self.study, self.python, self.home):
            require(path.is_absolute(), "a path in a unit", "absolute", str(path))
        for text in (*self.command, str(self.home), *self.environment.values()):
            require(text.isprintable(), "what a unit holds", "one line of printable text", text)
            if mask_password(text) != text:
                raise BadInput(
                    f"a unit must not hold a password, got {mask_password(text)!r}; keep it in a "
                    "file that only you can read: ~/.mlflow/credentials, ~/.pgpass"
                )

    @property
    def command(self) -> tuple[str, ...]:
        """What is started."""
        module = (str(self.python), "-m", "pipeline.search", str(self.study))
        return (*module, "--timeout", duration(self.timeout_secs), *self.options)

    @property
    def joins(self) -> bool:
        """Whether several of it work at one study: it may be started on many nodes at once."""
        pairs = itertools.pairwise(self.options)
        return "--if-running=join" in self.options or ("--if-running", "join") in pairs

    @property
    def unit_name(self) -> str:
        """The study's name as every scheduler takes it: lower-case letters, digits and "-"."""
        return f"search-{re.sub('[^a-z0-9]+', '-', self.name.lower()).strip('-')}".strip("-")

    @property
    def log(self) -> Path:
        """Where the search's output is appended."""
        return self.home / "mlruns" / "logs" / f"{self.unit_name}.log"

    @property
    def stop_after_secs(self) -> int:
        """When the scheduler asks the search to stop, in seconds after its start."""
        return math.ceil(self.timeout_secs + self.margin_secs)

    @property
    def kill_after_secs(self) -> int:
        """How long after that the scheduler kills it, in seconds."""
        return math.ceil(self.grace_secs)

    @property
    def comments(self) -> list[str]:
        """What every unit says at its top."""
        return [
            f"The search of study {self.name}, {self.when}.",
            f"After {duration(self.timeout_secs)} it begins no further epochs, answers and ends. "
            f"If it has not ended after {duration(self.stop_after_secs)}, it is",
            f"asked to stop after its current epoch, and killed {duration(self.kill_after_secs)} "
            "later. The next start continues it.",
        ]


def commented(lines: list[str]) -> str:
    """Return lines as comments of a unit."""
    return "\n".join(f"# {line}".rstrip() for line in lines)


def duration(secs: float) -> str:
    """Return a time as the search's `--timeout` reads it: "6h", "90m", "45s"."""
    for unit, size in (("h", 3600), ("m", 60)):
        if secs % size == 0:
            return f"{secs / size:.0f}{unit}"
    return f"{secs:.15g}s"
