"""Optuna's journal, written by several processes of which any may be killed at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._storage import JournalOperation

RECORD = b'{"op_code":'
"""How every line of an Optuna journal begins."""


CAN_WAIT = {
    JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
    JournalOperation.SET_TRIAL_USER_ATTR,
}
"""What need not be on the disk before the search goes on."""


class JournalLock:
    """Lets one process write at a time, behind a whole last line.

    Optuna's own lock is a file, which a dead writer leaves: the others would wait for 30 seconds,
    and then write behind half a line, which nobody could read any more. This one is the kernel's:
    it goes with its process, and whoever gets it next cuts the torn line off.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = FileLock(f"{journal}.writer", thread_local=False)

    def acquire(self) -> bool:
        """Wait for the lock, and mend the journal."""
        self._lock.acquire()
        try:
            cut_torn_line(self._journal)
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Let the next one write."""
        self._lock.release()


class Journal(JournalFileBackend):
    """A journal file that waits for the disk only where a study changes, or a trial begins or ends.

    An epoch's report and a note reach the file at once, and so outlive their process, but not a
    power cut: waiting for the disk takes as long as an epoch of a small model. A report that is
    lost then is in the trial's snapshot, and made again; a trial's notes are for whoever goes on
    with it (its MLflow run: another is begun), or were there before its end (its result).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = JournalLock(path)
        lock: Any = self._writing  # the base class of Optuna's own is not public
        super().__init__(str(path), lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records behind the others."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._writing.acquire()
        try:
            with self._path.open("ab") as file:
                file.write(text.encode())
                file.flush()
                if any(log["op_code"] not in CAN_WAIT for log in logs):
                    os.fsync(file.fileno())
        finally:
            self._writing.release()


def mend_journal(journal: Path) -> int:
    """Cut off a torn last line; return its bytes.

    Raises ValueError for a file that is no journal, and leaves it as it is.
    """
    if not journal.exists():
        return 0
    with journal.open("rb") as file:
        if not _is_journal(file.readline()):
            raise ValueError("this file is no Optuna journal")
    with FileLock(f"{journal}.writer"):
        return cut_torn_line(journal)


def cut_torn_line(journal: Path) -> int:
    """Cut off a last line without its end; return its bytes. The caller holds the lock."""
    if not journal.exists():
        return 0
    with journal.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        if file.read(1) in (b"", b"\n"):
            return 0
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        return size - whole


def _is_journal(first_line: bytes) -> bool:
    """Whether the first line is a journal's, be it torn; an empty file may become one."""
    is_whole = first_line.endswith(b"\n")
    return first_line.startswith(RECORD) or (not is_whole and RECORD.startswith(first_line))
