"""A real Slurm of two nodes on this machine, and what is in its queue."""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.machines import on_machine
from tests.postgres import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol")
NODES = ("node-one", "node-two")

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MailProg=/bin/true
KillWait=5
SchedulerParameters=sched_interval=1,batch_sched_delay=0
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """What is asked of a cluster, by its own commands."""

    def __init__(self, configuration: Path) -> None:
        self.environment = {**os.environ, "SLURM_CONF": str(configuration)}

    def asked(self, *command: object, environment: Mapping[str, str] | None = None) -> str:
        """Return what a command prints."""
        return subprocess.run(
            [*map(str, command)], env={**self.environment, **(environment or {})}, check=True,
            stdout=subprocess.PIPE, text=True, timeout=60,
        ).stdout  # fmt: skip

    def submit(self, script: Path, *options: str, environment: Mapping[str, str]) -> str:
        """Return the job's number."""
        return self.asked("sbatch", "--parsable", *options, script, environment=environment).strip()

    def state(self, job: str) -> dict[str, str]:
        """Return what Slurm says of a job, or of one task of an array ("7_1")."""
        return dict(re.findall(r"(\w+)=(\S*)", self.asked("scontrol", "show", "job", job)))

    def ended(self, job: str) -> tuple[str, str] | None:
        """Return how a job, or a task of an array, has ended, and with what; None until then."""
        now = self.state(job)
        is_over = now["JobState"] not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING")
        return (now["JobState"], now["ExitCode"]) if is_over else None


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Yield a cluster of two nodes; a test that cannot have one is skipped."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"Slurm's programs must be on PATH, missing {missing}")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons: list[subprocess.Popen[bytes]] = []

    def start(*command: object) -> None:
        given = [*map(str, command)]
        with (folder / "said").open("ab") as said:
            daemons.append(subprocess.Popen(given, cwd=folder, stdout=said, stderr=said))

    try:
        configuration = _written(folder)
        start(
            "munged", "--foreground", "--force", f"--key-file={folder / 'key'}",
            f"--socket={folder / 'munge.sock'}", f"--pid-file={folder / 'munged.pid'}",
            f"--seed-file={folder / 'seed'}", f"--log-file={folder / 'munged.log'}",
        )  # fmt: skip
        start("slurmctld", "-D", "-f", configuration)
        for name in NODES:
            start(*on_machine(name, ["slurmd", "-D", "-f", configuration, "-N", name]))
        slurm = Slurm(configuration)
        _wait_for_nodes(slurm, daemons, folder / "said")
        yield slurm
    finally:
        for daemon in reversed(daemons):
            daemon.kill()
            daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _written(folder: Path) -> Path:
    """Write what Slurm is to be like, and the key with which its daemons know each other."""
    (folder / "key").write_bytes(secrets.token_bytes(128))
    (folder / "key").chmod(0o400)
    for name in ("state", *NODES):
        (folder / name).mkdir()
    # Which kind of cgroups there is makes no difference: no task is kept in one.
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    text = CONFIGURATION.format(host=platform.node(), port=free_port(), folder=folder)
    for name in NODES:
        text += (
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={free_port()} CPUs=1\n"
        )
    configuration = folder / "slurm.conf"
    configuration.write_text(text)
    return configuration


def _wait_for_nodes(slurm: Slurm, daemons: list[subprocess.Popen[bytes]], said: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        ended = [daemon.args for daemon in daemons if daemon.poll() is not None]
        assert not ended, said.read_text()
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%D %t"],
            env=slurm.environment, capture_output=True, text=True,
        )  # fmt: skip
        if done.stdout.split() == [str(len(NODES)), "idle"]:
            return
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.2)
