"""A line of a crontab (Vixie cron, cronie: crontab(5)).

A failure is printed, which cron mails; everything else goes to the log.
"""

from __future__ import annotations

import shlex

from pipeline.errors import ExitCode, require
from pipeline.units.job import NO_FAILURE, Job, commented

MAX_COMMAND_BYTES = 998
"""A longer command is refused by Debian's cron: 1000 less the newline and the end of the string."""


def crontab(job: Job) -> str:
    """Return the job as a line of a crontab, with comments.

    Raises BadInput when the command is longer than cron reads.
    """
    command = escaped(shell_command(job))
    n_bytes = len(command.encode())
    allowed = f"at most {MAX_COMMAND_BYTES} bytes, as cron reads no more; use --systemd"
    require(n_bytes <= MAX_COMMAND_BYTES, "a crontab's command", allowed, n_bytes)
    how = [
        *job.comments,
        "Add this to your crontab: crontab -e",
        f"Its log: {job.log}",
        "A failure is printed, and so mailed by cron where MAILTO is set. None are: "
        + ", ".join(str(code.value) for code in NO_FAILURE),
        "(undetermined; another run active; interrupted, and continued by the next start).",
    ]
    return f"{commented(how)}\n{job.when.cron} {command}\n"


def shell_command(job: Job) -> str:
    """Return the job for `sh -c`."""
    environment = [f"{name}={value}" for name, value in job.environment.items()]
    # --foreground: otherwise `timeout` signals its child and then the whole process group, and a
    # second signal ends a search at once, in the middle of its epoch.
    limit = ["timeout", "--foreground", "--preserve-status", "--signal=TERM"]
    limit += [f"--kill-after={job.kill_after_secs}s", f"{job.stop_after_secs}s"]
    command = shlex.join(["env", *environment, *limit, *job.command])
    codes = "|".join(str(code.value) for code in (ExitCode.SUCCESS, *NO_FAILURE))
    log = shlex.quote(str(job.log))
    failed = shlex.quote(f"{job.unit_name} failed, see {job.log}: exit code")
    return (
        f"cd {shlex.quote(str(job.home))} && {command} >>{log} 2>&1; "
        f'case $? in {codes}) ;; *) echo {failed} "$?";; esac'
    )


def escaped(command: str) -> str:
    r"""Return a shell command as cron wants it: a bare "%" would end it.

    Cron reads "\\%" as a backslash and a bare "%": there the quotes, in which every backslash of
    these commands stands, are closed and opened again in between.
    """
    return command.replace("\\%", "\\''%").replace("%", "\\%")
