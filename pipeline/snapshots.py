"""Snapshots on disk: what a search that is killed goes on from.

snapshots = Snapshots(folder, every_secs=30)
snapshots.restore("trial_007", lockstep)    # if there is one
...
snapshots.keep("trial_007", lockstep)       # after each epoch; writes when it is time
snapshots.drop("trial_007")                 # the trial has ended
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StoreUnavailable
from pipeline.files import aside_of, write_whole
from pipeline.tracking import Handover
from pipeline.training import LockstepTraining
from pipeline.training.snapshot_file import OtherVersion, Unreadable, as_bytes, of_bytes

EVERY_SECS = 30.0
"""How much training a kill may cost, where writing is cheap."""

MAX_SHARE = 0.01
"""Share of the time that writing may take: large models are written more rarely."""


class Snapshots:
    """One study's, in a folder of its own.

    every_secs: between two writes, or longer where a write takes more than a hundredth of that
    handover: to other nodes, if they do not share the folder
    say: where a line for the user goes
    clock: seconds
    """

    def __init__(
        self,
        folder: Path,
        *,
        every_secs: float = EVERY_SECS,
        handover: Handover | None = None,
        say: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._every_secs = every_secs
        self._handover = handover or Handover(None, folder)
        self._say = say
        self._clock = clock
        self._last_write, self._write_secs = clock(), 0.0
        self._failed = False
        self._current: tuple[str, LockstepTraining] | None = None

    def keep(self, name: str, lockstep: LockstepTraining, *, now: bool = False) -> None:
        """Write the training's state if it is time, or `now`.

        A disk that is full costs the snapshot, not the search: it is said once. None is written of
        a training that cannot go on from it.
        """
        if not lockstep.resumable:
            return
        self._current = (name, lockstep)
        pause = max(self._every_secs, self._write_secs / MAX_SHARE)
        if not now and self._clock() - self._last_write < pause:
            return
        start = self._clock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            content = as_bytes(lockstep.snapshot(), lockstep.params)
            write_whole(self._path(name), content)
            self._failed = False
            self._handover.give(self._path(name))
            if now:
                self._handover.flush()
        except OSError as error:
            if not self._failed:
                self._say(f"no snapshot could be written: {error.strerror or error}")
            self._failed = True
        self._last_write = self._clock()
        self._write_secs = self._last_write - start

    def keep_current(self) -> None:
        """Write the state of what is being trained, as it was after its last whole epoch."""
        if self._current is not None:
            self.keep(*self._current, now=True)

    def let_go(self) -> None:
        """Take it that nothing is being trained here: others may go on with what was kept."""
        self._current = None

    def restore(self, name: str, lockstep: LockstepTraining) -> bool:
        """Put back what was kept under this name; return whether there was anything.

        A file that was cut is dropped, with a line. Raises StoreUnavailable for one of another
        version.
        """
        path = self._fetched(name)
        if not path.exists():
            return False
        try:
            snapshot, params = of_bytes(path.read_bytes())
        except OtherVersion as error:
            raise StoreUnavailable(
                f"a snapshot must be of this program's version, got {path} of {error}; continue "
                "with the program that wrote it, or remove the file to train from the first epoch"
            ) from error
        except Unreadable as error:
            self._say(f"{path.name} is not whole ({error}): its training starts anew")
            path.unlink()
            return False
        if params != dict(lockstep.params) or not lockstep.fits(snapshot):
            self._say(f"{path.name} is of another training: this one starts anew")
            path.unlink()
            return False
        lockstep.restore(snapshot)
        self._last_write = self._clock()
        return True

    def has(self, name: str) -> bool:
        """Whether anything was kept under this name."""
        return self._path(name).exists()

    def trained(self, name: str) -> tuple[int, int]:
        """Return epochs and fold-epochs of what was kept under this name, 0 if nothing readable.

        Folds that are behind may have caught up by some: no epochs, but fold-epochs.
        """
        return _trained_in(self._fetched(name))

    def drop(self, name: str) -> None:
        """Remove what was kept under this name: its training has ended."""
        self._current = None
        path = self._path(name)
        if path.exists():
            self._handover.take_back(path)
        for each in (path, aside_of(path)):
            each.unlink(missing_ok=True)

    def drop_all(self, beginning: str, *, but: str | None = None) -> None:
        """Remove everything that was kept under names that begin like this, but not like that."""
        self._current = None
        for path in self._folder.glob(f"{beginning}*"):
            if but is None or not path.name.startswith(but):
                path.unlink(missing_ok=True)

    def _fetched(self, name: str) -> Path:
        """Return where a snapshot lies; another node may have brought the training further."""
        path = self._path(name)
        before = _trained_in(path)
        self._handover.fetch(path, is_better=lambda file: _trained_in(file) > before)
        return path

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.npz"


def _trained_in(path: Path) -> tuple[int, int]:
    """Return epochs and fold-epochs of a snapshot, 0 where there is none that can be read."""
    try:
        snapshot = of_bytes(path.read_bytes())[0] if path.exists() else None
    except (OtherVersion, Unreadable):
        snapshot = None
    if snapshot is None:
        return 0, 0
    return snapshot.n_epochs, sum(len(metrics) for metrics in snapshot.metrics.values())
