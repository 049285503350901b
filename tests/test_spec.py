import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.budget import Budget
from pipeline.choice import BestOfMean, OneStandardError
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput
from pipeline.objective import Objective
from pipeline.schedules import Cosine
from pipeline.spec import UNSIGNED, EarlyStopping, Refit, StudySpec

SPACE = {"learning_rate": FloatDistribution(1e-4, 1e-1, log=True), "max_epochs": 10}


def load_data() -> Any:
    return np.zeros((4, 1)), np.zeros(4)


def build_model(params: dict[str, Any]) -> Any:
    return params


def build_other(params: dict[str, Any]) -> Any:
    return params


def spec(**fields: Any) -> StudySpec:
    return StudySpec(
        **{
            "name": "named",
            "load_data": load_data,
            "build_model": build_model,
            "space": SPACE,
            **fields,
        }
    )


def in_space(**dimensions: Any) -> dict[str, Any]:
    return {"space": {**SPACE, **dimensions}}


def signature(**fields: Any) -> str:
    return spec(**fields).signature(data_fingerprint="data", splits_hash="splits")


def test_a_spec_needs_a_loader_a_builder_and_a_space():
    assert spec().sampled == {"learning_rate": SPACE["learning_rate"]}
    assert spec().fixed == {"max_epochs": 10, "batch_size": 32}


def test_batch_size_is_sampled_when_the_space_has_it():
    sampled = spec(**in_space(batch_size=CategoricalDistribution([16, 32])))
    assert set(sampled.sampled) == {"learning_rate", "batch_size"}
    assert "batch_size" not in sampled.fixed
    assert spec(**in_space(batch_size=64)).fixed["batch_size"] == 64


def test_numpy_numbers_in_the_space_become_plain_ones():
    fixed = spec(**in_space(learning_rate=np.float32(0.5), max_epochs=np.int64(7))).fixed
    assert fixed == {"learning_rate": 0.5, "max_epochs": 7, "batch_size": 32}
    assert [type(value) for value in fixed.values()] == [float, int, int]


def test_a_spec_does_not_follow_later_changes_of_the_dict():
    space = dict(SPACE)
    kept = spec(space=space)
    space["max_epochs"] = 99
    assert kept.longest_horizon == 10


def test_a_spec_is_named_after_its_builders_file():
    assert spec(name="").name == "test_spec"
    assert spec(name="other").name == "other"


