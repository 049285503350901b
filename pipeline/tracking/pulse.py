"""A running study's sign of life: what was killed outright cannot say that it no longer runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pipeline.tracking.runs import StudyRun

PULSE_TAG = "seen_alive"
"""Of a study's run. It is RUNNING and this is minutes ago: its process was killed."""

PULSE_SECS = 30.0


@contextmanager
def alive(run: StudyRun, *, every_secs: float = PULSE_SECS) -> Iterator[None]:
    """Note on the study's run when it was last seen alive, for as long as the block runs.

    While the store is away nothing is noted: nobody could read it.
    """
    is_over = threading.Event()

    def beat() -> None:
        while True:
            if not run.writer.is_away:
                run.set_tags({PULSE_TAG: f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"})
            if is_over.wait(every_secs):
                return

    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
