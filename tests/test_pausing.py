"""Which studies' trials pause when nothing is said of it, and who decides otherwise."""

from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner

from pipeline.errors import BadInput
from pipeline.pausing import strategy_named
from pipeline.schedules import Constant, Cosine, ReduceOnPlateau
from pipeline.spec import StudySpec
from pipeline.strategy import FinishBest, Ladder


def spec(max_epochs: Any = 10, **fields: Any) -> StudySpec:
    return StudySpec(
        name="named",
        load_data=lambda: None,
        build_model=lambda params: params,
        space={"learning_rate": FloatDistribution(1e-4, 1e-1), "max_epochs": max_epochs},
        **fields,
    )


@pytest.mark.parametrize(
    "fields", [{}, {"max_epochs": IntDistribution(10, 10)}, {"schedule": Cosine()}]
)
def test_trials_of_one_horizon_climb_a_ladder(fields):
    assert spec(**fields).pausing == Ladder()


@pytest.mark.parametrize(
    "fields",
    [
        {"max_epochs": IntDistribution(5, 10)},
        {"pruner": MedianPruner()},
        {"callbacks": list},
        {"schedule": ReduceOnPlateau()},
        {"schedule": {"cosine": Cosine(), "constant": Constant()}},
        {"strategy": None},
    ],
)
def test_others_are_trained_to_their_end_or_pruned(fields):
    assert spec(**fields).pausing is None


def test_a_strategy_that_is_given_is_used_whatever_the_horizons():
    assert spec(IntDistribution(5, 10), strategy=FinishBest()).pausing == FinishBest()


def test_a_command_line_is_told_the_names_of_strategies():
    with pytest.raises(BadInput, match=r"hyperband.*finish-best"):
        strategy_named("hyperband")


@pytest.mark.parametrize("strategy", ["ladders", 3, Ladder])
def test_what_is_no_strategy_is_refused(strategy):
    with pytest.raises(BadInput, match=r"strategy must be .*Ladder\(\), None or 'auto', got"):
        spec(strategy=strategy)
