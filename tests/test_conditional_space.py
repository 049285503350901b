"""Parameters that only some trials have: in the space, the proposals, and a whole search."""

import warnings

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import GridSampler, QMCSampler, RandomSampler

from pipeline.changes import with_field
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput
from pipeline.optimization import Proposal, finished, next_proposal, open_study
from pipeline.results import Outcome, TrialResult
from pipeline.search import search
from pipeline.space import When
from pipeline.spec import StudySpec
from tests.tiny_study import runs_of, tiny

MOMENTUM, DECAY = FloatDistribution(0.0, 0.9), FloatDistribution(1e-4, 1e-1, log=True)
SPACE = {
    "learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
    "max_epochs": 5,
    "optimizer": CategoricalDistribution(["sgd", "adam", "adamw"]),
    "momentum": When("optimizer", "sgd", MOMENTUM),
    "beta_1": When("optimizer", ("adam", "adamw"), 0.8),
    "weight_decay": When("optimizer", ["adamw"], DECAY),
}
OWN = {"sgd": {"momentum"}, "adam": {"beta_1"}, "adamw": {"beta_1", "weight_decay"}}


def spec_of(**fields):
    made = {"name": "conditional", "load_data": lambda: None, "build_model": lambda params: params}
    return StudySpec(**{**made, "space": SPACE, "seed": 1, **fields})


def test_a_trial_has_what_its_own_choice_has():
    spec = spec_of()
    assert set(spec.sampled) == {"learning_rate", "optimizer"}
    assert set(spec.varied) == {"learning_rate", "optimizer", "momentum", "weight_decay"}
    for name, own in OWN.items():
        params = spec.params_of({"learning_rate": 0.1, "optimizer": name})
        sampled = spec.sampled_with(params).keys() - spec.sampled.keys()
        assert (params.keys() | sampled) & {"momentum", "beta_1", "weight_decay"} == own
    assert spec.sampled_with({"optimizer": "sgd"})["momentum"] == MOMENTUM


def test_a_choice_that_is_fixed_decides_for_all_trials():
    spec = with_field(spec_of(), "space.optimizer", "sgd")
    assert set(spec.sampled) == set(spec.varied) == {"learning_rate", "momentum"}
    assert "beta_1" not in spec.params_of({})
    always = with_field(spec_of(), "space.momentum", 0.5)
    assert always.params_of({"optimizer": "sgd"})["momentum"] == 0.5
    assert "momentum" not in always.params_of({"optimizer": "adam"})


def test_the_condition_is_part_of_the_signature():
    def signature(space):
        return spec_of(space=space).signature(data_fingerprint="d", splits_hash="s")

    others = {**SPACE, "momentum": When("optimizer", ("sgd", "adam"), MOMENTUM)}
    assert signature(SPACE) == signature(dict(SPACE)) != signature(others)


@pytest.mark.parametrize(
    ("name", "when", "says"),
    [
        ("momentum", When("optimiser", "sgd", 0.9), "unknown unconditional .*; did you mean 'opt"),
        ("momentum", When("beta_1", 0.8, 0.9), "unknown unconditional parameter .* 'beta_1'"),
        ("momentum", When("optimizer", "sdg", 0.9), "unknown optimizer .* 'sdg'; did you mean 's"),
        ("momentum", When("learning_rate", 0.1, 0.9), "must hang on a Categorical.*'learning_ra"),
        ("momentum", When("optimizer", "sgd", [0.9]), r"must be an Optuna distribution .*\[0.9\]"),
        ("max_epochs", When("optimizer", "sgd", 9), r"\['max_epochs'\] must be there in every"),
        ("batch_size", When("optimizer", "sgd", 9), r"\['batch_size'\] must be there in every"),
    ],
)
def test_a_condition_that_cannot_be_is_named(name, when, says):
    with pytest.raises(BadInput, match=says):
        spec_of(space={**SPACE, name: when})


@pytest.fixture
def opened(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)
    return lambda spec, name="journal": open_study(tmp_path / f"{name}.log", "study", spec)


