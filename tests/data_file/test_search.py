"""A search without a study file is that of the study that is written for it."""

import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.changes import with_options
from pipeline.cli import search_options
from pipeline.data_file import with_study_file
from pipeline.ending import main
from pipeline.errors import BadInput, ExitCode
from pipeline.search import search
from pipeline.study_file import load_study, source_of
from tests.data_file.tables import notes, table, write
from tests.tiny_study import bits

FEW = ("--trials", "1", "--set", "engine=plain", "--set", "space.max_epochs=2",
       "--set", "space.units=8")  # fmt: skip


@pytest.fixture
def project(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


def asked(*arguments: object):
    """Return the study of a command line, and what is said of it."""
    said: list[str] = []
    options = with_study_file(search_options([*map(str, arguments)]), say=said.append)
    return with_options(load_study(options.study), options), said, Path(options.study)


def test_the_written_study_gives_the_same_curves_and_the_model_takes_raw_rows(project, monkeypatch):
    data = write(project, table(80))
    arguments = (data.name, "--target", "label", *FEW)
    spec, said, hidden = asked(*arguments)
    assert said[0].startswith("classification, 2 classes (2 different texts; --task overrides)")
    assert hidden.parent.parent == project / "mlruns" / "generated"
    found = search(spec)
    assert found.decision_path.is_relative_to(project / "mlruns")
    note = found.decision_path.with_name("written_file")
    assert project / note.read_text() == hidden  # they go together

    _, _, written = asked(*arguments, "--write-study", "elsewhere.py")
    assert written == project / "elsewhere.py"
    # Its own code, under another name: another study, which is trained anew.
    again = search(load_study(written))
    assert again.decision_path != found.decision_path
    assert not again.decision_path.with_name("written_file").exists()
    assert bits(again) == bits(found)

    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlruns' / 'mlflow.db'}")
    assert found.refit is not None
    served = mlflow.pyfunc.load_model(found.refit.model_uri)
    raw = pd.read_csv(data)
    whole = served.predict(raw)
    assert whole.shape == (80, 1)
    # Rows of which a column happens to have no gap, and one with a level nobody has seen.
    few = raw[raw["size"].notna()].head(3).assign(size=[50, 60, 70])
    assert few["size"].dtype.kind == "i"
    assert np.isfinite(served.predict(few)).all()
    assert np.isfinite(served.predict(few.assign(colour="purple", count=np.nan))).all()


def test_a_file_of_texts_is_searched_and_the_model_takes_texts(project, monkeypatch):
    data = write(project, notes())
    spec, said, _ = asked(data.name, "--target", "label", *FEW, "--set", "space.learning_rate=0.03")
    assert any("texts, 'said'" in line for line in said)
    found = search(spec)
    assert found.refit is not None

    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlruns' / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model(found.refit.model_uri)
    predictions = served.predict(pd.DataFrame({"said": ["good great fine", "bad poor", ""]}))
    assert predictions.shape == (3, 1)
    assert len(np.unique(predictions)) == 3


def test_under_its_own_name_the_written_study_goes_on_with_the_search(project):
    data = write(project, table())
    spec, _, hidden = asked(data.name, "--target", "label")
    (project / "studies").mkdir()
    kept, _, written = asked(
        data.name, "--target", "label", "--write-study", "studies/data_label.py"
    )
    signatures = {each.signature(data_fingerprint="", splits_hash="") for each in (spec, kept)}
    assert len(signatures) == 1
    homes = {source_of(each.build_model).home for each in (spec, kept)}
    assert homes == {project}
    assert hidden.read_text() == written.read_text()


def test_another_study_is_not_overwritten(project):
    data = write(project, table())
    arguments = (data.name, "--target", "label", "--write-study", "mine.py")
    asked(*arguments)
    asked(*arguments)  # the same once more
    (project / "mine.py").write_text("edited = True\n")
    with pytest.raises(BadInput, match=r"must not overwrite another study, got 'mine\.py'"):
        asked(*arguments)
    assert (project / "mine.py").read_text() == "edited = True\n"
    with pytest.raises(BadInput, match=r"must name a \.py file"):
        asked(data.name, "--target", "label", "--write-study", "mine.txt")


@pytest.mark.parametrize("option", ["--target", "--drop", "--groups", "--time", "--model"])
def test_what_is_said_of_a_data_file_needs_one(option):
    with pytest.raises(
        BadInput, match=rf"{option} must come with a data file .*got study 'digits'"
    ):
        asked("digits", option, "it")


def of_numbers(project, n_columns=2):
    columns = {f"x{i}": np.random.default_rng(i).normal(size=40) for i in range(n_columns)}
    return write(project, pd.DataFrame({**columns, "y": np.arange(40) % 2}))


def saved(project, *, n_inputs=2, compiled=False):
    layers = [keras.Input((n_inputs,)), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential(layers)
    if compiled:
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"])
    model.save(project / "own.keras")


def test_a_saved_model_is_searched(project):
    data, _ = of_numbers(project), saved(project, compiled=True)
    changes = ("--trials", "1", "--set", "engine=plain", "--set", "space.max_epochs=2")
    model = ("--target", "y", "--model", "own.keras")
    spec, said, _ = asked(data.name, *model, *changes)
    assert any("'x0', 'x1'" in line and "standardised" in line for line in said)
    found = search(spec)
    assert set(found.best.params) == {"learning_rate", "max_epochs", "batch_size"}
    assert {"val_loss", "val_mae"} == found.validated.keys()  # what it was compiled with

    # Its own weights know numbers as they are, and perhaps these very rows.
    _, said, written = asked(data.name, *model, "--keep-weights")
    assert any("'x0', 'x1'" in line and "as they are otherwise" in line for line in said)
    assert any("looks better than it is" in line for line in said)
    assert "keep_weights=True" in written.read_text()
    assert "N_INPUTS" not in written.read_text()


def test_a_saved_model_for_other_inputs_is_refused(project):
    data, _ = of_numbers(project), saved(project, n_inputs=5)
    with pytest.raises(BadInput, match=r"own\.keras must take .* \[2\] a row, got .*\[5\]"):
        asked(data.name, "--target", "y", "--model", "own.keras")
    with pytest.raises(BadInput, match=r"'none\.keras' does not exist"):
        asked(data.name, "--target", "y", "--model", "none.keras")


def test_the_command_refuses_bad_data_in_one_line(project, capsys):
    (project / "ragged.csv").write_text("a,b\n1,2\n1\n")
    options = search_options(["ragged.csv", "--target", "b", "--json"])
    assert main("pipeline.search", options) == ExitCode.BAD_INPUT
    said = capsys.readouterr()
    assert json.loads(said.out)["error"].endswith("got 1 in line 3")
    assert said.err.count("\n") == 1
    assert not (project / "mlruns" / "generated").exists()


@pytest.mark.long
def test_a_folder_of_images_is_searched_and_the_model_takes_images(project, monkeypatch):
    """Bright ones and dark ones: pixels of 0 to 255, as they are read."""
    random = np.random.default_rng(0)
    for name, low in (("bright", 130), ("dark", 0)):
        (project / "shades" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(low, low + 126, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(project / "shades" / name / f"{number}.png")
    few = ("--trials", "1", "--set", "engine=plain", "--set", "space.max_epochs=20",
           "--set", "space.learning_rate=0.03", "--set", "space.filters=8")  # fmt: skip
    spec, said, hidden = asked("shades", *few)
    assert said[0] == "reading the images in shades …"
    assert any("40 images of 8 × 8 pixels, read in colour" in line for line in said)
    assert hidden.parent.parent == project / "mlruns" / "generated"
    found = search(spec)

    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project / 'mlruns' / 'mlflow.db'}")
    assert found.refit is not None
    served = mlflow.pyfunc.load_model(found.refit.model_uri)
    shades = np.stack([np.full((8, 8, 3), shade, np.uint8) for shade in (60, 190)])
    dark = served.predict(shades)[:, 0]
    assert dark[0] > 0.5 > dark[1]
