"""What a scheduled job needs around a search: one run at a time, and signals that stop it well."""

from __future__ import annotations

import json
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from pipeline.errors import AnotherRunActive, Interrupted, StoreUnavailable


@contextmanager
def only_run_of(folder: Path) -> Iterator[None]:
    """Hold the study's lock. Raises AnotherRunActive, naming the holder, when it is taken.

    The lock goes with its process, however that ends. Raises StoreUnavailable when the folder
    cannot be written.
    """
    holder = folder / "holder.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock", timeout=0).acquire()
    except Timeout:
        text = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
        raise AnotherRunActive(
            f"another process is running this study: {text or 'unknown'}"
        ) from None
    except OSError as error:
        raise StoreUnavailable(
            f"results must go to a writable folder, got {folder}: {error.strerror or error}"
        ) from error
    with lock:
        who = {
            "host": platform.node(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            holder.write_text(json.dumps(who), encoding="utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)


class StopRequest:
    """Whether SIGINT or SIGTERM asked the search to stop after the current epoch.

    A second signal ends the process at once, also in the middle of a long call into a library.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def raise_if_asked(self) -> None:
        """Raise Interrupted when a signal has come."""
        if self.signal is not None:
            raise Interrupted(f"{self.signal.name}: stopped; the same command continues")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs. Only the main thread may; elsewhere this does nothing."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        try:
            before = {number: signal.signal(number, self._receive) for number in numbers}
        except ValueError:  # not the main thread
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        # Python runs handlers between its own instructions only; the system's default does not
        # wait for the end of a compilation.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
