"""What a scheduled job needs around a search: one run at a time, and signals that stop it well."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from pipeline.errors import AnotherRunActive, ExitCode, Interrupted, StoreUnavailable
from pipeline.files import disk_errors

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, whoever ends the job, and Slurm's warning before its limit (`--signal=USR1@120`)."""


@contextmanager
def only_run_of(folder: Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the study's lock. Raises AnotherRunActive, naming the holder, when it is taken.

    The lock goes with its process, however that ends.

    waiting: wait for the lock instead; called every second with the holder, and raises to give up
    Raises StoreUnavailable when the folder cannot be written.
    """
    lock, holder = FileLock(folder / "lock", timeout=0), folder / "holder.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                held = lock.acquire()
                break
            except Timeout:
                note = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
                who = note or "unknown"
                if waiting is None:
                    raise AnotherRunActive(
                        f"another process is running this study: {who}"
                    ) from None
                waiting(who)
                time.sleep(1.0)
    except OSError as error:
        raise StoreUnavailable(
            f"results must go to a writable folder, got {folder}: {error.strerror or error}"
        ) from error
    with held:
        who_am_i = {
            "host": platform.node(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        try:
            with disk_errors(folder):
                holder.write_text(json.dumps(who_am_i), encoding="utf-8")
            yield
        finally:
            with suppress(OSError):  # read-only by now: the lock is what counts
                holder.unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Whether another process holds the study's lock."""
    lock = FileLock(folder / "lock", timeout=0)
    try:
        with lock:
            return False
    except Timeout:
        return True


GRACE_SECS = 30.0
"""Longest that an epoch may go on after a signal; systemd waits 90 seconds, Kubernetes 30."""

WORKER_GRACE_SECS = GRACE_SECS - 5
"""As `GRACE_SECS`, in a worker: it must have ended before its supervisor gives up."""


class StopRequest:
    """Whether a signal asked the search to stop after the current epoch.

    An epoch that goes on for `grace_secs` more is given up: `last_words` leaves everything as it
    was after the epoch before, and the process ends. A second signal ends it at once, also in the
    middle of a long call into a library.

    ignored_then: signals that are ignored after the first one of any kind
    """

    def __init__(
        self, grace_secs: float = GRACE_SECS, *, ignored_then: Collection[signal.Signals] = ()
    ) -> None:
        self._ignored_then = ignored_then
        self.signal: signal.Signals | None = None
        self.last_words: Callable[[], None] = lambda: None
        self._grace_secs = grace_secs
        self._timer: threading.Timer | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def ask(self, *, gives_up: bool = False) -> None:
        """Ask for it without a signal, as if SIGTERM had come.

        gives_up: an epoch that goes on for too long, as after a signal
        """
        self.signal = signal.SIGTERM
        if gives_up:
            self._start_timer()

    def raise_if_asked(self) -> None:
        """Raise Interrupted when a signal has come."""
        if self.signal is not None:
            raise Interrupted(f"{self.signal.name}: stopped; the same command continues")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs. Only the main thread may; elsewhere this does nothing."""
        try:
            before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        except ValueError:  # not the main thread
            yield
            return
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        # Python runs handlers between its own instructions only; the system's default does not
        # wait for the end of a compilation.
        for each in SIGNALS:
            ignored = each in self._ignored_then
            signal.signal(each, signal.SIG_IGN if ignored else signal.SIG_DFL)
        self._start_timer()

    def _start_timer(self) -> None:
        self._timer = threading.Timer(self._grace_secs, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def _give_up(self) -> None:
        try:
            self.last_words()
            print(
                f"the epoch went on for {self._grace_secs:g} s after the signal and was given up; "
                "the same command continues before it",
                file=sys.stderr,
                flush=True,
            )
        finally:
            os._exit(ExitCode.INTERRUPTED)


class Waiting:
    """Waits for another process: says so once, and gives up after a signal."""

    def __init__(self, say: Callable[[str], None], stop: StopRequest) -> None:
        self._say, self._stop, self._said = say, stop, False

    def __call__(self, holder: str) -> None:
        """Take that the other process is still there. Raises Interrupted after a signal."""
        if not self._said:
            self._say(f"waiting for the process that is running this study: {holder}")
        self._said = True
        self._stop.raise_if_asked()
