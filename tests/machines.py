"""Commands that run as on a machine of their own, as far as the system can be divided."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

UNSHARE = ("unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child=KILL")
"""Gives a command its own mounts, host name and processes; they all die with it."""


def on_machine(
    name: str, command: Sequence[object], mounts: Mapping[Path, Path] | None = None
) -> list[str]:
    """Return a command that runs another one on a machine of this name.

    mounts: folder that it sees → the one that is there in its place
    Skips the test where the system does not allow it.
    """
    if (
        not shutil.which("unshare")
        or subprocess.run([*UNSHARE, "true"], capture_output=True).returncode
    ):
        pytest.skip("machines with a host name of their own need unshare, and root")
    steps = [["hostname", name]]
    steps += [["mount", "--bind", str(has), str(sees)] for sees, has in (mounts or {}).items()]
    # The shell stays, as the first process, for whom orphans are left: it reaps them.
    last = f"{shlex.join(map(str, command))} & wait $!"
    return [*UNSHARE, "sh", "-ec", "; ".join([*map(shlex.join, steps), last])]
