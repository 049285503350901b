"""Who writes: one background thread, few large calls, so that logging never delays an epoch.

MLflow's cost is per call first, so what comes in two seconds is written together, run by run;
`together.py` has the cost per metric. Metrics keep the time at which they were queued: MLflow drops
exact duplicates, hence a write that failed half-way may simply be repeated.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.errors import StoreUnavailable
from pipeline.retry import DEFAULT_PATIENCE_SECS, is_passing, pauses
from pipeline.tracking.moments import MOMENTS
from pipeline.tracking.store import reason_of
from pipeline.tracking.unsent import Unsent
from pipeline.tracking.updates import Metrics, Texts, Update, send_together

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_METRICS_PER_CALL = 1000
AGAIN_SECS = 30.0
"""Between two attempts at a store that has been given up."""

# What repeating cannot mend: a run that was deleted, a name that is refused.
_PERMANENT = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}


class MetricWriter:
    """Writes metrics and other updates of runs in the background, in the order they came.

    A store that fails is tried again for `patience_secs`, then only now and then: the search goes
    on, what was not written is kept, each `flush` tries once and raises while something is missing.
    An update that the store refuses for good (a run deleted meanwhile) is dropped and counted.
    With `unsent`, what is missing at the end is kept in the study's folder instead of raising.

    unsent: the file for it; what an earlier session left there is queued first
    n_left: how many updates that was
    left_behind: what is in the file at the end, and why, in words; "" when all was sent
    is_away: whether the last attempt failed: whoever cannot wait need not try
    interval_secs: how long metrics gather before they are written
    patience_secs: how long a failing store is tried
    again_secs: how long one that was given up is left alone
    answer_secs: how long `flush` waits at least for a store that says nothing at all
    clock, sleep: seconds; tests pass their own
    """

    def __init__(
        self,
        client: MlflowClient,
        *,
        unsent: Unsent | None = None,
        interval_secs: float = 2.0,
        patience_secs: float = DEFAULT_PATIENCE_SECS,
        again_secs: float = AGAIN_SECS,
        answer_secs: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self.unsent = unsent
        self.left_behind = ""
        self.is_away = False
        self._real_ids: dict[str, str] = {}
        self._interval_secs = interval_secs
        self._patience_secs = patience_secs
        self._again_secs = again_secs
        self._silence_secs = max(patience_secs, answer_secs)
        self._clock = clock
        self._sleep = sleep
        self._changed = threading.Condition()
        self._pending = deque([*unsent.read(), *unsent.adopt()] if unsent else ())
        self.n_left = len(self._pending)
        self._refused: list[Update] = []
        self._apart: set[int] = set()  # by id: were refused together with others
        self._refusal = ""
        self._failure = ""
        self._flushing = False
        self._closed = False
        self._last_progress = clock()
        self._thread = threading.Thread(target=self._run, name="metric-writer", daemon=True)
        self._thread.start()

    @property
    def patience_secs(self) -> float:
        """How long a failing store is tried again."""
        return self._patience_secs

    @property
    def problem(self) -> str:
        """Why something is not in the store, in one line; empty when all is well."""
        return self._failure or self._refusal

    def put(
        self,
        run_id: str,
        metrics: Mapping[str, float],
        step: int,
        timestamp_ms: int | None = None,
    ) -> None:
        """Queue metrics of a run; returns at once, whatever the store does.

        timestamp_ms: of them, since 1970; None is now
        """
        self.update(Metrics(run_id, dict(metrics), step, timestamp_ms or MOMENTS.now()))

    def update(self, update: Update) -> None:
        """Queue any update. Those of a run are sent in order, metrics and texts together."""
        with self._changed:
            if self._closed:
                raise RuntimeError("this writer is closed")
            self._pending.append(update)
            if len(self._pending) == 1:  # else the thread has work already
                self._changed.notify_all()

    def adopt(self) -> int:
        """Queue what workers left behind that have ended; return how many updates."""
        adopted = self.unsent.adopt() if self.unsent else []
        for update in adopted:
            self.update(update)
        return len(adopted)

    def flush(self) -> None:
        """Wait until everything queued so far is in the store.

        Raises StoreUnavailable, saying how much is not, when the store refused it, or neither took
        nor refused anything for as long as it is waited for.
        """
        with self._changed:
            last = self._pending[-1] if self._pending else None
            self._flushing = True
            self._last_progress = self._clock()
            self._changed.notify_all()
            while self._flushing and not self._stalled():
                self._changed.wait(timeout=0.1)
            if self._refused or any(item is last for item in self._pending):
                raise StoreUnavailable(self._what_is_missing())

    def close(self) -> None:
        """Flush, then end the thread.

        Keeps what is missing if there is a file for it; else raises StoreUnavailable as `flush`.
        """
        try:
            self.flush()
            if self.unsent:
                self.unsent.write([])
        except StoreUnavailable as error:
            if self.unsent is None:
                raise
            self.left_behind = f"{error}. {self._kept_in(self.unsent)}"
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        # The error that ended the block is the one to show.
        with suppress(StoreUnavailable):
            self.close()

    def _kept_in(self, unsent: Unsent) -> str:
        """Keep what is missing; return where, in words."""
        with self._changed:
            pending, refused = [self._with_real_id(item) for item in self._pending], self._refused
        unsent.note_refused(refused)
        unsent.write(pending)
        places = [str(unsent.path)] * bool(pending) + [str(unsent.refused)] * bool(refused)
        kept = f"Kept in {' and '.join(places)}"
        return f"{kept}; the same command sends it" if pending else kept

    def _with_real_id(self, update: Update) -> Update:
        """Return an update of a run that was created late with the id that it has by now."""
        return replace(update, run_id=self._real_ids.get(update.run_id, update.run_id))

    def _stalled(self) -> bool:
        return self._clock() - self._last_progress > self._silence_secs

    def _what_is_missing(self) -> str:
        missing = [*self._refused, *self._pending]
        n_metrics = sum(len(item.values) for item in missing if isinstance(item, Metrics))
        n_others = sum(not isinstance(item, Metrics) for item in missing)
        why = self.problem or f"the store has not answered for {self._silence_secs:g} seconds"
        return (
            f"{n_metrics} metrics and {n_others} other updates of runs were not written to the "
            f"tracking store: {why}"
        )

    # What follows runs in the thread.

    def _run(self) -> None:
        while self._wait_for_work():
            self._write_all()

    def _wait_for_work(self) -> bool:
        """Return whether there is work, after a pause in which more may come; False to end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._flushing or self._closed or (self._pending and not self._failure),
                timeout=self._again_secs if self._failure else None,
            )
            if not self._flushing and not self._closed:
                self._changed.wait_for(lambda: self._flushing, timeout=self._interval_secs)
            return self._flushing or not self._closed

    def _write_all(self) -> None:
        """Write what is queued by now; what comes meanwhile gathers again, unless it is flushed."""
        with self._changed:
            round_ = {id(item) for item in self._pending}
        while (round_ or self._flushing) and (batch := self._next_batch()):
            if not self._write_with_patience(batch):
                with self._changed:
                    self._flushing = False
                    self._changed.notify_all()
                return
            with self._changed:
                ended = {id(item) for item in batch}
                if len(batch) > 1:
                    ended -= self._apart
                self._apart -= ended
                round_ -= ended
                self._pending = deque(i for i in self._pending if id(i) not in ended)
                self._failure = ""
                self._last_progress = self._clock()

    def _next_batch(self) -> list[Update]:
        """Return one update, or metrics and texts of one run that fit in one call to the store.

        What was queued after another update of the run stays behind it: it may be the run's end.
        """
        with self._changed:
            if not self._pending:
                self._flushing = False
                self._changed.notify_all()
                return []
            first = self._pending[0]
            if not isinstance(first, Metrics | Texts) or id(first) in self._apart:
                return [first]
            batch: list[Update] = []
            n_metrics = 0
            for item in self._pending:
                if item.run_id != first.run_id:
                    continue
                if not isinstance(item, Metrics | Texts):
                    break
                n_metrics += len(item.values) if isinstance(item, Metrics) else 0
                if batch and n_metrics > MAX_METRICS_PER_CALL:
                    break
                batch.append(item)
            return batch

    def _write_with_patience(self, batch: list[Update]) -> bool:
        """Return True when the batch is dealt with, False when the store is given up."""
        started = self._clock()
        for pause_secs in pauses():
            try:
                self._write(batch)
                self.is_away = False
                return True
            except Exception as error:
                reason = reason_of(error)
                if _is_permanent(error):
                    self._refuse(batch, reason)
                    return True
            self.is_away = True
            gave_up_before = bool(self._failure)
            self._failure = reason
            if gave_up_before or self._clock() - started > self._patience_secs:
                return False
            self._failure = ""
            self._sleep(pause_secs)
        raise AssertionError("pauses never end")

    def _refuse(self, batch: list[Update], reason: str) -> None:
        """Drop what the store refuses for good; of several, find out which by sending each."""
        with self._changed:
            if len(batch) > 1:
                self._apart |= {id(item) for item in batch}
            else:
                self._refused += batch
                self._refusal = reason

    def _write(self, batch: list[Update]) -> None:
        first = batch[0]
        run_id = self._real_ids.get(first.run_id, first.run_id)
        if isinstance(first, Metrics | Texts):
            send_together(self._client, run_id, batch)
        elif real_id := first.send(self._client, run_id):
            self._real_ids[first.run_id] = real_id


def _is_permanent(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in _PERMANENT
    # An S3 client's are no OSErrors.
    return not isinstance(error, OSError) and not is_passing(error)