RATE = r"space\['learning_rate'\] must be finite numbers > 0, got "
EPOCHS = r"space\['max_epochs'\] must be whole numbers ≥ 1, got "


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"load_data": "rows.csv"}, r"load_data must be a function \(\) -> data, got 'rows.csv'"),
        ({"load_data": lambda path: path}, r"load_data must be .*missing a required argument"),
        ({"build_model": None}, "build_model must be a function params -> .*, got None"),
        ({"build_model": lambda: None}, "build_model must be .*too many positional arguments"),
        ({"space": [1]}, r"space must be a dict of name -> .*, got \[1\]"),
        ({"space": {1: 2}}, "space must be a dict of name -> .*, got {1: 2}"),
        (
            {"space": {"learning_rate": 0.1}},
            r"must have 'max_epochs', got \['learning_rate'\]; for",
        ),
        ({"space": {"max_epochs": 5}}, "must have 'learning_rate'"),
        (in_space(units=[32, 64]), r"space\['units'\] must be an Optuna .*, got \[32, 64\]"),
        (in_space(learning_rate=0), RATE + "0"),
        (in_space(learning_rate=True), RATE + "True"),
        (in_space(learning_rate=float("nan")), RATE + "nan"),
        (in_space(learning_rate=np.inf), RATE + "inf"),
        (in_space(learning_rate=FloatDistribution(0.0, 1.0)), RATE + "FloatDist"),
        (in_space(learning_rate=CategoricalDistribution([0.1, None])), RATE + "Categ"),
        (in_space(learning_rate=CategoricalDistribution([0.1, "b"])), RATE + "Categ"),
        (in_space(max_epochs=0), EPOCHS + "0"),
        (in_space(max_epochs=2.5), EPOCHS + "2.5"),
        (in_space(max_epochs=FloatDistribution(1, 9)), EPOCHS + "FloatDist"),
        (in_space(max_epochs=IntDistribution(0, 9)), EPOCHS + "IntDist"),
        (in_space(batch_size="32"), r"space\['batch_size'\] must be whole numbers ≥ 1, got '32'"),
        ({"name": "a/b"}, "name must be letters, digits, .*, got 'a/b'"),
        ({"name": ".."}, r"name must be .*, got '\.\.'"),
        ({"name": 3}, "name must be .*, got 3"),
        ({"objective": "val_loss"}, "objective must be an Objective such as .*, got 'val_loss'"),
        ({"splitter": 5}, r"splitter must have scikit-learn's split.*, got 5; for example KFold"),
        ({"splitter": KFold}, "splitter must have .*, got <class"),
        ({"preprocess": "scale"}, "preprocess must be a scikit-learn transformer.*, got 'scale'"),
        ({"preprocess": StandardScaler}, "preprocess must be .*, got <class"),
        ({"preprocess": lambda x: x}, "preprocess must be a function .* missing a required arg"),
        ({"preprocess": {"a": StandardScaler}}, "preprocess must be .*, got <class"),
        ({"class_weight": "equal"}, "class_weight must be 'balanced', a dict .*, got 'equal'"),
        ({"class_weight": [1, 2]}, r"class_weight must be .*, got \[1, 2\]"),
        ({"class_weight": {0: -1.0}}, r"class_weight must be .* ≥ 0.*, got {0: -1.0}"),
        ({"batch_size": 0}, "batch_size must be a whole number ≥ 1, got 0"),
        ({"batch_size": 32.0}, "batch_size must be a whole number ≥ 1, got 32.0"),
        ({"schedule": "cosine"}, "schedule must have learning_rates.*, got 'cosine'; for example"),
        ({"schedule": Cosine}, "schedule must have .*, got <class"),
        ({"early_stopping": 5}, "early_stopping must be None or an EarlyStopping.*, got 5"),
        ({"sampler": optuna.samplers.RandomSampler(0)}, "sampler must be a function seed -> "),
        ({"sampler": optuna.samplers.TPESampler}, "sampler must be .* too many positional"),
        ({"pruner": "median"}, "pruner must be an Optuna pruner, got 'median'; for example"),
        ({"pruner": optuna.pruners.MedianPruner}, "pruner must be .*, got <class"),
        ({"rule": "best"}, "rule must have choose.*, got 'best'; for example BestOfMean"),
        ({"rule": BestOfMean}, "rule must have .*, got <class"),
        ({"rule": None}, "rule must have .*, got None"),
        ({"budget": 30}, "budget must be a Budget such as .*, got 30"),
        ({"refit": False}, "refit must be a Refit such as .*, got False"),
        ({"test_size": 1.0}, r"test_size must be a share in 0\.\.1 or a count ≥ 0, got 1.0"),
        ({"test_size": -1}, "test_size must be .*, got -1"),
        ({"test_size": False}, "test_size must be .*, got False"),
        ({"seed": -1}, r"seed must be a whole number in 0\.\.4294967295, got -1"),
        ({"seed": 2**32}, "seed must be .*, got 4294967296"),
        ({"seed": None}, "seed must be .*, got None"),
        ({"engine": "jit"}, "engine must be one of 'auto', 'plain', 'xla', 'stream', got 'jit'"),
        ({"callbacks": []}, r"callbacks must be a function \(\) -> list of new Keras callbacks"),
        ({"callbacks": lambda model: []}, "callbacks must be a function .* missing a required"),
        ({"augment": lambda x, y: (x, y)}, r"augment must be a function \(x, y, seed\) -> .* too"),
        (
            {"engine": "plain", "callbacks": lambda: [], "augment": lambda x, y, seed: (x, y)},
            "engine must be 'auto' or 'stream' with callbacks and augment, which .* got 'plain'",
        ),
        ({"threads": 0}, "threads must be a whole number ≥ 1, got 0"),
        ({"operation_threads": 0}, "operation_threads must be a whole number ≥ 1, got 0"),
        (
            {"validation_batch_size": 0},
            "validation_batch_size must be a whole number ≥ 1, got 0",
        ),
        ({"deterministic": 0}, "deterministic must be True or False, got 0"),
        (
            {"dtype_policy": "float16"},
            "dtype_policy must be one of None, 'float32', 'mixed_float16', 'mixed_bfloat16', got",
        ),
    ],
)
def test_a_bad_field_is_named_with_what_came_and_what_is_allowed(fields, says):
    with pytest.raises(BadInput, match=says) as error:
        spec(**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Budget(n_trials=0), "budget.n_trials must be a whole number ≥ 1, got 0"),
        (lambda: Budget(max_failures_in_a_row=0), "budget.max_failures_in_a_row must be a whole"),
        (
            lambda: Budget(timeout_secs=0),
            "budget.timeout_secs must be a number > 0, or None, got 0",
        ),
        (lambda: Budget(timeout_secs=float("nan")), "budget.timeout_secs must be .*, got nan"),
        (lambda: Budget(timeout_secs="1h"), "budget.timeout_secs must be .*, got '1h'"),  # type: ignore[arg-type]
        (lambda: EarlyStopping(0), "early_stopping.patience must be a whole number ≥ 1, got 0"),
        (lambda: EarlyStopping(1, -0.1), "early_stopping.min_delta must be a number ≥ 0, got -0.1"),
        (lambda: EarlyStopping(1, float("nan")), "early_stopping.min_delta must be .*, got nan"),
        (lambda: Refit("no"), "refit.enabled must be True or False, got 'no'"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_part_is_named_with_what_came_and_what_is_allowed(
    build: Callable[[], Any], says: str
):
    with pytest.raises(BadInput, match=says):
        build()


@pytest.mark.parametrize(
    ("means", "patience", "min_delta", "stops_after"),
    [
        ([5, 4, 3, 2, 1], 1, 0.0, None),
        ([3, 2, 2, 2, 2], 2, 0.0, 4),  # an equal mean is no improvement
        ([3, 2, 4, 1, 5, 6], 2, 0.0, 6),  # patience begins anew with each improvement
        ([3, 2, 4, 1, 5, 6], 1, 0.0, 3),
        ([1, 2, 3], 3, 0.0, None),  # the first epoch is an improvement
        ([1, 2, 3, 4], 3, 0.0, 4),
        ([1.0, 0.95, 0.9, 0.85], 2, 0.08, None),  # less at a time, more than 0.08 in two
        ([1.0, 0.95, 0.9, 0.85], 2, 0.2, 3),
    ],
)
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_early_stopping_acts_on_the_mean_in_its_direction(
    direction, means, patience, min_delta, stops_after
):
    stopping = EarlyStopping(patience, min_delta)
    sign = 1 if direction == "minimize" else -1
    # Each fold alone would say otherwise: one only improves, the other only gets worse.
    drift = 10.0 * np.arange(len(means))
    folds = sign * np.array([means - drift, means + drift])
    stopped = [
        n
        for n in range(1, len(means) + 1)
        if stopping.should_stop(FoldCurves(folds[:, :n], Objective("val_x", direction)))
    ]
    assert stopped[:1] == ([] if stops_after is None else [stops_after])


def test_signature_is_short_and_repeats():
    assert signature() == signature()
    assert len(signature()) == 12
    assert int(signature(), 16) >= 0


@pytest.mark.parametrize(
    "fields",
    [
        in_space(learning_rate=FloatDistribution(1e-4, 1e-2, log=True)),
        in_space(learning_rate=FloatDistribution(1e-4, 1e-1)),
        in_space(max_epochs=11),
        in_space(units=32),
        {"name": "other"},
        {"objective": Objective("val_accuracy", "maximize")},
        {"preprocess": StandardScaler()},
        {"preprocess": {"a": StandardScaler()}},
        {"class_weight": "balanced"},
        {"callbacks": lambda: []},
        {"augment": lambda x, y, seed: (x, y)},
        {"batch_size": 64},
        {"validation_batch_size": 64},
        {"operation_threads": 1},
        {"schedule": Cosine()},
        {"early_stopping": EarlyStopping(patience=5)},
        {"seed": 1},
        {"engine": "xla"},
        {"threads": 2},
        {"dtype_policy": "mixed_float16"},
        {"dtype_policy": "float32"},
        {"deterministic": False},
        {"load_data": lambda: None},
        {"build_model": build_other},
        {"build_model": partial(build_model)},
    ],
)
def test_signature_changes_with_what_defines_the_search(fields):
    assert signature(**fields) != signature()


def test_signature_changes_with_data_splits_and_arguments_of_a_partial():
    one = spec()
    assert one.signature(data_fingerprint="x", splits_hash="splits") != signature()
    assert one.signature(data_fingerprint="data", splits_hash="x") != signature()

    def deep(depth: int, params: dict[str, Any]) -> Any:
        return depth, params

    assert signature(build_model=partial(deep, 3)) != signature(build_model=partial(deep, 4))
    assert signature(build_model=partial(deep, 3)) == signature(build_model=partial(deep, 3))


@pytest.mark.parametrize(
    "fields",
    [
        {"budget": Budget(n_trials=99)},
        {"rule": OneStandardError()},
        {"refit": Refit(enabled=False)},
        {"sampler": lambda seed: optuna.samplers.RandomSampler(seed)},
        {"pruner": optuna.pruners.NopPruner()},
        {"space": dict(reversed(SPACE.items()))},
    ],
)
def test_signature_does_not_change_with_what_may_differ_between_sessions(fields):
    assert signature(**fields) == signature()


def test_signature_does_not_depend_on_the_order_of_class_weights():
    weights = {0: 1.0, 1: 2.0}
    assert signature(class_weight=weights) == signature(
        class_weight=dict(reversed(weights.items()))
    )


def test_signature_tells_functions_that_make_what_preprocesses():
    def one():
        return StandardScaler()

    def other():
        return StandardScaler(with_mean=False)

    assert signature(preprocess=one) == signature(preprocess=one)
    assert len({signature(preprocess=each) for each in (one, other, {"a": one}, None)}) == 4


def test_signature_sees_the_middle_of_a_long_preprocess():
    def columns(width: int) -> ColumnTransformer:
        parts = [(f"part_{i}_of_many", StandardScaler(), [i]) for i in range(60)]
        return ColumnTransformer([*parts[:30], ("middle", PCA(width), [99]), *parts[30:]])

    assert repr(columns(2)) == repr(columns(3))
    assert signature(preprocess=columns(2)) != signature(preprocess=columns(3))
    assert signature(preprocess=columns(2)) == signature(preprocess=columns(2))
    assert signature(preprocess=make_pipeline(PCA(2))) != signature(
        preprocess=make_pipeline(PCA(3))
    )


def test_a_spec_is_described_in_text_without_addresses():
    described = spec(
        build_model=partial(build_model), sampler=lambda seed: seed, **in_space(activation="relu")
    ).described()
    assert all(isinstance(value, str) for value in described.values())
    assert "0x" not in " ".join(described.values())
    assert described["engine"] == "auto"
    assert described["space.activation"] == "relu"
    assert "FloatDistribution" in described["space.learning_rate"]
    assert spec().described()["build_model"] == "build_model"


def test_what_may_change_while_a_study_goes_on_are_fields_of_it():
    assert set(UNSIGNED) <= {field.name for field in dataclasses.fields(StudySpec)}
