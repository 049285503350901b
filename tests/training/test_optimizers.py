"""The six optimizers of `studies/optimizers.py`, in the compiled epoch and by `fit`."""

import pytest

from pipeline.space import When
from pipeline.study_file import load_study
from tests.training.fit import assert_equals_fit, some_long
from tests.training.models import case, compiled, hidden, softmax

STUDY = load_study("optimizers")


# The others are tried in test_equals_fit as well.
QUICK = ["rmsprop", "lion", "muon"]


@pytest.mark.parametrize("name", some_long(STUDY.space["optimizer"].choices, QUICK))
def test_an_optimizer_with_its_own_parameters_equals_fit(name):
    middle = {"momentum": 0.7, "rho": 0.85, "weight_decay": 0.05}
    whens = {key: when for key, when in STUDY.space.items() if isinstance(when, When)}
    own = {key: middle[key] for key, when in whens.items() if when.holds({"optimizer": name})}

    def build(params):
        optimizer = STUDY.build_model(params).optimizer
        if "momentum" in params:
            assert optimizer.momentum == 0.7
        return compiled(hidden(), softmax(), params=params, optimizer=optimizer.from_config(
            optimizer.get_config()))  # fmt: skip

    assert_equals_fit(case(build, params={"optimizer": name, **own}), n_epochs=2)
