from random import Random

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from pipeline.optimization import N_FOR_IMPORTANCES, importances, spans
from pipeline.spec import StudySpec

SPACE = {
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "max_epochs": IntDistribution(3, 20),
}


def spec(**space):
    return StudySpec(load_data=lambda: None, build_model=lambda params: params,
                     space={**SPACE, **space}, seed=3, strategy=None)  # fmt: skip


def study(n_trials, value=lambda rate: rate):
    random = Random(0)
    study = optuna.create_study()
    for _ in range(n_trials):
        rate = 10 ** random.uniform(-4, -1)
        params = {"learning_rate": rate, "max_epochs": random.randint(3, 20)}
        study.add_trial(create_trial(params=params, distributions=SPACE, value=value(rate)))
    return study


def test_the_parameter_that_decides_comes_first_and_the_same_trials_give_the_same_shares():
    searched = study(N_FOR_IMPORTANCES)
    shares = importances(searched, spec(), 3)
    assert list(shares) == ["learning_rate", "max_epochs"]
    assert shares["learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1.0)
    assert importances(searched, spec(), 3) == shares


def test_too_few_trials_one_parameter_or_equal_values_tell_nothing():
    assert importances(study(N_FOR_IMPORTANCES - 1), spec(), 3) == {}
    assert importances(study(N_FOR_IMPORTANCES), spec(max_epochs=5), 3) == {}
    assert importances(study(N_FOR_IMPORTANCES, value=lambda rate: 1.0), spec(), 3) == {}


def test_finished_trials_have_their_times():
    searched = optuna.create_study()
    searched.tell(searched.ask(), 1.0)
    searched.tell(searched.ask(), state=TrialState.PRUNED)
    searched.ask()
    assert list(spans(searched)) == [0, 1]
    assert all(begin <= end for begin, end in spans(searched).values())
