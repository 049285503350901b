"""A batch script for Slurm (sbatch(1))."""

from __future__ import annotations

import math
import re
import shlex

from pipeline.errors import require
from pipeline.units.job import Job, commented

SEVERAL = [
    "With --array=1-8 eight nodes work at the study: whichever comes first holds it, the others",
    "join it. They share this folder, or a database server (OPTUNA_STORAGE) and a tracking",
    "server; its password is read from ~/.pgpass. Each node has a log of its own.",
]
"""For jobs that join each other."""


def batch_script(job: Job) -> str:
    """Return the script that `sbatch` takes.

    Raises BadInput for a project whose path Slurm cannot read.
    """
    # A file name with a backslash in it loses them all, and "%%" is then two signs.
    allowed = "a path without a backslash, as Slurm drops these"
    require("\\" not in str(job.home), "the project's folder", allowed, str(job.home))
    minutes = math.ceil((job.stop_after_secs + job.kill_after_secs) / 60)
    log = str(job.log).replace("%", "%%")
    if job.joins:  # each node has its own
        log = f"{log.removesuffix('.log')}-%N.log"
    options = [
        f"--job-name={job.unit_name}",
        f"--chdir={quoted(str(job.home))}",
        f"--output={quoted(log)}",
        "--open-mode=append",
        f"--time={minutes}",
        f"--signal=B:USR1@{job.kill_after_secs}",
        "--requeue",
        # Of several that join each other none waits.
        *([] if job.joins else ["--dependency=singleton"]),
    ]
    how = [
        *job.comments,
        "",
        f"Save it as {job.unit_name}.sbatch, then submit it, with what your cluster asks for:",
        f"  sbatch --partition=… --cpus-per-task=… --gres=… {job.unit_name}.sbatch",
        "Slurm has no calendar in a script: for every start, put that command, with the script's",
        "whole path, into `scrontab -e`, or `crontab -e` of a machine that may submit:",
        f"  {job.when.cron} sbatch …",
        "",
        "A job that is preempted or loses its node is queued again and continues the study.",
        *(SEVERAL if job.joins else ["Of two jobs of this name the second waits."]),
        "Slurm calls every exit code but 0 FAILED, also 4 (undetermined), 5 (another run active)",
        "and 130 (interrupted, to be continued).",
        "",
        "exec: the search takes the shell's place, so that B:USR1 and SIGTERM reach it, once.",
    ]
    exports = [f"export {name}={shlex.quote(text)}" for name, text in job.environment.items()]
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in options),
            commented(how),
            *exports,
            f"exec {shlex.join(job.command)}",
            "",
        ]
    )


def quoted(text: str) -> str:
    """Return a value of an #SBATCH line: quotes group, "#" begins a comment outside of them."""
    if re.fullmatch(r"[\w./:=,+@%-]+", text):
        return text
    return '"' + text.replace('"', '\\"') + '"'
