"""How a command ends: what it tells whoever started it, a person, a scheduler or a script.

Standard output gets the answer and nothing else, as text or, with `--json`, as one object on one
line, whatever the end. Errors go to standard error and the log file. `--on-finish COMMAND` gets the
object on its standard input. Nothing heavy is imported here, so that the libraries' own failures
to load end like any other.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from types import FrameType, ModuleType
from typing import Any, NoReturn

from pipeline.errors import ExitCode, PipelineError
from pipeline.files import json_text
from pipeline.log_file import LOG, kept_in

FORMAT = 1
"""Of the JSON object; a number that grows when a key goes or changes its meaning."""

NOTHING_KNOWN: dict[str, Any] = {
    "study": None,
    "run_url": None,
    "decision": None,
    "report": None,
    "costs": None,
    "unsent": None,
}
"""Keys that are in every object, and null where a command did not come so far."""

ON_FINISH_TIMEOUT_SECS = 60.0


@dataclass(frozen=True)
class Ending:
    """What a command has to tell.

    text: the answer, for a person
    error: what is wrong, in one sentence; "" when nothing is
    facts: further keys of the JSON object
    """

    exit_code: ExitCode
    text: str = ""
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_plain(self, command: str, seconds: float) -> dict[str, Any]:
        """Return the object that `--json` prints.

        seconds: of the whole command, on the wall clock
        """
        return {
            "format": FORMAT,
            "command": command,
            "outcome": self.exit_code.name.lower(),
            "exit_code": int(self.exit_code),
            "error": self.error or None,
            "seconds": round(seconds, 3),
            **NOTHING_KNOWN,
            **self.facts,
        }


def end_process(module: str, options: argparse.Namespace) -> NoReturn:
    """Run a module's command and end the process with its exit code."""
    code = main(module, options)
    os.dup2(2, 1)  # what still prints, at exit or from another thread, is not part of the answer
    raise SystemExit(code)


def main(module: str, options: argparse.Namespace) -> ExitCode:
    """Run a module's command, tell its end, and return its exit code.

    module: has `answered(options, facts) -> Ending`, and is imported here; `facts` is what it knows
        so far, told also if it fails
    options: json, log_file and on_finish are obeyed here
    """
    start = time.monotonic()
    with _only_the_answer_on_standard_output():
        ending = ending_of(lambda facts: _loaded(module).answered(options, facts), options)
    tell(ending, module, options, seconds=time.monotonic() - start)
    return ending.exit_code


def tell(ending: Ending, module: str, options: argparse.Namespace, *, seconds: float) -> None:
    """Print the answer, and start the command that waits for the end."""
    line = json_text(ending.as_plain(module.rpartition(".")[2], seconds))
    _print(line if options.json else ending.text)
    if options.on_finish:
        _on_finish(options.on_finish, line)


def ending_of(answered: Callable[[dict[str, Any]], Ending], options: argparse.Namespace) -> Ending:
    """Return how a command ends, whatever it raises; errors are written where they belong.

    answered: the command. Gets a dictionary for what it knows so far, told also if it fails
    options: log_file is obeyed here; of a search that joins others, the error says which node's
    """
    facts: dict[str, Any] = {}
    with ExitStack() as stack:
        try:
            stack.enter_context(kept_in(options.log_file))
            stack.enter_context(_sigterm_as_interrupt())
            ending = answered(facts)
        except PipelineError as error:
            ending = Ending(error.exit_code, error=str(error))
        except KeyboardInterrupt:
            ending = Ending(ExitCode.INTERRUPTED, error="interrupted before the search began")
        except (Exception, SystemExit) as error:
            trace = traceback.format_exc()
            print(trace, file=sys.stderr)
            LOG.error(trace)
            ending = Ending(ExitCode.FAILED, error=f"{type(error).__name__}: {error}")
        if ending.error and getattr(options, "if_running", "") == "join":
            # One log may be that of several nodes, as of a Slurm array.
            ending = replace(ending, error=f"{platform.node()}: {ending.error}")
        if ending.error:
            print(f"error: {ending.error}", file=sys.stderr)
            LOG.error(ending.error)
        LOG.info("ended: %s, exit code %d", ending.exit_code.name.lower(), ending.exit_code)
    return replace(ending, facts={**facts, **ending.facts})


def _loaded(module: str) -> ModuleType:
    """Import a command's module, and the libraries that it loads.

    None of what they define is garbage, but the collector would look through all of it again and
    again: a fifth of the time that they load, and then in every full collection of the search.
    """
    if module in sys.modules or not gc.isenabled():
        return importlib.import_module(module)
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _only_the_answer_on_standard_output() -> Iterator[None]:
    """Send to standard error what Python, C libraries and child processes print in the block."""
    sys.stdout.flush()
    standard_output = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ctypes.CDLL(None).fflush(None)  # C keeps what it prints until the process ends
        os.dup2(standard_output, 1)
        os.close(standard_output)


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Let a SIGTERM while the libraries load end the command as Ctrl-C does, and be told."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _print(text: str) -> None:
    """Print to standard output; whoever does not listen any more changes no exit code."""
    try:
        print(text, end="\n" if text else "", flush=True)
    except OSError as error:
        print(f"the answer cannot be printed: {error.strerror or error}", file=sys.stderr)
        with suppress(OSError):
            os.dup2(2, 1)  # or Python tries once more at exit, and changes the exit code


def _on_finish(command: str, text: str) -> None:
    """Run a shell command with the object on its standard input; what it does changes no end."""
    # A session of its own: what the shell has started can be ended with it.
    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.PIPE, stdout=2, text=True, start_new_session=True
    )
    problem = ""
    try:
        process.communicate(f"{text}\n", timeout=ON_FINISH_TIMEOUT_SECS)
        if process.returncode:
            problem = f"ended with {process.returncode}"
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        late = isinstance(error, subprocess.TimeoutExpired)
        problem = f"was killed after {ON_FINISH_TIMEOUT_SECS:g} s" if late else "was interrupted"
    if problem:
        print(f"--on-finish {problem}: {command}", file=sys.stderr)
