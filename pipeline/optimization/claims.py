"""Which worker is at which trial: locks in the study's folder, which go with their process.

with claims.asking():                       # one worker at a time
    proposal = next_proposal(study, spec, take=claims.take)
...
claims.release(proposal.number)             # it has ended, or is left to others
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.results import trial_name


class Claims:
    """One worker's, in a folder that all workers of the study share.

    A trial that is RUNNING and claimed by nobody was left by a worker that stopped or died.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[int, FileLock] = {}

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold the lock under which trials are begun, taken up and let go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / "asking.lock"):
            yield

    def take(self, number: int) -> bool:
        """Claim a trial; return whether it is this worker's now. Only while asking."""
        if number in self._held:
            return True
        lock = FileLock(self._path(number), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._held[number] = lock
        return True

    def is_taken(self, number: int) -> bool:
        """Whether another worker is at the trial. Only while asking."""
        if number in self._held or not self._path(number).exists():
            return False
        if mine := self.take(number):
            self._let_go(number)
        return not mine

    def release(self, number: int) -> None:
        """Let a trial go, if it is held."""
        if number in self._held:
            with self.asking():  # or another one may lock a file that is no longer there
                self._let_go(number)

    def check(self, number: int, *, now: bool = False) -> None:
        """Nobody takes up a trial whose lock is held: see `HeartbeatClaims.check`."""

    def _let_go(self, number: int) -> None:
        self._path(number).unlink(missing_ok=True)
        self._held.pop(number).release()

    def _path(self, number: int) -> Path:
        return self._folder / f"{trial_name(number)}.lock"
