"""The time of day as MLflow is told it: it never goes back, whatever this machine's clock does.

Of several values at one step MLflow shows the latest, and it sorts a metric's history by time.
"""

from __future__ import annotations

import threading
import time


class Moments:
    """Milliseconds since 1970; ahead of a clock that was put back."""

    def __init__(self) -> None:
        self._last = self._ahead = 0
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the time, never less than before."""
        with self._lock:
            now = time.time_ns() // 1_000_000 + self._ahead
            if now < self._last:
                self._ahead += self._last + 1 - now
                now = self._last + 1
            self._last = now
            return now

    def not_before(self, moment: int | None) -> None:
        """Go on after a moment that an earlier session has noted, if it has."""
        with self._lock:
            self._last = max(self._last, moment or 0)


MOMENTS = Moments()
"""Of this process."""
