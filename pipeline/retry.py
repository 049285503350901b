"""Trying again: a store that is locked or away for a moment is no reason to end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from pipeline.errors import BadInput

FIRST_PAUSE_SECS = 0.5
LONGEST_PAUSE_SECS = 10.0
DEFAULT_PATIENCE_SECS = 60.0

_PASSING = re.compile(
    r"is locked|connection refused|refused the connection|can't connect|could not connect"
    r"|connection (was )?(reset|aborted|closed)|closed the connection|remote end closed"
    r"|broken pipe|lost connection|gone away|timed out|timeout|too many connections"
    r"|temporar(il)?y|too many 50\d|error code 50\d|reached max retries"
    r"|\b50[0234] (server|internal|bad|service|gateway)"
    # A database that is full, starts or stops, and what it undid for two that waited for each other
    r"|too many clients|connection slots are reserved|the database system is|in recovery mode"
    r"|shutdown in progress|administrator command|deadlock",
    re.IGNORECASE,
)

Result = TypeVar("Result")


def is_passing(error: BaseException) -> bool:
    """Whether an error may pass by itself: a lock, a connection refused or reset, HTTP 5xx.

    It is read from the words, its causes' included: each library has its own classes for it, and
    wraps those of the one below.
    """
    if isinstance(error, BadInput):  # whoever made it of another one knows better
        return False
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError) or _PASSING.search(str(error)):
            return True
        cause = error.__cause__ or error.__context__
        if cause is None:
            return False
        error = cause
    return False


def pauses() -> Iterator[float]:
    """Yield the seconds to wait before each further attempt, ever longer up to a limit."""
    secs = FIRST_PAUSE_SECS
    while True:
        yield secs
        secs = min(2 * secs, LONGEST_PAUSE_SECS)


def patiently(
    action: Callable[[], Result],
    *,
    patience_secs: float,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Return what `action` returns; while it fails with a passing error, try it again.

    patience_secs: from the first attempt on; then the error is raised. 0 tries once
    say: gets one line when the first attempt has failed
    """
    start = clock()
    for n, pause in enumerate(pauses()):
        try:
            return action()
        except Exception as error:
            if not is_passing(error) or clock() - start + pause > patience_secs:
                raise
            if n == 0:
                say(f"{error}; trying again for {patience_secs:g} s …")
        sleep(pause)
    raise AssertionError("pauses never end")
