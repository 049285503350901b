"""The registry's champion: kept until a configuration is better on the same splits."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import champion, tracking
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, Interrupted
from pipeline.objective import Objective
from pipeline.registry import Registered, Registry
from pipeline.search import search
from tests.tiny_study import Heard, client, tiny

NIGHT = "registry=Registry(), budget=Budget(n_trials=2)"
NEW_DATA = "load_data=lambda: tuple(array[:54] for array in load_data())"


@pytest.fixture(scope="module")
def first_night(tmp_path_factory, migrated_database):
    home = tmp_path_factory.mktemp("first_night")
    (home / "mlruns").mkdir()
    shutil.copy(migrated_database, home / "mlruns" / "mlflow.db")
    return home, search(tiny(home, fields=f"dict({NIGHT})"))


@pytest.fixture(scope="module")
def second_night(first_night):
    """Search the same study on other data, in the same project."""
    home, _ = first_night
    heard = Heard()
    return search(tiny(home, fields=f"dict({NIGHT}, {NEW_DATA})"), display=heard), heard


def aliases(home):
    return {k: str(v) for k, v in client(home).get_registered_model("tiny").aliases.items()}


def test_the_first_model_is_the_champion_and_says_what_it_comes_from(first_night):
    home, result = first_night
    assert result.registered == Registered("tiny", "1", "champion", "the first of its name")
    written = json.loads(result.decision_path.read_text())
    assert written["registered"]["version"] == "1"
    version = client(home).get_model_version("tiny", "1")
    assert version.run_id == written["run_id"]
    for name in ("splits_hash", "data_fingerprint"):
        assert version.tags[name] == written[name]
    assert version.tags["pipeline.signature"] == result.signature
    assert json.loads(version.tags["spec"])["batch_size"] == "16"
    assert f"for {result.choice.n_epochs} epochs" in str(version.description)
    model = client(home).get_logged_model(str(version.source).removeprefix("models:/"))
    (score,) = [each for each in model.metrics if each.key == "chosen_val_loss"]
    assert score.value == result.choice.score
    assert score.dataset_name == "tiny"
    assert score.dataset_digest == written["data_fingerprint"][:12]
    (link,) = json.loads(model.tags["mlflow.modelVersions"])
    assert (link["name"], str(link["version"])) == ("tiny", "1")


def test_the_same_search_again_registers_nothing_and_overrules_nobody(first_night):
    home, result = first_night
    store = client(home)
    store.set_registered_model_alias("tiny", "mine", "1")
    before = len(store.search_model_versions("name = 'tiny'"))
    again = search(tiny(home, fields=f"dict({NIGHT})"))
    assert again.registered == result.registered
    assert len(store.search_model_versions("name = 'tiny'")) == before
    assert aliases(home)["mine"] == "1"


def test_the_champion_is_tried_first_and_met_on_the_new_splits(first_night, second_night):
    home, before = first_night
    result, heard = second_night
    assert "tiny version 1, the champion, is tried first" in heard.lines
    first = result.trials[0]
    assert first.params == before.best.params
    scores, others = (
        result.best.curves.after(result.choice.n_epochs),
        champion_curves(result, before).after(before.choice.n_epochs),
    )
    gain = float(np.mean(others - scores))
    found = result.registered
    assert found.version == "2"
    if (
        result.best.params == before.best.params
        and result.choice.n_epochs == before.choice.n_epochs
    ):
        assert "of the configuration of version 1" in found.reason
    else:
        assert f"by {abs(gain):.3g}" in found.reason
    expected = {"champion": "1", "challenger": "2"} if found.alias == "challenger" else None
    assert expected is None or expected.items() <= aliases(home).items()


def champion_curves(result, before):
    """Return the champion's curves as the second night has them, in whichever trial."""
    return next(
        trial.curves
        for trial in (result.best, *result.trials)
        if trial.params == before.best.params and trial.curves.n_epochs >= before.choice.n_epochs
    )


SERVED = """
import sys, json, mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tiny@champion")
predictions = model.predict(np.array(json.loads(sys.argv[2]))).tolist()
print(json.dumps([predictions, "pipeline" in sys.modules]))
"""


