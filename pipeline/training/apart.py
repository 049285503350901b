"""A task in a copy of this process, where TensorFlow has not run yet and can be set up otherwise.

A copy has the data and the user's functions, whatever they are, and loads no library again.
TensorFlow survives being copied until it runs its first operation, and no longer.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeVar

import tensorflow as tf

from pipeline.training.devices import GPUS

Result = TypeVar("Result")

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: which signal comes when the parent has died."""

TASK_SECS = 600.0
"""A copy has the locks as they are, and not the threads that would let go of them."""


def can_copy() -> bool:
    """Whether this process can be copied: TensorFlow has not run in it, and holds no GPU.

    A daemonic process, such as one of a pool's, may have no children.
    """
    may_have_children = not multiprocessing.current_process().daemon
    return sys.platform == "linux" and may_have_children and not GPUS and not runs()


def runs() -> bool:
    """Whether TensorFlow has run anything in this process: then it keeps its threads."""
    n = tf.config.threading.get_intra_op_parallelism_threads()
    try:
        tf.config.threading.set_intra_op_parallelism_threads(n + 1)
    except RuntimeError:
        return True
    tf.config.threading.set_intra_op_parallelism_threads(n)
    return False


def in_a_copy(task: Callable[[], Result]) -> Result | None:
    """Run a task in a copy of this process and return what it returned.

    None where it raised, or had not returned after TASK_SECS.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(task, theirs), daemon=True)
    process.start()
    theirs.close()
    result: Result | None = None
    try:
        with ours, suppress(EOFError):
            if ours.poll(TASK_SECS):
                result = ours.recv()
    finally:
        process.kill()
        process.join()
    return result


def _run(task: Callable[[], Result], told: Connection) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Its parent hears what a terminal or a scheduler sends to both, and ends it where it ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with suppress(Exception):  # whoever does the same in the open is told
        told.send(task())
