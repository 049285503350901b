"""Options of the commands around a search. Nothing heavy is imported here, as in `cli.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli import (
    add_budget,
    add_ending,
    add_store_patience,
    add_study,
    add_study_name,
    add_tracking,
    seconds,
)


def schedule_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of `python -m pipeline.schedule`; exits with 2 where they are off.

    What stands behind `--` is the search's, and is left as it is in `search`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, search = given, []
    if "--" in given:
        own, search = given[: given.index("--")], given[given.index("--") + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.schedule",
        usage="%(prog)s [STUDY] --cron|--systemd|--slurm|--kubernetes [OPTIONS] [-- OPTIONS]",
        description="Print what a scheduler needs to search a study, every night for example.",
        epilog="Options of the search stand behind --, as in: digits --cron -- --trials 60\n"
        "Paths among them are relative to the project that holds the study.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_study_name(parser)
    kinds = parser.add_mutually_exclusive_group(required=True)
    for kind, what in (
        ("cron", "a line of a crontab"),
        ("systemd", "a service and its timer"),
        ("slurm", "a batch script for Slurm"),
        ("kubernetes", "a CronJob"),
    ):
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=what)
    parser.add_argument(
        "--at", default="02:30", metavar="HH:MM", help="first start of the day (default: 02:30)"
    )
    parser.add_argument(
        "--every", type=seconds, default=86_400.0, metavar="TIME",
        help="between two starts: 24h (default), or hours that divide a day",
    )  # fmt: skip
    parser.add_argument(
        "--on", default="", metavar="DAYS", help="days of the week, as sat,sun (default: all)"
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="TIME",
        help="of the search (default: the study's, or else 6h); it then ends by itself",
    )  # fmt: skip
    parser.add_argument(
        "--margin", type=seconds, default=1800.0, metavar="TIME",
        help="for the refit after that, before the scheduler asks it to stop (default: 30m)",
    )  # fmt: skip
    parser.add_argument(
        "--grace", type=seconds, default=120.0, metavar="TIME",
        help="for the epoch it is in, before the scheduler kills it (default: 2m)",
    )  # fmt: skip
    in_image = parser.add_argument_group("for --kubernetes")
    in_image.add_argument("--image", metavar="IMAGE", help="with Python and this program in it")
    in_image.add_argument(
        "--python", metavar="PATH", help="the image's interpreter (default: /usr/local/bin/python)"
    )
    in_image.add_argument(
        "--claim", metavar="NAME", help="volume claim with the project (default: the job's name)"
    )
    options = parser.parse_args(own)
    options.search = search
    return options


def worker_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse what a supervisor tells its worker."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.worker",
        description="Train trials of a study for the search that has started this process.",
        epilog="On other machines, `python -m pipeline.search STUDY --if-running join` does this.",
    )
    add_study(parser)
    add_budget(parser)
    add_tracking(parser)
    add_ending(parser)
    parser.add_argument("--supervisor", type=int, metavar="PID", help="who asks: the parent")
    parser.add_argument(
        "--question", required=True, metavar="NAME", help="the study's name and signature"
    )
    parser.add_argument(
        "--until", type=float, metavar="SECONDS", help="end then, by the monotonic clock"
    )
    parser.add_argument(
        "--gpu-share", type=float, default=1.0, metavar="SHARE", help="of its GPU's memory"
    )
    parser.add_argument(
        "--device-memory", type=float, metavar="MB",
        help="of its device, that a trial may take",
    )  # fmt: skip
    parser.add_argument(
        "--memory-limit", type=float, metavar="MB", help="end after a trial that leaves it larger"
    )
    parser.set_defaults(json=True, register=False, keep_checkpoints=None, number_on_ray=None)
    return parser.parse_args(arguments)


def maintain_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options of `python -m pipeline.maintain`; exits with 2 where they are off."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.maintain",
        description="Keep a project's stores small, and mend them after a move or a kill.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    clean = commands.add_parser(
        "clean",
        help="remove old studies: journals, snapshots, runs, models; lists them unless --delete",
        description="Remove old studies: journals, snapshots, runs, models. Never the newest of a "
        "name, one that is being searched, or one with a registered model.",
    )
    clean.add_argument(
        "--keep", type=int, metavar="N", help="the N newest studies of each name stay"
    )
    clean.add_argument(
        "--older-than",
        type=seconds,
        metavar="TIME",
        help="only what was last used so long ago: 30d",
    )
    clean.add_argument(
        "--all", action="store_true", help="remove the decisions of former studies as well"
    )
    clean.add_argument("--delete", action="store_true", help="do it; without, it is only listed")
    mend = commands.add_parser(
        "mend",
        help="repair addresses after the project was moved, and what a killed process left",
        description="Repair MLflow's addresses after the project was moved, torn journals, and the "
        "locks and runs of processes that died.",
    )
    upload = commands.add_parser(
        "upload",
        help="send what MLflow's store did not take while a study was searched",
        description="Send what MLflow's store did not take while studies were searched. The next "
        "search of a study does that too.",
    )
    upload.add_argument(
        "--tracking-uri", metavar="URI",
        help="of a store whose address holds a password: it was not written down (default: that of "
        "MLFLOW_TRACKING_URI)",
    )  # fmt: skip
    add_store_patience(upload)
    for command in (clean, mend, upload):
        command.add_argument(
            "--project", default=".", metavar="FOLDER",
            help="the project that holds mlruns/ (default: the working directory)",
        )  # fmt: skip
    return parser.parse_args(arguments)
