"""How a search can end, and the errors that a user can cause.

Every error here is one readable message: what must hold, what came, what is allowed. The command
line prints it without a traceback and exits with its code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What the process tells its caller."""

    SUCCESS = 0
    """The search ended with an answer."""
    FAILED = 1
    """An unexpected error in this program; a traceback is shown."""
    BAD_INPUT = 2
    """Something the user gave cannot be used; nothing was trained."""
    NO_RESULT = 3
    """The budget ended, or the trials failed, before any trial had a value."""
    UNDETERMINED = 4
    """There is an answer, but the best epoch may lie beyond what the budget let be trained."""
    ANOTHER_RUN_ACTIVE = 5
    """Another process is running the same study."""
    STORE_UNAVAILABLE = 6
    """The tracking store or the study's storage cannot be read or written."""
    INTERRUPTED = 130
    """A signal stopped the search; the same command continues it."""


class PipelineError(Exception):
    """An error with a message for the user, in one line, and an exit code for the caller."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str = "") -> None:
        # Other libraries' errors and what users gave, which are quoted, may have several.
        super().__init__(" ".join(line.strip() for line in message.splitlines() if line.strip()))


class BadInput(PipelineError, ValueError):  # noqa: N818 - it names what came, not what broke
    """Something the user gave cannot be used."""

    exit_code = ExitCode.BAD_INPUT


class NoResult(PipelineError):  # noqa: N818
    """The search ended and no trial has a value."""

    exit_code = ExitCode.NO_RESULT


class StudyFailed(PipelineError):  # noqa: N818
    """Too many trials in a row failed."""


class AnotherRunActive(PipelineError):  # noqa: N818
    """Another process holds this study."""

    exit_code = ExitCode.ANOTHER_RUN_ACTIVE


class StoreUnavailable(PipelineError):  # noqa: N818
    """A store cannot be reached, is locked, or cannot be written."""

    exit_code = ExitCode.STORE_UNAVAILABLE


class TakenOver(PipelineError):  # noqa: N818
    """Another worker has taken up this one's trial, as that of a worker that was silent too long.

    It ends no search: this worker leaves the trial to the other one.
    """


class Interrupted(PipelineError):  # noqa: N818
    """A signal asked the search to stop; the same command continues it."""

    exit_code = ExitCode.INTERRUPTED


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest allowed name, or nothing when none is near."""
    near = difflib.get_close_matches(name, sorted(allowed), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> BadInput:
    """Return the error for a mistyped name: the nearest valid one first, then all of them."""
    names = sorted(allowed)
    hint = did_you_mean(name, names) or "."
    return BadInput(f"unknown {kind} {name!r}{hint} Allowed: {', '.join(names) or 'none'}")


def require(holds: Any, name: str, allowed: str, value: Any) -> None:
    """Raise BadInput unless the condition holds."""
    if not holds:
        raise BadInput(f"{name} must be {allowed}, got {value!r}")


@contextmanager
def unexpected_errors(what: str) -> Iterator[None]:
    """Turn what a training may raise (out of memory, most often) into StudyFailed.

    what: could not be done, and what stands all the same
    """
    try:
        yield
    except (Interrupted, StoreUnavailable):
        raise
    except Exception as error:
        raise StudyFailed(f"{what}: {in_one_line(error)}") from error


def in_one_line(error: Exception) -> str:
    """Return an error's type and its first line that says something."""
    text = next((line for line in str(error).splitlines() if line.strip()), "no message")
    return text if isinstance(error, BadInput) else f"{type(error).__name__}: {text}"
