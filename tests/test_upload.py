"""python -m pipeline.maintain upload: what MLflow did not take while a study was searched."""

import json
import shutil

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.batch import only_run_of
from pipeline.cli_jobs import maintain_options
from pipeline.errors import ExitCode
from pipeline.maintain import main
from pipeline.progress import Display
from pipeline.search import search
from tests.tiny_study import client, runs_of, tiny

CALLS = (
    "create_run", "create_logged_model", "get_run", "log_artifact", "log_batch", "log_inputs",
    "search_runs", "set_terminated", "update_run",
)  # fmt: skip


class GoneAfter(Display):
    """Lets the store go away, and stay so, when the first trial has ended."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def trial_ended(self, *_):
        def refuse(*arguments, **options):
            raise ConnectionRefusedError("Connection refused")

        for name in CALLS:
            self.monkeypatch.setattr(MlflowClient, name, refuse)


@pytest.fixture
def waiting(home):
    """Return the file of a study that could not set a tag, and its project."""
    path = home / "mlruns" / "studies" / "tiny-0a1b2c3d4e5f" / "unsent.jsonl"
    path.parent.mkdir(parents=True)
    store = {"format": 1, "store": f"sqlite:///{home}/mlruns/mlflow.db"}
    update = {"kind": "texts", "run_id": "0" * 32, "params": {}, "tags": {"rule": "best"}}
    path.write_text(f"{json.dumps(store)}\n{json.dumps(update)}\n")
    return path


def upload(home, *options):
    given = ["upload", "--project", str(home), "--store-patience", "0", *options]
    return main(maintain_options(given))


def epochs_logged(home):
    """Return for each trial the steps under which its mean was logged."""
    store = client(home)
    _, trials = runs_of(home)
    return {
        int(run.data.tags["trial"]): [
            point.step for point in store.get_metric_history(run.info.run_id, "val_loss_mean")
        ]
        for run in trials
    }


def models_in(home):
    return client(home).search_logged_models(["1"])


def test_all_that_waited_is_sent_once_and_the_next_session_does_the_rest(home, capsys):
    spec = tiny(home, fields="dict(registry=Registry(), keep_checkpoints=1)")
    with pytest.MonkeyPatch.context() as monkeypatch:
        result = search(spec, store_patience_secs=0.0, display=GoneAfter(monkeypatch))
    folder = result.decision_path.parent
    assert "unsent.jsonl" in result.unsent
    assert not models_in(home)
    assert result.registered is None
    before = shutil.copytree(folder, home / "waiting")
    assert upload(home) == ExitCode.SUCCESS
    assert f"{folder.name}: " in capsys.readouterr().out
    assert not (folder / "unsent.jsonl").exists()

    run, trials = runs_of(home)
    assert {each.info.status for each in (run, *trials)} == {"FINISHED"}
    logged = epochs_logged(home)
    for trial in (*result.trials, result.best):
        n_epochs = trial.curves.n_epochs
        if trial.number != result.best.number or trial is result.best:
            assert logged[trial.number] == list(range(1, n_epochs + 1))
    (model,) = models_in(home)
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlruns/mlflow.db")
    served = mlflow.pyfunc.load_model(model.model_uri)
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # it takes that, too
    assert served.predict(np.zeros((2, 3))).shape == (2, 1)
    assert upload(home) == ExitCode.SUCCESS
    assert capsys.readouterr().out == "nothing to send\n"

    # A process that was killed after the last call, before it could forget what it had sent.
    shutil.copytree(before, folder, dirs_exist_ok=True)
    assert upload(home) == ExitCode.SUCCESS
    assert epochs_logged(home) == logged
    assert len(models_in(home)) == 1

    again = search(spec)
    assert again.registered.version == "1"
    checkpoint, model = sorted(models_in(home), key=lambda each: each.name == "model")
    assert checkpoint.tags["pipeline.checkpoint"].split()[1] == str(result.best.number)
    version = client(home).get_model_version_by_alias("tiny", "champion")
    assert version.source == model.model_uri


def test_a_store_that_is_still_away_keeps_everything(home, waiting, capsys, monkeypatch):
    before = waiting.read_text()
    GoneAfter(monkeypatch).trial_ended()
    assert upload(home) == ExitCode.STORE_UNAVAILABLE
    printed = capsys.readouterr()
    assert "Connection refused" in printed.out
    assert "not everything was sent: tiny-0a1b2c3d4e5f" in printed.err
    assert waiting.read_text() == before


def test_what_the_store_refuses_for_good_is_said_once(home, waiting, capsys):
    """The run was deleted: nothing can be done, and nothing is tried again."""
    assert upload(home) == ExitCode.STORE_UNAVAILABLE
    assert "refused.jsonl" in capsys.readouterr().out
    assert upload(home) == ExitCode.SUCCESS
    assert capsys.readouterr().out == "nothing to send\n"


def test_a_study_that_is_being_searched_is_left_alone(home, waiting, capsys):
    before = waiting.read_text()
    with only_run_of(waiting.parent):
        assert upload(home) == ExitCode.STORE_UNAVAILABLE
    assert "kept for sqlite:///" in capsys.readouterr().out
    assert waiting.read_text() == before


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://me:***@example.org", "must be given with its password: --tracking-uri"),
        ("sqlite:////nowhere/mlflow.db", "/nowhere/mlflow.db must be there"),
    ],
)
def test_a_store_that_cannot_be_opened_is_said(home, waiting, capsys, address, message):
    _, update = waiting.read_text().splitlines()
    waiting.write_text(f"{json.dumps({'format': 1, 'store': address})}\n{update}\n")
    assert upload(home) == ExitCode.STORE_UNAVAILABLE
    assert message in capsys.readouterr().out
    assert update in waiting.read_text()


def test_what_waited_when_the_project_was_moved_waits_for_it_where_it_is(home, waiting, tmp_path):
    (home / "mlruns" / "artifacts").mkdir()
    moved = home.rename(tmp_path.with_name(f"{tmp_path.name} moved"))
    path = moved / waiting.relative_to(home)
    before = path.read_text().splitlines()
    assert main(maintain_options(["mend", "--project", str(moved)])) == ExitCode.SUCCESS
    first, update = path.read_text().splitlines()
    assert json.loads(first) == {"format": 1, "store": f"sqlite:///{moved}/mlruns/mlflow.db"}
    assert update == before[1]
