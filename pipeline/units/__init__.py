"""Units of the schedulers: what each of them reads to run a search, as text.

Each kind is one function on a `Job`, in its own file; the job and when it starts are the same for
all of them.
"""

from collections.abc import Callable

from pipeline.units.cron import crontab
from pipeline.units.job import Job
from pipeline.units.kubernetes import cron_job
from pipeline.units.slurm import batch_script
from pipeline.units.systemd import service_and_timer
from pipeline.units.when import When

UNITS: dict[str, Callable[[Job], str]] = {
    "cron": crontab,
    "systemd": service_and_timer,
    "slurm": batch_script,
    "kubernetes": cron_job,
}

__all__ = ["UNITS", "Job", "When"]
