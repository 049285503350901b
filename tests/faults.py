"""Real searches in real processes, at which the machine fails at a stated point."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.kill import CONTEXT, keep_every_epoch, wrap

Fault = Callable[[Path], None]
"""What befalls a folder."""

BALLAST = "ballast"


def fill(disk: Path) -> None:
    """Leave no room on the disk that a folder lies on."""
    with (disk / BALLAST).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize)


def refuse_to_grow(disk: Path) -> None:
    """Let no file of this process be written, on whichever disk: a quota that is spent."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def make_read_only(folder: Path) -> None:
    """Let nothing in a folder be opened for writing any more, root or not."""
    mount("--bind", folder, folder)
    mount("-o", "remount,bind,ro", folder)


def mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def unmount(folder: Path) -> None:
    """Unmount what is mounted on a folder, although this process may have a file of it open."""
    subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Mount a disk of so many megabytes, in memory; a test that may not mount is skipped."""
    folder.mkdir()
    try:
        mount("-t", "tmpfs", "-o", f"size={megabytes}m", "small-disk", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk of its own must be mounted, which this machine refuses: {error}")
    try:
        yield folder
    finally:
        unmount(folder)


def command(arguments: list[str], said: Connection) -> None:
    """Run the search's command in this process; its standard error goes to `said`."""
    from pipeline.cli import search_options
    from pipeline.ending import end_process

    os.dup2(said.fileno(), 2)
    os.dup2(said.fileno(), 1)
    print("begun", flush=True)
    end_process("pipeline.search", search_options(arguments))


def search_until(
    arguments: list[str], said: Connection, fault: Fault, folder: Path, point: str, call: int
) -> None:
    """Run the command; before the `call`-th call (from 1) of a point the fault befalls a folder."""
    n_calls = 0

    def befalling(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            if n_calls == call:
                fault(folder)
            return function(*args, **kwargs)

        return wrapped

    keep_every_epoch()
    wrap(point, befalling)
    command(arguments, said)


class Started:
    """A process that runs the command."""

    def __init__(self, target: Callable[..., None], arguments: list[str], *more: Any) -> None:
        self._listener, said = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=target, args=(arguments, said, *more))
        self._process.start()
        said.close()

    def send(self, number: int, *, after_secs: float) -> None:
        """Send a signal so long after the command has begun, if it has not ended by then."""
        assert self._listener.poll(120)
        self._process.join(timeout=after_secs)
        if self._process.is_alive():
            assert self._process.pid is not None
            os.kill(self._process.pid, number)

    def end(self) -> tuple[int, str]:
        """Wait for the process; return its exit code and what it said."""
        said = b""
        while part := os.read(self._listener.fileno(), 65536):
            said += part
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode, said.decode()


def ended(target: Callable[..., None], arguments: list[str], *more: Any) -> tuple[int, str]:
    """Return the exit code of a process that runs the command, and what it said."""
    return Started(target, arguments, *more).end()
