"""A project with an awkward path, and in it a search that tells how it was started."""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.units import Job, When

AWKWARD = 'a b%Y 50%% "q" it\'s $HOME $(x) ü;#1'

SEARCH = """
import json, os, signal, sys, time
signals = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: signals.append(signal.Signals(number).name))
names = ("TEXT", "PYTHONUNBUFFERED")
told = {"argv": sys.argv[1:], "cwd": os.getcwd(), "env": {n: os.environ.get(n) for n in names}}
print(json.dumps(told), flush=True)
what = sys.argv[-1]
if what == "wait":
    while not signals:
        time.sleep(0.01)
    time.sleep(0.3)  # for a second one
    print(json.dumps(signals), flush=True)
    what = "130"
sys.exit(int(what))
"""


def project(folder: Path, name: str = AWKWARD) -> Path:
    """Return a project whose own `pipeline.search` is found first, as the working directory is."""
    home = folder / name
    (home / "pipeline").mkdir(parents=True)
    (home / "pipeline" / "__init__.py").touch()
    (home / "pipeline" / "search.py").write_text(SEARCH, encoding="utf-8")
    (home / "mlruns" / "logs").mkdir(parents=True)
    return home


def job_in(home: Path, *options: str, **fields: Any) -> Job:
    """Return a job whose last option is what the stub exits with, or "wait"."""
    return Job(
        **{
            "name": "Tiny_study.1",
            "study": home / "studies" / "tiny study.py",
            "python": Path(sys.executable),
            "home": home,
            "when": When(),
            "timeout_secs": 3600.0,
            "margin_secs": 60.0,
            "grace_secs": 5.0,
            "environment": {"PYTHONUNBUFFERED": "1", "TEXT": AWKWARD},
            "options": options,
            **fields,
        }
    )


def told(job: Job) -> list[Any]:
    """Return what the stub wrote into the log, line by line."""
    return [json.loads(line) for line in job.log.read_text(encoding="utf-8").splitlines()]


def expected(job: Job) -> dict[str, Any]:
    """Return what the stub tells when it was started as the job says."""
    return {
        "argv": list(job.command[3:]),
        "cwd": str(job.home),
        "env": {"TEXT": AWKWARD, "PYTHONUNBUFFERED": "1"},
    }
