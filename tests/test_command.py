"""python -m pipeline.search: its answer, its exit codes, and what it says of bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.cli import search_options
from pipeline.ending import main
from pipeline.errors import ExitCode
from tests.tiny_study import write_study

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipeline.search", *map(str, arguments)]


def test_the_command_answers_and_its_model_serves_raw_rows_in_a_clean_process(home):
    study = write_study(home, fields="dict(test_size=0.2)")
    # From another folder: everything lies in the project that holds the study.
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        command(study), cwd=elsewhere, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    # Three to six epochs are too few for this model, and that is said.
    assert done.returncode == ExitCode.UNDETERMINED, done.stderr
    assert done.stdout.startswith("Train with learning rate")
    assert "UNDETERMINED" in done.stdout
    lines = done.stderr.splitlines()
    assert sum(line.startswith("trial  ") for line in lines) == 3
    assert "\x1b" not in done.stderr
    assert "Warning" not in done.stderr
    assert list(elsewhere.iterdir()) == []

    (decision_path,) = home.glob("mlruns/studies/*/decision.json")
    decision = json.loads(decision_path.read_text())
    script = f"""
import runpy, mlflow, numpy as np
mlflow.set_tracking_uri("sqlite:///{home}/mlruns/mlflow.db")
model = mlflow.pyfunc.load_model({decision["refit"]["model_uri"]!r})
x, y = runpy.run_path({str(study)!r})["load_data"]()
from sklearn.model_selection import StratifiedShuffleSplit
_, test = next(StratifiedShuffleSplit(1, test_size=0.2, random_state=0).split(x, y))
p = model.predict(x[np.sort(test)])[:, 0].astype(float)
y = y[np.sort(test)]
print("loss", -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
"""
    served = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert served.returncode == 0, served.stderr
    loss = float(served.stdout.split("loss")[1])
    assert loss == pytest.approx(decision["refit"]["test_metrics"]["loss"], rel=1e-5)


def test_sigterm_is_answered_with_its_own_exit_code_and_the_command_continues(home):
    study = write_study(home, fields="dict(budget=Budget(n_trials=1000))")
    running = subprocess.Popen(
        command(study), cwd=home, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    deadline = time.monotonic() + 200
    while not running.stderr.readline().startswith("trial   1"):
        assert time.monotonic() < deadline
    running.send_signal(signal.SIGTERM)
    _, rest = running.communicate(timeout=60)
    assert running.returncode == ExitCode.INTERRUPTED, rest
    assert "SIGTERM: stopped after" in rest
    assert "Traceback" not in rest


def test_a_script_gets_one_object_whatever_the_study_prints(home):
    study = write_study(
        home,
        fields="dict(budget=Budget(n_trials=1))",
        builder="print('printed by the builder', flush=True)",
    )
    arguments = [study, "--json", "--quiet", "--log-file", "a.log", "--on-finish", "cat > end.json"]
    done = subprocess.run(
        command(*arguments), cwd=home, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    told = json.loads(done.stdout)
    assert told["exit_code"] == done.returncode, done.stderr
    assert told["outcome"] in ("success", "undetermined")
    (path,) = home.glob("mlruns/studies/*/decision.json")
    assert told["decision"] == json.loads(path.read_text())
    assert told["costs"]["fold_epochs"] == told["decision"]["fold_epochs"]
    assert (home / "end.json").read_text() == done.stdout
    assert "trial   0" in (home / "a.log").read_text()
    assert set(done.stderr.splitlines()) == {"printed by the builder"}

    reported = subprocess.run(
        [sys.executable, "-m", "pipeline.report", study, "--json", "--compare"],
        cwd=home, env=ENVIRONMENT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    answered = json.loads(reported.stdout)
    assert answered["exit_code"] == reported.returncode == done.returncode, reported.stderr
    assert answered["decision"] == told["decision"]
    assert "grid" in {way["name"] for way in answered["comparison"]}


NO_STUDY = "x = 1\n"
RAISES = "x = 1\ny = 1 / 0\n"

BAD = {
    "no such study": ({}, ["missing.py"], "does not exist"),
    "no study in it": ({"text": NO_STUDY}, [], "must end in `study = StudySpec(...)`"),
    "it raises": ({"text": RAISES}, [], "line 2, raised ZeroDivisionError"),
    "no learning rate": (
        {"fields": "dict(space={'max_epochs': 3})"},
        [],
        "space must have 'learning_rate'",
    ),
    "no epochs": (
        {"fields": "dict(space={'learning_rate': 0.1})"},
        [],
        "space must have 'max_epochs'",
    ),
    "impossible range": (
        {"fields": "dict(space={'learning_rate': FloatDistribution(0.1, 0.01), 'max_epochs': 3})"},
        [],
        "low=0.1",
    ),
    "more folds than rows": ({"fields": "dict(splitter=KFold(61))"}, [], "61 folds"),
    "lengths differ": (
        {"fields": "dict(load_data=lambda: (np.zeros((5, 3)), np.zeros(4)))"},
        [],
        "got 5 in X, 4 in y",
    ),
    "NaN in X": (
        {"fields": "dict(preprocess=None, load_data=lambda: (np.full((9, 3), np.nan), [1] * 9))"},
        [],
        "X must be finite",
    ),
    "NaN in y": (
        {"fields": "dict(load_data=lambda: (np.zeros((9, 3)), np.full(9, np.nan)))"},
        [],
        "y must be finite",
    ),
    "labels out of range": (
        {"fields": "dict(load_data=lambda: (np.ones((9, 3)), np.arange(9)))"},
        [],
        "needs y in 0..1",
    ),
    "output does not fit labels": (
        {"fields": "dict(load_data=lambda: (np.ones((9, 3)), np.ones((9, 2))))"},
        [],
        "needs y of the output's shape",
    ),
    "input does not fit model": (
        {"fields": "dict(load_data=lambda: (np.ones((9, 4)), np.ones(9)))"},
        [],
        "the model does not fit the data",
    ),
    "labels out of range for a loss by another name": (
        {
            "fields": "dict(load_data=lambda: (np.ones((9, 3)), np.array([1, 2] * 4 + [1])))",
            "builder": """
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", loss="bce", metrics=["accuracy"])
    return model
""",
        },
        [],
        "needs y in 0..1",
    ),
    "unknown metric": (
        {"fields": "dict(objective=Objective('val_acuracy', 'maximize'))"},
        [],
        "did you mean 'val_accuracy'",
    ),
    "unknown field": ({}, ["--set", "batchsize=3"], "did you mean 'batch_size'"),
    "bad value": ({}, ["--set", "batch_size=0"], "batch_size must be a whole number ≥ 1"),
    "builder raises": ({"builder": "raise RuntimeError('no')"}, [], "raised RuntimeError: no"),
    "under a strategy": (
        {
            "builder": """
    import tensorflow as tf
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        return model
"""
        },
        [],
        "strategy is not supported",
    ),
    "not compiled": (
        {"builder": "return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])"},
        [],
        "compiled",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_message_before_training(case, tmp_path, capsys):
    changes, arguments, message = BAD[case]
    changes = dict(changes)
    text = changes.pop("text", None)
    study = write_study(tmp_path, **changes)
    if text is not None:
        study.write_text(text)
    if arguments == ["missing.py"]:
        study = Path("missing.py")
        arguments = []
    assert main("pipeline.search", search_options([str(study), *arguments])) == ExitCode.BAD_INPUT
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in printed.err
    assert not printed.out
    assert not (tmp_path / "mlruns").exists()


def test_an_unreachable_tracking_server_is_told_before_training(tmp_path, capsys):
    study = write_study(tmp_path)
    options = search_options([str(study), "--tracking-uri", "http://me:secret@127.0.0.1:9"])
    options.store_patience = 0.0
    assert main("pipeline.search", options) == ExitCode.STORE_UNAVAILABLE
    printed = capsys.readouterr()
    assert "127.0.0.1:9" in printed.err
    assert "secret" not in printed.err
    assert "trial " not in printed.err


def test_an_output_folder_that_cannot_be_made_is_told_before_training(tmp_path, capsys):
    study = write_study(tmp_path)
    (tmp_path / "mlruns").write_text("a file where the folder should be")
    assert main("pipeline.search", search_options([str(study)])) == ExitCode.STORE_UNAVAILABLE
    assert "writable folder" in capsys.readouterr().err


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(tmp_path, capsys):
    study = write_study(tmp_path)
    assert main("pipeline.search", search_options([str(study), "--dry-run"])) == ExitCode.SUCCESS
    printed = capsys.readouterr().out
    words = ("fold-epochs", "updates", "devices", " free", "memory", "folds' states", "engine")
    for word in (*words, "(3 preprocessed copies)", "decision", "mlflow.db"):
        assert word in printed
    assert "\nplacement              worker  on   share  folds at once" in printed
    assert "\n                       1       CPU  1.0 " in printed
    assert "3 trials, 54 fold-epochs, 162 updates" in printed
    assert not (tmp_path / "mlruns").exists()
