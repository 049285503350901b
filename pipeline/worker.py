"""One worker of a crew: python -m pipeline.worker, started by its supervisor.

It joins the study on its storage, asks, trains and tells until the budget is spent, and ends. Its
standard output is one JSON object, for the supervisor. `on_ray/actor.py` does the same on a node of
a Ray cluster.
"""

from __future__ import annotations

if __name__ == "__main__":
    from pipeline.cli_jobs import worker_options
    from pipeline.ending import end_process

    end_process("pipeline.worker", worker_options())

import argparse
import ctypes
import os
import platform
import signal
from typing import Any

from pipeline.batch import WORKER_GRACE_SECS, StopRequest
from pipeline.changes import with_options
from pipeline.ending import Ending
from pipeline.errors import BadInput, ExitCode
from pipeline.machine import Ceiling
from pipeline.progress import Display, Lines
from pipeline.question import pose
from pipeline.recording import Stores
from pipeline.study_file import load_study
from pipeline.work import join

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: which signal comes when the parent has died."""


def answered(options: argparse.Namespace, facts: dict[str, Any]) -> Ending:
    """Work for the supervisor that is this process's parent."""
    # A scheduler may signal all processes of a job, and the supervisor each once more.
    stop = StopRequest(WORKER_GRACE_SECS, ignored_then=[signal.SIGTERM])
    with stop.listening():
        stop_with(options.supervisor)
        return worked(options, Lines(), stop)


def worked(options: argparse.Namespace, display: Display, stop: StopRequest) -> Ending:
    """Work for a supervisor; tell it which budget was over, or that another must go on."""
    spec = with_options(load_study(options.study), options)
    stores = Stores(options.tracking_uri, options.storage, options.store_patience)
    stores.check(display.say)
    question = pose(spec, gpu_share=options.gpu_share, begun=stores.bring_record, say=display.say)
    if question.name != options.question:
        raise BadInput(
            f"the study must be the supervisor's, {options.question}, got {question.name} on "
            f"{platform.node()}: was its file, or its data, changed a moment ago, or are they "
            "others there?"
        )
    meeting, ceiling = stores.meeting_for(question, stop), Ceiling(options.memory_limit)
    ended_by = join(
        question, display, stop, stores, meeting, options.until, ceiling,
        device_mb=options.device_memory, number_on_ray=options.number_on_ray,
    )  # fmt: skip
    told = {"budget_over": ended_by, "ceiling_reached": ceiling.is_reached}
    return Ending(ExitCode.SUCCESS, facts=told)


def stop_with(supervisor: int) -> None:
    """Ask this process to stop when its supervisor dies, where the system can.

    Not by SIGTERM: a worker that is stopping already ends at once then.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != supervisor:  # it died before that
        os.kill(os.getpid(), signal.SIGINT)
