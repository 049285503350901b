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
    """Runs so many tasks at once on each device, in the order in which they are begun there.

    n: in all; 1 runs each in the caller's thread, before `begin` returns
    n_each: on each device
    """

    def __init__(self, n_each: int, n_devices: int = 1) -> None:
        self.n_each, self.n = n_each, n_each * n_devices
        self._pools = [
            ThreadPoolExecutor(n_each, thread_name_prefix=f"lane {number}")
            for number in range(n_devices if self.n > 1 else 0)
        ]

    def begin(self, task: Callable[[], Result], device: int = 0) -> Future[Result]:
        """Begin a task as soon as one of its device's lanes is free.

        device: its number. A task may wait for one that was begun before it there
        """
        if self._pools:
            return self._pools[device].submit(task)
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
