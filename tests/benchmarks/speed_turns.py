"""Ways of searching that take turns on the machine, each a process of its own.

A way trains piece after piece and hands each over (`Turns`, its end of the pipe). Between two
pieces it waits for its turn, and meanwhile it is stopped, with every process that it has started
(`Runner`, the other end). Linux only: SIGSTOP, and who started whom is read from /proc.
"""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
import signal
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.spec import StudySpec


@dataclass(frozen=True)
class Job:
    """What a way has to do.

    model: a study of `speed_studies`
    folder: for what it writes
    n_trials: to train; of the first one the learning rate is given
    n_workers: for the way that has several
    """

    model: str
    folder: Path
    n_trials: int
    learning_rate: float = 0.0
    n_workers: int = 1

    @property
    def study(self) -> StudySpec:
        """The study."""
        return study_of(self.model)

    @property
    def work(self) -> Work:
        """What one of its trials is."""
        return Work.of(self.study)


@dataclass(frozen=True)
class Work:
    """What one trial is, the same for every way."""

    n_folds: int
    n_epochs: int
    updates_per_fold_epoch: int

    @classmethod
    def of(cls, study: StudySpec) -> Work:
        """Count a study's. Its folds must have alike many updates."""
        x, y = study.load_data()
        updates = {-(-len(train) // study.batch_size) for train, _ in study.splitter.split(x, y)}
        (each,) = updates
        return cls(study.splitter.get_n_splits(), int(study.fixed["max_epochs"]), each)

    @property
    def n_fold_epochs(self) -> int:
        """Of one trial."""
        return self.n_folds * self.n_epochs


def study_of(model: str) -> StudySpec:
    """Return a study of `speed_studies`."""
    return importlib.import_module(f"tests.benchmarks.speed_studies.{model}").study


@dataclass(frozen=True)
class Piece:
    """What was trained in one turn.

    trial: the trial that it is of, or that ended in it; from 0 on
    validation_loss: after the trial's last epoch, the mean over the piece's folds; None where the
        piece ends at none
    training_secs: of its seconds those inside training, where the way can tell
    seconds: since the turn began; of the first piece, since the process was started
    """

    trial: int
    learning_rate: float
    n_fold_epochs: int
    validation_loss: float | None
    training_secs: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Whole:
    """What a way did from its beginning to its end.

    n_logged: fold-epochs of the trials whose validation loss is in MLflow's store
    seconds: since its last piece
    """

    n_fold_epochs: int
    n_updates: int
    n_logged: int
    seconds: float


@dataclass(frozen=True)
class Skipped:
    """A way that cannot be run here, and why."""

    reason: str


@dataclass
class Timed:
    """What one way did: its first piece, in which it started up, the others, and its end."""

    first: Piece
    others: list[Piece] = field(default_factory=list)
    whole: Whole | None = None

    @property
    def pieces(self) -> list[Piece]:
        """All of them."""
        return [self.first, *self.others]

    @property
    def secs(self) -> list[float]:
        """Seconds per fold-epoch of each piece after the first."""
        return [piece.seconds / piece.n_fold_epochs for piece in self.others]

    @property
    def median_secs(self) -> float:
        """Of a fold-epoch."""
        return statistics.median(self.secs)

    @property
    def start_up_secs(self) -> float:
        """What the first piece took longer than a usual one."""
        return self.first.seconds - self.median_secs * self.first.n_fold_epochs

    @property
    def ending_secs(self) -> float:
        """What came after the last piece took, less what was still to be trained then."""
        if self.whole is None:
            return math.nan
        n_left = self.whole.n_fold_epochs - sum(piece.n_fold_epochs for piece in self.pieces)
        return self.whole.seconds - self.median_secs * n_left

    @property
    def share_outside(self) -> float | None:
        """Share of the time that is spent outside training, where the way can tell."""
        inside = [p.training_secs for p in self.others if p.training_secs is not None]
        if not inside:
            return None
        return 1 - sum(inside) / sum(piece.seconds for piece in self.others)

    @property
    def first_loss(self) -> float:
        """The mean validation loss over folds at the end of the first trial."""
        losses = [piece.validation_loss for piece in self.pieces if piece.trial == 0]
        return statistics.mean(loss for loss in losses if loss is not None)


class Turns:
    """A way's end of the pipe.

    start: of its process, in `time.time()` seconds
    goes_on: whether the way trains on while it hands a piece over, until it is stopped
    """

    def __init__(self, connection: Connection, start: float) -> None:
        self._connection = connection
        self._start = start
        self.goes_on = False
        self._n_fold_epochs = self._n_updates = 0
        self._is_over = False

    def count(self, n_fold_epochs: int, n_updates: int) -> None:
        """Add to what was trained in all."""
        self._n_fold_epochs += n_fold_epochs
        self._n_updates += n_updates

    def hand_over(self, piece: Piece) -> None:
        """Send a finished piece, then wait for the next turn; after the last, do nothing."""
        if self._is_over:
            return
        now = time.time()
        self._connection.send(replace(piece, seconds=now - self._start))
        answer = self._connection.recv()
        self._is_over = answer == "end"
        self._start = now if self.goes_on and answer == "go on" else time.time()

    def end(self, store: Path | None = None, n_epochs: int = 0) -> None:
        """Send what was done in all.

        store: MLflow's database, if there is one; n_epochs: of a trial
        """
        seconds = time.time() - self._start
        n = 0 if store is None else n_logged(store, n_epochs)
        self._connection.send(Whole(self._n_fold_epochs, self._n_updates, n, seconds))

    def skip(self, reason: str) -> None:
        """Send that this way cannot be run."""
        self._connection.send(Skipped(reason))


def n_logged(store: Path, n_epochs: int) -> int:
    """Return how many validation losses of one fold after one epoch are in MLflow's database.

    n_epochs: of a trial; what is trained beyond them, to find where the best one's curve ends, does
        not count
    """
    with closing(sqlite3.connect(store)) as connection:
        query = (
            "SELECT count(*) FROM metrics WHERE step <= ? AND "
            "(key = 'val_loss' OR key LIKE 'fold_%/val_loss')"
        )
        return int(connection.execute(query, (n_epochs,)).fetchone()[0])


class Runner:
    """A way's process, stopped whenever it is not its turn.

    run: (connection, start, *args), what the process does
    timed: what it has done; its first piece is trained when this returns
    skipped: why it cannot be run; "" when it can
    """

    def __init__(self, run: Callable[..., None], *args: object) -> None:
        self._connection, other = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=run, args=(other, time.time(), *args), daemon=True
        )
        self._process.start()
        other.close()
        first = self._connection.recv()
        self.skipped = first.reason if isinstance(first, Skipped) else ""
        self._family: list[int] = []
        if not self.skipped:
            self.timed = Timed(first)
            self._stop()

    def train(self, n_pieces: int) -> None:
        """Give it a turn of so many pieces, or of those that are left."""
        if n_pieces == 0 or self.timed.whole is not None:
            return
        self._go_on()
        for i in range(n_pieces):
            self._connection.send("go on" if i else "your turn")
            message = self._connection.recv()
            if isinstance(message, Whole):
                self._end(message)
                return
            assert isinstance(message, Piece), message
            self.timed.others.append(message)
        self._stop()

    def end(self) -> None:
        """Let it end after its last piece."""
        if self.timed.whole is None:
            self._go_on()
            self._connection.send("end")
            self._end(self._connection.recv())

    def kill(self) -> None:
        """End it at once, with what it has started, in whatever state they are."""
        if self._process.is_alive():
            for pid in family(self._process.pid or 0, signal.SIGSTOP):
                send(pid, signal.SIGKILL)

    def _end(self, whole: object) -> None:
        assert isinstance(whole, Whole), whole
        self.timed.whole = whole
        self._process.join()

    def _stop(self) -> None:
        # First those that are known, at once: to look for others takes milliseconds.
        ours = {os.getpid(), *self._family}
        for pid in self._family:
            if parent_of(pid) in ours:  # else it has ended, and another may have its number
                send(pid, signal.SIGSTOP)
        self._family = family(self._process.pid or 0, signal.SIGSTOP)

    def _go_on(self) -> None:
        for pid in self._family:
            send(pid, signal.SIGCONT)


def family(pid: int, number: signal.Signals) -> list[int]:
    """Send a signal to a process and to all that it has started; return them, parents first.

    A parent that is stopped first starts no more.
    """
    found = [pid]
    for each in found:
        send(each, number)
        found += children(each)
    return found


def children(pid: int) -> list[int]:
    """Return the processes whose parent this one is."""
    others = (int(folder.name) for folder in Path("/proc").glob("[0-9]*"))
    return [other for other in others if parent_of(other) == pid]


def parent_of(pid: int) -> int | None:
    """Return a process's parent; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # "1234 (a name, maybe with ) in it) S 1233 …"
    return int(stat.rpartition(")")[2].split()[1])


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it still is."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
