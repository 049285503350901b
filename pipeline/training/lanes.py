"""Folds side by side: each trains in a thread, since TensorFlow's calls leave Python to the others.

A fold's epoch is a function of its own state and rows alone, so how many run at once changes time
and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Result = TypeVar("Result")


class Lanes:
    """Runs so many tasks at once, in the order in which they are begun.

    n: 1 runs each in the caller's thread, before `begin` returns
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._pool = ThreadPoolExecutor(n, thread_name_prefix="lane") if n > 1 else None

    def begin(self, task: Callable[[], Result]) -> Future[Result]:
        """Begin a task as soon as a lane is free; it may wait for one that was begun before it."""
        if self._pool is not None:
            return self._pool.submit(task)
        ended: Future[Result] = Future()
        ended.set_result(task())
        return ended


def give_up(tasks: Iterable[Future[Result]]) -> None:
    """Let tasks that wait for a lane never begin, and wait for those that are running."""
    wait([task for task in tasks if not task.cancel()])


def results(tasks: list[Future[Result]]) -> list[Result]:
    """Return the tasks' results, in their order, when all have ended.

    Raises what the first task that failed raised.
    """
    wait(tasks)
    return [task.result() for task in tasks]
