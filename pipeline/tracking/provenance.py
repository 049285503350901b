"""Where a run comes from: commit, versions, machine. Never an environment variable."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

PACKAGES = ("tensorflow", "keras", "optuna", "mlflow", "scikit-learn", "numpy")
PACKAGE = Path(__file__).resolve().parents[1]
GIT_TIMEOUT_SECS = 10.0


def provenance(home: Path) -> dict[str, str]:
    """Return the tags that say with what a study was searched.

    home: the project that holds the study; its commit is left out when it is no git checkout
    Versions are read from the packages' metadata: nothing is imported.
    """
    tags = {
        "version.python": platform.python_version(),
        "host.platform": platform.platform(),
        "host.cpus": str(_usable_cpus()),
    }
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            tags[f"version.{package}"] = metadata.version(package)
    commit = _commit(home)
    return {**tags, "git.commit": commit} if commit else tags


def versions() -> dict[str, str]:
    """Return what must be the same wherever a study is trained, by name.

    Of this program the hash of its source, since not every change is a new version.
    """
    code = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        code.update(file.read_bytes())
    found = {"python": platform.python_version(), "this program": code.hexdigest()[:12]}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _usable_cpus() -> int:
    """Return the CPUs that this process may use: a batch system grants fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _commit(home: Path) -> str | None:
    """Return the commit, with "-dirty" when tracked files differ from it; None without git."""
    # Inside a git hook GIT_DIR names another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    describe = ["git", "-C", str(home), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(
            [*describe, "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_TIMEOUT_SECS,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