def told(proposal: Proposal, spec: StudySpec) -> Proposal:
    """Tell a value that hangs on the choice and on its own parameter."""
    rate, own = proposal.params["learning_rate"], proposal.params.get("momentum", 0.5)
    values = np.full((2, 1), abs(rate - 0.01) + abs(own - 0.3))
    curves = FoldCurves(values, spec.objective)
    proposal.tell(TrialResult(proposal.number, proposal.params, Outcome.COMPLETED, curves, 1.0, 1))
    return proposal


@pytest.mark.parametrize("sampler", [None, lambda seed: RandomSampler(seed)], ids=["tpe", "random"])
def test_a_sampler_proposes_what_applies_and_nothing_else(sampler, opened):
    spec, found = spec_of(sampler=sampler), {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of Optuna, that parameters are sampled independently
        for name in ("one", "two"):
            study = opened(spec, name)
            found[name] = [told(next_proposal(study, spec), spec).params for _ in range(24)]
    assert found["one"] == found["two"]
    assert {params["optimizer"] for params in found["one"]} == set(OWN)
    for params in found["one"]:
        own = params.keys() & {"momentum", "beta_1", "weight_decay"}
        assert own == OWN[params["optimizer"]]
        assert all(d._contains(params[n]) for n, d in spec.varied.items()
                   if n in params and n != "optimizer")  # fmt: skip
    assert [trial.params for trial in finished(opened(spec, "one"), spec)] == found["one"]


def test_a_trial_that_was_killed_while_it_was_asked_for_gets_the_same_parameters(opened):
    spec = spec_of()
    study, whole = opened(spec), opened(spec, "whole")
    for _ in range(12):
        told(next_proposal(study, spec), spec)
        told(next_proposal(whole, spec), spec)
    expected = next_proposal(whole, spec).params
    study.ask()  # nothing was stored yet
    assert next_proposal(opened(spec), spec).params == expected
    assert next_proposal(opened(spec), spec).params == expected


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "sampler",
    [
        lambda seed: GridSampler({"optimizer": ["sgd"], "learning_rate": [0.1]}, seed=seed),
        lambda seed: QMCSampler(seed=seed),
    ],
)
def test_a_sampler_that_lays_out_its_points_is_refused(sampler, opened):
    spec = spec_of(sampler=sampler)
    with pytest.raises(BadInput, match=r"that only some trials have \(momentum, weight_decay\), g"):
        next_proposal(opened(spec), spec)


SEARCHED = """dict(
    space=dict(learning_rate=FloatDistribution(1e-3, 1e-1, log=True), max_epochs=3,
        optimizer=CategoricalDistribution(["sgd", "adam"]),
        momentum=When("optimizer", "sgd", FloatDistribution(0.0, 0.9))),
    budget=Budget(n_trials=5), refit=Refit(enabled=False))"""
BUILDER = """
    make = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[params["optimizer"]]
    own = {"momentum": params["momentum"]} if "momentum" in params else {}
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile(make(params["learning_rate"], **own), loss="binary_crossentropy")
    return model
"""


def test_a_search_answers_and_reports_without_what_a_trial_lacks(home):
    result = search(tiny(home, fields=SEARCHED, builder=BUILDER))
    assert {trial.params["optimizer"] for trial in result.trials} == {"sgd", "adam"}
    for trial in result.trials:
        assert ("momentum" in trial.params) == (trial.params["optimizer"] == "sgd")
    _, children = runs_of(home)
    assert {"momentum" in run.data.params for run in children} == {True, False}
    page = result.report_path.read_text(encoding="utf-8")
    assert "momentum" in page
    assert "–" in (result.report_path.parent / "report.md").read_text(encoding="utf-8")


def test_integers_and_choices_may_be_conditional():
    extra = {"steps": When("optimizer", "sgd", IntDistribution(1, 9)),
             "kind": When("optimizer", "adam", CategoricalDistribution(["a", "b"]))}  # fmt: skip
    assert {"steps", "kind"} <= spec_of(space={**SPACE, **extra}).varied.keys()
    with pytest.warns(UserWarning, match="persistent storage"):
        tuples = CategoricalDistribution([(1, 2), (3, 4)])  # type: ignore[list-item]
    with pytest.raises(BadInput, match="choices that are numbers"):
        spec_of(space={**SPACE, "kind": When("optimizer", "adam", tuples)})
