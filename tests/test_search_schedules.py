"""Whole searches whose schedules are a dimension, end, or react to the curve."""

import json

import pytest
from optuna.distributions import CategoricalDistribution

from pipeline import wording
from pipeline.dry_run import cost_of
from pipeline.errors import BadInput, Interrupted
from pipeline.schedules import Step, replayed
from pipeline.search import search
from tests.test_winner import SLOW
from tests.tiny_study import Heard, StopAt, bits, runs_of, tiny

SEVERAL = """dict(
    schedule={"cosine": Cosine(), "step": Step(0.5, 2), "own": lambda epoch: 0.05 * 0.9**epoch},
    budget=Budget(n_trials=7))"""


def test_schedules_are_a_dimension_of_the_space(home):
    spec = tiny(home, fields=SEVERAL)
    assert spec.sampled["schedule"] == CategoricalDistribution(["cosine", "step", "own"])
    result = search(spec)
    names = {trial.params["schedule"] for trial in result.trials}
    assert names == {"cosine", "step", "own"}
    for trial in result.trials:
        assert trial.horizon_free == (trial.params["schedule"] != "cosine")
        assert trial.best_n_epochs == trial.curves.n_epochs or trial.horizon_free
    decided = json.loads(result.decision_path.read_text())
    assert decided["params"]["schedule"] == result.best.params["schedule"]
    _, children = runs_of(home)
    assert {run.data.params["schedule"] for run in children} == names


@pytest.mark.parametrize("name", ["step", "stpe"])
def test_the_space_may_say_which_of_the_schedules(name, home):
    fields = f"{SEVERAL} | dict(space=dict(learning_rate=0.1, max_epochs=3, schedule={name!r}))"
    if name == "step":
        spec = tiny(home, fields=fields)
        assert spec.schedule_of(spec.fixed) == Step(0.5, 2)
    else:
        with pytest.raises(BadInput, match=r"unknown schedule .* 'stpe'; did you mean 'step'"):
            tiny(home, fields=fields)


def test_a_function_that_ends_ends_the_training_and_leaves_the_answer_determined(home):
    """`SLOW` still falls at its end: more epochs would be better, and were not asked for."""
    display = Heard()
    fields = f"{SLOW} | dict(schedule=lambda e: ([1e-4] * 5)[e])"
    result = search(tiny(home, fields=fields), display=display)
    told = "schedule <lambda> gives learning rates for 5 epochs: nothing is trained further"
    assert told in display.lines
    assert result.choice.n_epochs == result.best.curves.n_epochs == 5
    assert result.open_end == ""
    epochs = dict(wording.findings(result))["epochs"]
    assert "of 5 trained, for which alone the schedule has rates" in epochs


PLATEAU = """dict(schedule=ReduceOnPlateau(factor=0.3, patience=1, min_delta=0.1),
    space=dict(learning_rate=0.05, max_epochs=4), budget=Budget(n_trials=1),
    splitter=KFold(2, shuffle=True))"""


def test_a_search_that_reacts_to_its_curves_goes_on_to_the_same_bits(home, tmp_path_factory):
    whole = search(tiny(tmp_path_factory.mktemp("whole"), fields=PLATEAU))
    with pytest.raises(Interrupted):
        search(tiny(home, fields=PLATEAU), display=StopAt(0, 3))
    again = search(tiny(home, fields=PLATEAU))
    assert bits(again) == bits(whole)
    plain = replayed(again.spec.schedule, again.best.curves.losses)
    assert len(plain.after) > 1  # it did fall


def test_a_dry_run_tells_what_updates_come_to(home):
    keras = "__import__('keras').optimizers.schedules"
    spec = tiny(home, fields=f"dict(schedule={keras}.CosineDecay(0.1, decay_steps=5))")
    assert spec.signature(data_fingerprint="", splits_hash="") != tiny(
        home, fields=f"dict(schedule={keras}.CosineDecay(0.1, decay_steps=6))"
    ).signature(data_fingerprint="", splits_hash="")
    told = cost_of(spec, tracking_uri=None, storage=None)["mind"]
    assert "CosineDecay(decay_steps=5) ends after 1.7 of 4 epochs: 3 updates make" in told
    assert "gives the learning rate itself: the sampled learning_rate is not used" in told
    assert "mind" not in cost_of(tiny(home), tracking_uri=None, storage=None)
