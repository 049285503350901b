"""Where a trial's time goes: seconds by part of the program, each without the parts that it calls.

parts = Parts()
with parts.watching({"training": [(LockstepTraining, "advance")]}):
    ...
parts.seconds["training"]
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

Functions = Mapping[str, Sequence[tuple[Any, str]]]
"""Part → its functions, each as (owner, name)."""


class Parts:
    """Adds up the time spent in named functions while they are watched.

    seconds: by part
    clock: seconds; `time.thread_time` counts those of the processor, in the calling thread
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: Counter[str] = Counter()
        self._clock = clock
        self._of_thread = threading.local()

    @contextmanager
    def watching(self, functions: Functions) -> Iterator[None]:
        """Time these functions in the block. Raises AttributeError where one is not there."""
        with ExitStack() as stack:
            for part, members in functions.items():
                for owner, name in members:
                    timed = self._timed(part, getattr(owner, name))
                    stack.enter_context(mock.patch.object(owner, name, timed))
            yield

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **options: Any) -> Any:
            inner = self._of_thread.__dict__.setdefault("inner", [])
            inner.append(0.0)  # seconds of the parts that this call will make
            start = self._clock()
            try:
                return function(*args, **options)
            finally:
                whole = self._clock() - start
                self.seconds[part] += whole - inner.pop()
                if inner:
                    inner[-1] += whole

        return timed