def test_the_champion_serves_raw_rows_in_a_process_without_this_program(first_night, tmp_path):
    home, result = first_night
    rows = [[3.0, 2.0, 1.0], [9.0, 0.5, 4.0]]
    uri = f"sqlite:///{home}/mlruns/mlflow.db"
    done = subprocess.run(
        [sys.executable, "-c", SERVED, uri, json.dumps(rows)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    predictions, knows_pipeline = json.loads(done.stdout.splitlines()[-1])
    assert not knows_pipeline
    import mlflow

    mlflow.set_tracking_uri(uri)
    again = mlflow.pyfunc.load_model(result.refit.model_uri).predict(np.array(rows))
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # it takes that, too
    assert np.allclose(predictions, again)
    assert predictions[1][0] > predictions[0][0]  # 9 + 0.5 > 6, 3 + 2 is not


def test_a_configuration_that_no_trial_had_is_trained_on_the_studys_folds(home):
    """A study that began without the champion has it trained for its epochs, to the same bits."""
    seen: dict[str, Any] = {}

    def judged(result, session, standing):
        params, best = result.best.params, result.best
        seen["kept"] = champion.met_again(dict(params), 3, result, session, say_of="it")
        nobody = dataclasses.replace(best, params={**params, "learning_rate": 1.0})
        result = dataclasses.replace(result, trials=(), best=nobody)
        seen["trained"] = champion.met_again(dict(params), 3, result, session, say_of="it")
        seen["best"] = best.curves
        return "challenger", "so"

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(champion, "judged", judged)
        search(tiny(home, fields="dict(registry=Registry(), budget=Budget(n_trials=1))"))
    assert seen["kept"] is seen["best"]
    assert seen["trained"].n_epochs == 3
    assert np.array_equal(seen["trained"].values, seen["best"].until(3).values)


ON_TEST = "registry=Registry(on='test'), test_size=0.7"
MORE_EPOCHS = """space={
    "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
    "max_epochs": IntDistribution(4, 8),
}"""


@pytest.mark.long
def test_models_meet_on_test_rows_that_neither_has_used(home):
    """The same rows on the next night, and a wider search: 42 rows were aside both times."""
    one_trial = "budget=Budget(n_trials=1)"
    first = search(tiny(home, fields=f"dict({ON_TEST}, {one_trial})"))
    second = search(tiny(home, fields=f"dict({ON_TEST}, {one_trial}, {MORE_EPOCHS})"))
    found = second.registered
    gain = first.refit.test_metrics["loss"] - second.refit.test_metrics["loss"]
    assert f"loss {'better' if gain >= 0 else 'worse'} by {abs(gain):.3g}, " in found.reason
    assert found.reason.endswith("than version 1, on 42 test rows that neither has used")
    used = [json.loads(line) for line in record_of_test_rows(home).read_text().splitlines()]
    assert used[-1]["what"] == "registry: against version 1"
    fewer = "load_data=lambda: tuple(array[20:] for array in load_data())"
    third = search(tiny(home, fields=f"dict({ON_TEST}, {one_trial}, {fewer})"))
    assert "development rows are not among tonight's rows" in third.registered.reason
    assert "the configuration of version" in third.registered.reason


def record_of_test_rows(home):
    return next((home / "mlruns" / "studies" / "test_rows").iterdir())


def answer(scores, *, n_epochs=2, objective=None, registry=None):
    """Return a result whose winner has these fold scores at its chosen epoch, and its question."""
    objective = objective or Objective()
    values = np.stack(
        [np.asarray(scores, float) + 1, scores, np.asarray(scores, float) + 1], axis=1
    )
    best = SimpleNamespace(curves=FoldCurves(values, objective), params={"learning_rate": 0.1})
    result: Any = SimpleNamespace(
        best=best,
        choice=SimpleNamespace(n_epochs=n_epochs),
        spec=SimpleNamespace(objective=objective),
    )
    folds = SimpleNamespace(validation_to_training=0.25, n_repeats=1)
    spec = SimpleNamespace(registry=registry or Registry(), objective=objective)
    return result, SimpleNamespace(spec=spec, folds=folds)


SCORES = np.array([1.0, 1.2, 1.4, 1.1, 1.3])
GAINS = np.array([0.1, 0.12, 0.1, 0.08, 0.1])


def test_chance_moves_no_champion():
    """Better on every fold, by gains that scatter too much: their interval holds 0."""
    result, question = answer(SCORES - [0.01, 0.3, 0.02, 0.25, 0.02])
    moves, reason = champion.beats(result, SCORES, question)
    assert not moves
    assert reason.startswith("val_loss better by 0.12, which may be chance (95% interval -")


def test_a_gain_beyond_chance_does():
    result, question = answer(SCORES - GAINS)
    moves, reason = champion.beats(result, SCORES, question)
    assert moves
    assert reason.startswith("val_loss better by 0.1, more than chance (95% interval 0.0")


def test_what_is_worse_never_does():
    result, question = answer(SCORES + GAINS)
    assert champion.beats(result, SCORES, question)[0] is False


def test_a_stated_margin_decides_alone():
    gains = np.array([0.01, 0.3, 0.02, 0.25, 0.02])
    for margin, expected in ((0.11, True), (0.13, False)):
        result, question = answer(SCORES - gains, registry=Registry(margin=margin))
        assert champion.beats(result, SCORES, question)[0] is expected


def test_a_higher_accuracy_is_a_gain():
    objective = Objective("val_accuracy", "maximize")
    result, question = answer(SCORES + GAINS, objective=objective)
    moves, reason = champion.beats(result, SCORES, question)
    assert moves
    assert reason.startswith("val_accuracy better by 0.1")


def version(**answer):
    return tracking.Version("tiny", "3", answer, True, "run", "models:/m-1")


def judged(standing, monkeypatch, curves):
    result, question = answer(SCORES - GAINS)

    def met_again(*_, **__):
        if isinstance(curves, Exception):
            raise curves
        return curves

    monkeypatch.setattr(champion, "met_again", met_again)
    session: Any = SimpleNamespace(question=question, spec=question.spec)
    return champion.judged(result, session, standing)


def test_every_way_to_stand_against_a_champion(monkeypatch):
    other = version(params={"learning_rate": 0.2}, n_epochs=2)
    flat = FoldCurves(np.stack([SCORES] * 3, axis=1), Objective())
    assert judged(None, monkeypatch, flat)[0] == "champion"
    assert judged(other, monkeypatch, flat)[0] == "champion"
    assert judged(other, monkeypatch, None) == (
        "champion", "the configuration of version 3 diverged on these splits",
    )  # fmt: skip
    for standing, curves, why in (
        (version(), flat, "version 3, the champion, was not registered by a search"),
        (version(params={"learning_rate": 0.1}, n_epochs=2), flat, "of the configuration of"),
        (other, KeyError("units"), "could not be trained on these splits: KeyError: 'units'"),
    ):
        alias, reason = judged(standing, monkeypatch, curves)
        assert alias == "challenger"
        assert why in reason
    with pytest.raises(Interrupted):
        judged(other, monkeypatch, Interrupted("SIGTERM"))


def test_one_fold_needs_a_margin_and_a_registry_a_model(home):
    one_fold = "load_data=load_with_validation_set, splitter=None"
    with pytest.raises(BadInput, match=r"registry.margin must be a number where there is one fold"):
        search(tiny(home, fields=f"dict({one_fold}, registry=Registry())"))
    with pytest.raises(BadInput, match=r"must have test rows, got test_size=0"):
        tiny(home, fields="dict(registry=Registry(on='test'))")
    with pytest.raises(BadInput, match=r"got refit.enabled=False"):
        tiny(home, fields="dict(registry=Registry(), refit=Refit(enabled=False))")
    for wrong in ({"margin": -1}, {"margin": "much"}, {"name": "a/b"}, {"on": "rows"}):
        with pytest.raises(BadInput, match=r"registry\."):
            Registry(**wrong)


def test_a_version_that_is_neither_goes_with_its_study(second_night, first_night, tmp_path):
    """Registered by a search, without an alias by now: `maintain clean` takes it."""
    home = shutil.copytree(first_night[0], tmp_path / "home")
    store = tracking.open_store(None, home)
    tracking.relocate(store)
    for alias in ("champion", "challenger", "mine"):
        store.client.delete_registered_model_alias("tiny", alias)
    store.client.set_registered_model_alias("tiny", "champion", "2")
    old, new = (result.signature for result in (first_night[1], second_night[0]))
    logged = {each.signature: each for each in tracking.logged_studies(store)}
    assert logged[old].registered == ()
    assert logged[old].superseded == (("tiny", "1"),)
    assert logged[new].registered == ("tiny version 2",)
    tracking.remove(store, logged[old])
    left = store.client.search_model_versions("name = 'tiny'")
    assert [str(each.version) for each in left] == ["2"]
