"""python -m pipeline.schedule STUDY: a search every night, by the scheduler that you have.

    python -m pipeline.schedule digits --cron
    python -m pipeline.schedule digits --systemd --at 22:00 --on fri --timeout 24h
    python -m pipeline.schedule digits --slurm -- --trials 200

The unit is printed, with how to install it in its comments; installing it is yours. The study is
loaded and the search's options are read first: what would fail at night fails now.
"""

from __future__ import annotations

if __name__ == "__main__":
    # Before the study is loaded: --help and mistyped options answer at once.
    from pipeline.cli_jobs import schedule_options

    OPTIONS = schedule_options()

import argparse
import os
import sys
import sysconfig
from contextlib import redirect_stdout
from pathlib import Path

from pipeline.changes import with_options
from pipeline.cli import search_options
from pipeline.data_file import is_data_file, with_study_file
from pipeline.errors import BadInput, ExitCode, PipelineError, StoreUnavailable
from pipeline.study_file import PACKAGE, find_study, load_study, source_of
from pipeline.units import UNITS, Job, When

DEFAULT_TIMEOUT_SECS = 6 * 3600.0
PYTHON_OF_IMAGES = "/usr/local/bin/python"
"""Where the official images of Python and TensorFlow have it."""


def job_of(options: argparse.Namespace) -> Job:
    """Return the job that a command line asks for, checked as far as it can be before its time.

    Raises BadInput for a study or an option that the search would refuse.
    """
    is_data = is_data_file(options.study)
    path = Path(options.study).resolve() if is_data else find_study(options.study)
    when = When.of(options.at, options.every, options.on)
    search = search_options([str(path), *options.search])
    _check_search(search)
    if options.timeout is not None:
        search.timeout = options.timeout
    # Of a data file the job writes the study anew, at its time.
    search = with_study_file(search, say=_say)
    spec = with_options(load_study(search.study), search)
    in_image = options.kind == "kubernetes"
    given = {"--image": options.image, "--python": options.python, "--claim": options.claim}
    if not in_image and any(given.values()):
        names = ", ".join(name for name, value in given.items() if value)
        raise BadInput(f"--image, --python and --claim need --kubernetes, got {names} without")
    return Job(
        name=spec.name,
        study=path,
        python=Path((options.python or PYTHON_OF_IMAGES) if in_image else sys.executable),
        home=source_of(spec.build_model, spec.load_data).home,
        when=when,
        timeout_secs=spec.budget.timeout_secs or DEFAULT_TIMEOUT_SECS,
        margin_secs=options.margin,
        grace_secs=options.grace,
        environment=environment() if in_image else {**environment(), **python_path()},
        options=tuple(options.search),
        image=options.image or "",
        claim=options.claim or "",
    )


def _check_search(search: argparse.Namespace) -> None:
    """Raise BadInput for options of the search that have no place in a job."""
    given = {
        "--dry-run": (search.dry_run, "left out of a job"),
        "--write-study": (search.write_study, "left out of a job: schedule the study it wrote"),
        "--timeout": (search.timeout is not None, "given before --, not behind it"),
    }
    for name, (is_given, allowed) in given.items():
        if is_given:
            raise BadInput(f"{name} must be {allowed}, got {name} behind --")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def environment() -> dict[str, str]:
    """Return the variables of every job; of this shell's, only those that change the search."""
    carried = (
        "MLFLOW_TRACKING_URI", "MLFLOW_S3_ENDPOINT_URL", "OPTUNA_STORAGE",
        "MLFLOW_DISABLE_TELEMETRY",
    )  # fmt: skip
    return {
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
        **{name: os.environ[name] for name in carried if os.environ.get(name)},
    }


def python_path() -> dict[str, str]:
    """Return where this interpreter finds modules in this shell, and would not in a job."""
    given = [str(Path(entry).absolute()) for entry in _entries(os.environ.get("PYTHONPATH", ""))]
    if PACKAGE.parent != Path(sysconfig.get_path("purelib")) and str(PACKAGE.parent) not in given:
        given.append(str(PACKAGE.parent))
    return {"PYTHONPATH": os.pathsep.join(given)} if given else {}


def _entries(paths: str) -> list[str]:
    return [entry for entry in paths.split(os.pathsep) if entry]


def main(options: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    try:
        with redirect_stdout(sys.stderr):  # what a study prints is no part of the unit
            job = job_of(options)
        unit = UNITS[options.kind](job)
        if options.kind != "kubernetes":
            # No scheduler makes it: systemd and Slurm would fail before the search begins.
            make_folder(job.log.parent)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(unit, end="")
    return ExitCode.SUCCESS


def make_folder(folder: Path) -> None:
    """Make the log's folder. Raises StoreUnavailable when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"logs must go to a writable folder, got {folder}: {error.strerror or error}"
        ) from error


if __name__ == "__main__":
    raise SystemExit(main(OPTIONS))
