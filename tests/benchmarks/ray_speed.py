"""How much faster two workers are than one, on Ray and as processes, measured side by side.

    python tests/benchmarks/ray_speed.py --rounds 2

Each round searches one study four times, each in a new project: with one and two workers of either
kind, one thread each. Counted are the trials that end after each worker has ended its second one:
by then all have loaded TensorFlow and compiled.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.optimization import read_study

N_TRIALS, N_EPOCHS, N_FOLDS = 24, 60, 3
STUDY = f"""
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold

from pipeline import *


def load_data():
    return load_digits(return_X_y=True)


def build_model(params):
    import keras

    model = keras.Sequential([
        keras.Input((64,)), keras.layers.Dense(128, "relu"), keras.layers.Dense(10, "softmax")
    ])
    adam = keras.optimizers.Adam(params["learning_rate"])
    model.compile(adam, loss="sparse_categorical_crossentropy")
    return model


study = StudySpec(
    load_data=load_data,
    build_model=build_model,
    space={{"learning_rate": FloatDistribution(1e-4, 1e-2, log=True), "max_epochs": {N_EPOCHS}}},
    splitter=KFold({N_FOLDS}, shuffle=True),
    engine="plain",
    threads=1,
    operation_threads=1,
    sampler=lambda seed: RandomSampler(seed=seed),
    pruner=NopPruner(),
    early_stopping=None,
    refit=Refit(enabled=False),
    budget=Budget(n_trials={N_TRIALS}),
)
"""


def rate(n_workers: int, *arguments: str) -> float:
    """Return the fold-epochs a second of a search's middle."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder, "studies", "digits_speed.py")
        study.parent.mkdir()
        study.write_text(STUDY, encoding="utf-8")
        command = [sys.executable, "-m", "pipeline.search", str(study), "--quiet", "--json"]
        workers = f"--workers={n_workers}"
        done = subprocess.run([*command, workers, *arguments], capture_output=True, text=True)
        assert done.returncode in (0, 4), done.stderr
        (journal,) = Path(folder).glob("mlruns/studies/*/journal.log")
        trials = read_study(journal, journal.parent.name).trials
    ends = sorted(each.datetime_complete for each in trials if each.datetime_complete)
    ends = ends[2 * n_workers - 1 :]
    return (len(ends) - 1) * N_EPOCHS * N_FOLDS / (ends[-1] - ends[0]).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    for number in range(parser.parse_args().rounds):
        start = time.monotonic()
        rates = {
            f"{kind} {n}": rate(n, *arguments)
            for n in (1, 2)
            for kind, arguments in (("processes", ()), ("ray", ("--ray", "local")))
        }
        gains = {kind: rates[f"{kind} 2"] / rates[f"{kind} 1"] for kind in ("processes", "ray")}
        told = {name: round(value, 1) for name, value in rates.items()}
        told |= {f"{kind}, 2 over 1": round(gain, 2) for kind, gain in gains.items()}
        print(json.dumps({"round": number + 1, **told}), f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
