"""python -m pipeline.maintain, on a project that was searched twice and then really moved."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pytest

from pipeline import optimization
from pipeline.batch import only_run_of
from pipeline.cli_jobs import maintain_options
from pipeline.errors import ExitCode
from pipeline.maintain import main
from pipeline.search import search
from tests.tiny_study import client, tiny

FIELDS = "dict(seed={}, budget=Budget(n_trials=1))"


@pytest.fixture(scope="module")
def searched(tmp_path_factory, migrated_database):
    """Two studies of one name in one project, a day apart; then the project is moved aside."""
    home = tmp_path_factory.mktemp("before")
    results = [search(tiny(home, fields=FIELDS.format(seed))) for seed in (0, 1)]
    day_before = results[1].decision_path.stat().st_mtime - 86400
    for name in ("journal.log", "decision.json"):
        os.utime(results[0].decision_path.with_name(name), (day_before, day_before))
    with closing(sqlite3.connect(home / "mlruns" / "mlflow.db")) as database, database:
        database.execute(
            "UPDATE runs SET start_time = ?, end_time = ? WHERE run_uuid = ?",
            (day_before * 1000, day_before * 1000, run_id_of(results[0])),
        )
    folders = [result.decision_path.parent.relative_to(home) for result in results]
    return home.rename(home.with_name("aside")), folders


@pytest.fixture
def moved(searched, tmp_path):
    """Return the project where it is now, and its studies; nothing is left where it was."""
    aside, folders = searched
    home = shutil.copytree(aside, tmp_path / "after a move")
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlruns/mlflow.db")
    yield home, [home / folder for folder in folders]
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # it takes that, too


@pytest.fixture
def mended(moved):
    assert maintain("mend", moved[0]) == ExitCode.SUCCESS
    return moved


def run_id_of(result):
    return json.loads(result.decision_path.read_text())["run_id"]


def maintain(command, home, *options):
    return main(maintain_options([command, "--project", str(home), *options]))


def decision_in(folder):
    return json.loads((folder / "decision.json").read_text())


def model_of(folder):
    return mlflow.pyfunc.load_model(decision_in(folder)["refit"]["model_uri"])


def files_under(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_a_moved_project_finds_its_models_and_artifacts_again(moved, capsys):
    home, folders = moved
    store, run_id = client(home), decision_in(folders[0])["run_id"]
    store.create_registered_model("tiny")
    uri = decision_in(folders[0])["refit"]["model_uri"]
    store.create_model_version("tiny", uri, run_id)
    assert not store.list_artifacts(run_id)
    assert maintain("mend", home) == ExitCode.SUCCESS
    printed = capsys.readouterr().out
    assert "rewrote the addresses of 2 experiments, 4 runs, 2 logged_models" in printed
    assert {"decision.json", "folds"} <= {file.path for file in store.list_artifacts(run_id)}
    assert model_of(folders[0]).predict(np.zeros((2, 3))).shape == (2, 1)
    assert mlflow.pyfunc.load_model("models:/tiny/1").predict(np.zeros((2, 3))).shape == (2, 1)
    assert f"sqlite:///{home}/mlruns" in decision_in(folders[0])["mlflow_ui"].replace("'", "")
    assert (home / "mlruns" / "mlflow.db.before-mend").is_file()


def test_mending_twice_does_nothing_the_second_time(mended, capsys):
    home, _ = mended
    capsys.readouterr()
    assert maintain("mend", home) == ExitCode.SUCCESS
    assert capsys.readouterr().out == "nothing to mend\n"


def test_addresses_of_other_places_are_left_alone(moved):
    home, _ = moved
    store = client(home)
    elsewhere = store.create_experiment("elsewhere", "/data/elsewhere")
    maintain("mend", home)
    assert store.get_experiment(elsewhere).artifact_location == "/data/elsewhere"


def test_a_database_that_was_moved_alone_is_refused_and_unchanged(moved, capsys):
    home, _ = moved
    shutil.rmtree(home / "mlruns" / "artifacts")
    before = client(home).get_experiment_by_name("tiny").artifact_location
    assert maintain("mend", home) == ExitCode.BAD_INPUT
    assert "the artifacts must be moved with the database" in capsys.readouterr().err
    assert client(home).get_experiment_by_name("tiny").artifact_location == before


def test_what_a_killed_process_left_is_mended_and_the_search_goes_on(mended, capsys):
    home, (folder, _) = mended
    store, run_id = client(home), decision_in(folder)["run_id"]
    store.update_run(run_id, status="RUNNING")
    (folder / "holder.json").write_text('{"pid": 1}')
    with (folder / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    maintain("mend", home)
    printed = capsys.readouterr().out
    assert f"{folder.name}: removed the note of a process that died" in printed
    assert f"{folder.name}: cut 19 bytes of a torn last line off the journal" in printed
    assert f"{folder.name}: 1 run(s) of a killed process marked KILLED" in printed
    assert store.get_run(run_id).info.status == "KILLED"
    assert not (folder / "holder.json").exists()
    result = search(tiny(home, fields="dict(seed=0, budget=Budget(n_trials=2))"))
    assert result.decision_path.parent == folder
    assert len(result.trials) == 2


def test_what_is_running_is_left_alone(moved, capsys):
    home, (folder, _) = moved
    with only_run_of(folder):
        assert maintain("mend", home) == ExitCode.SUCCESS
        assert f"{folder.name}: left alone: another process" in capsys.readouterr().out
        assert maintain("clean", home, "--keep", "1", "--delete") == ExitCode.SUCCESS
        assert f"kept  {folder.name}: another process" in capsys.readouterr().out
    assert (folder / "journal.log").exists()


def test_nothing_is_removed_unless_it_is_asked_for(mended, capsys):
    home, (old, new) = mended
    before = files_under(home / "mlruns")
    assert maintain("clean", home, "--keep", "1") == ExitCode.SUCCESS
    printed = capsys.readouterr().out
    assert f"would remove  {old.name}: last used 24 h" in printed
    assert "2 run(s), 1 model(s)" in printed
    assert new.name not in printed
    assert "nothing was removed: add --delete to do it" in printed
    assert set(files_under(home / "mlruns")) >= set(before)
    assert len(client(home).search_runs(["1"])) == 4


def test_decoded_files_go_by_the_same_limits(mended, capsys):
    home, _ = mended
    cache = home / "mlruns" / "cache"
    cache.mkdir()
    for age, name in enumerate(("tiny-0123456789ab.npy", "tiny-ba9876543210.npy")):
        (cache / name).write_bytes(bytes(1000))
        os.utime(cache / name, (1e9 - age, 1e9 - age))
    for option, verb in (("--all", "would remove"), ("--delete", "removed")):
        assert maintain("clean", home, "--keep", "1", option) == ExitCode.SUCCESS
        assert f"{verb}  1 array(s) of decoded files, 1.0 kB" in capsys.readouterr().out
    assert [path.name for path in cache.glob("*.npy")] == ["tiny-0123456789ab.npy"]


def test_a_study_that_was_written_for_a_data_file_goes_with_the_last_that_was_searched(
    mended, capsys
):
    home, (old, new) = mended
    files = {}
    for age, key in enumerate(("newest", "of new", "of old", "never searched")):
        files[key] = home / "mlruns" / "generated" / key / "titanic.py"
        files[key].parent.mkdir(parents=True)
        files[key].touch()
        os.utime(files[key], (1e9 - age, 1e9 - age))
    for folder, key in ((old, "of old"), (new, "of new")):
        (folder / "written_file").write_text(f"mlruns/generated/{key}/titanic.py")
    assert maintain("clean", home, "--older-than", "30d", "--delete") == ExitCode.SUCCESS
    printed = capsys.readouterr().out
    assert "removed  1 study file(s) written for data files" in printed
    assert {key for key, file in files.items() if file.exists()} == {"newest", "of new", "of old"}
    for option, verb in (("--all", "would remove"), ("--delete", "removed")):
        maintain("clean", home, "--keep", "1", option)
        assert f"{verb}  1 study file(s) written for data files" in capsys.readouterr().out
    assert {path.name for path in (home / "mlruns" / "generated").iterdir()} == {"newest", "of new"}


def test_an_old_study_goes_with_its_runs_models_and_files(mended, capsys):
    home, (old, new) = mended
    store, gone = client(home), decision_in(old)
    assert maintain("clean", home, "--keep", "1", "--delete") == ExitCode.SUCCESS
    assert f"removed  {old.name}" in capsys.readouterr().out
    assert {path.name for path in old.iterdir()} == {"decision.json", "lock"}
    runs = {run.info.run_id for run in store.search_runs(["1"])}
    assert len(runs) == 2
    assert gone["run_id"] not in runs
    with pytest.raises(mlflow.MlflowException, match="not found"):
        store.get_run(gone["run_id"])
    kept = decision_in(new)
    artifacts = home / "mlruns" / "artifacts"
    assert {path.name for path in artifacts.iterdir()} == {kept["run_id"], "models"}
    assert f"models:/{next((artifacts / 'models').iterdir()).name}" == kept["refit"]["model_uri"]
    assert model_of(new).predict(np.zeros((2, 3))).shape == (2, 1)
    again = maintain("clean", home, "--keep", "1", "--delete")
    assert again == ExitCode.SUCCESS
    assert "removed 0 of 1 studies" in capsys.readouterr().out
    maintain("clean", home, "--keep", "1", "--delete", "--all")
    assert not (old / "decision.json").exists()
    assert (new / "decision.json").exists()


def test_a_registered_model_stays_with_its_study(mended, capsys):
    home, (old, _) = mended
    store, decided = client(home), decision_in(old)
    store.create_registered_model("tiny")
    version = store.create_model_version("tiny", decided["refit"]["model_uri"])
    store.set_registered_model_alias("tiny", "champion", version.version)
    store.delete_run(decided["run_id"])  # even then
    assert maintain("clean", home, "--older-than", "1h", "--delete") == ExitCode.SUCCESS
    assert f"kept  {old.name}: tiny version 1 comes from it" in capsys.readouterr().out
    assert (old / "journal.log").exists()
    model = mlflow.pyfunc.load_model("models:/tiny@champion")
    assert model.predict(np.zeros((2, 3))).shape == (2, 1)


def test_what_was_deleted_in_mlflow_goes_for_good(mended, capsys):
    home, (_, new) = mended
    store, run_id = client(home), decision_in(new)["run_id"]
    (trial,) = store.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{run_id}'")
    store.delete_run(trial.info.run_id)
    maintain("clean", home, "--older-than", "30d", "--delete")
    assert store.get_run(trial.info.run_id)  # it may still be restored
    maintain("clean", home, "--keep", "2", "--delete")
    assert "removed  deleted before in MLflow: 1 run(s), 0 model(s)" in capsys.readouterr().out
    with pytest.raises(mlflow.MlflowException, match="not found"):
        store.get_run(trial.info.run_id)


def test_a_copy_that_was_not_mended_cannot_remove_the_originals_files(moved, capsys):
    home, _ = moved
    assert maintain("clean", home, "--keep", "1", "--delete") == ExitCode.BAD_INPUT
    assert "run `python -m pipeline.maintain mend` first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [([], "must have a limit"), (["--keep", "0"], "must be ≥ 1, got 0")],
)
def test_a_limit_is_needed(moved, capsys, options, message):
    assert maintain("clean", moved[0], *options) == ExitCode.BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_folder_without_a_project_is_refused(tmp_path, capsys):
    for command in (["clean", "--keep", "1"], ["mend"]):
        assert main(maintain_options([*command, "--project", str(tmp_path)])) == 2
    assert "a project must have mlruns/mlflow.db" in capsys.readouterr().err
    assert not (tmp_path / "mlruns").exists()


def test_a_node_that_logs_to_a_server_removes_its_own_folders(home, capsys):
    """It has no journal: when one of its studies was used, its files say."""
    (home / "mlruns" / "mlflow.db").unlink()
    for name, days in (("0" * 12, 1), ("1" * 12, 40), ("2" * 12, 50)):
        metrics = home / "mlruns" / "studies" / f"tiny-{name}" / "metrics"
        metrics.mkdir(parents=True)
        os.utime(metrics, (used := time.time() - days * 86400, used))
    assert maintain("clean", home, "--keep", "2", "--delete") == ExitCode.SUCCESS
    assert "removed  tiny-222222222222: last used 1200 h" in capsys.readouterr().out
    assert maintain("clean", home, "--older-than", "45d", "--delete") == ExitCode.SUCCESS
    assert "removed 0 of 2 studies" in capsys.readouterr().out


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path):
    (tmp_path / "journal.log").write_text("notes\n")
    with pytest.raises(ValueError, match="no Optuna journal"):
        optimization.mend_journal(tmp_path / "journal.log")
    assert (tmp_path / "journal.log").read_text() == "notes\n"


def test_help_loads_no_library():
    code = (
        "import runpy, sys\nsys.argv = ['maintain', 'clean', '--help']\n"
        "try:\n    runpy.run_module('pipeline.maintain', run_name='__main__')\n"
        "except SystemExit:\n"
        "    print([n for n in ('mlflow', 'optuna', 'tensorflow', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--older-than" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
