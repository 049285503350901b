"""`StudySpec`: what a study file declares, validated when it is built; and its signature."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from pipeline.choice import BestOfMean, Rule
from pipeline.errors import BadInput
from pipeline.folds import ClassWeight
from pipeline.objective import Objective
from pipeline.schedules import Constant, Schedule
from pipeline.study_file import source_of

Params = dict[str, Any]
EngineMode = Literal["auto", "plain", "xla"]


@dataclass(frozen=True)
class Budget:
    """When the search ends, whichever comes first.

    n_trials: trials in all, over every session of the same study
    timeout_secs: of this session; checked between epochs
    max_failures_in_a_row: failed trials in a row that end the study with an error
    """

    n_trials: int = 30
    timeout_secs: float | None = None
    max_failures_in_a_row: int = 10

    def __post_init__(self) -> None:
        _require_count("budget.n_trials", self.n_trials)
        _require_count("budget.max_failures_in_a_row", self.max_failures_in_a_row)
        if self.timeout_secs is not None and not self.timeout_secs > 0:
            raise BadInput(f"budget.timeout_secs must be > 0, got {self.timeout_secs}")


@dataclass(frozen=True)
class EarlyStopping:
    """Stop a trial when its mean has not improved by more than `min_delta` for `patience` epochs.

    It acts on the mean over folds (Prechelt 1998, criterion UP on the mean curve), so all folds
    stop together.
    """

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        _require_count("early_stopping.patience", self.patience)
        if self.min_delta < 0:
            raise BadInput(f"early_stopping.min_delta must be ≥ 0, got {self.min_delta}")


@dataclass(frozen=True)
class Refit:
    """The final training on all development rows, for the chosen number of epochs."""

    enabled: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class StudySpec:
    """One question: which learning rate, and for how many epochs, should this model be trained?

    load_data: () -> (x, y), ((x, y), (x_validation, y_validation)) or pipeline.data.Dataset
    build_model: params -> compiled Keras model; the search drives its optimizer's learning rate
    space: name -> Optuna distribution, or a fixed value; `learning_rate` and `max_epochs` must be
        in it, `batch_size` may be
    name: of the study; the study file's name by default
    objective: the monitored metric, on validation rows, and its direction
    splitter: any scikit-learn splitter; None is five shuffled folds, stratified for classes. A
        fixed validation set comes from load_data instead
    preprocess: a scikit-learn transformer, fitted on each fold's training rows only
    class_weight: {class: weight} or "balanced"; weights the training loss
    batch_size: rows per update, unless the space samples it
    schedule: learning rate by epoch; None is the optimizer's own schedule, or constant
    early_stopping: stop a trial on its mean curve; None trains to max_epochs
    sampler: seed -> Optuna sampler; None is TPE
    pruner: an Optuna pruner; None is the median with a warm-up of a ninth of the horizon
    rule: which epoch to choose from the best trial's curves
    test_size: rows set aside from the search and scored once: a share (float) or a count (int)
    engine: "auto" measures once per study whether XLA pays; "plain" and "xla" decide
    threads: of TensorFlow's operations; None is one per core
    """

    load_data: Callable[[], Any]
    build_model: Callable[[Params], Any]
    space: Mapping[str, BaseDistribution | Any]
    name: str = ""
    objective: Objective = field(default_factory=Objective)
    splitter: Any = None
    preprocess: Any = None
    class_weight: ClassWeight | None = None
    batch_size: int = 32
    schedule: Schedule | None = None
    early_stopping: EarlyStopping | None = None
    sampler: Callable[[int], Any] | None = None
    pruner: Any = None
    rule: Rule = field(default_factory=BestOfMean)
    budget: Budget = field(default_factory=Budget)
    refit: Refit = field(default_factory=Refit)
    test_size: float | int = 0
    seed: int = 0
    engine: EngineMode = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("load_data", "build_model"):
            if not callable(getattr(self, name)):
                raise BadInput(f"{name} must be a function, got {getattr(self, name)!r}")
        _check_space(self.space)
        _check_types(self)
        _require_count("batch_size", self.batch_size)
        if self.threads is not None:
            _require_count("threads", self.threads)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise BadInput(f"seed must be an integer ≥ 0, got {self.seed!r}")
        if self.engine not in ("auto", "plain", "xla"):
            raise BadInput(f"engine must be 'auto', 'plain' or 'xla', got {self.engine!r}")
        if isinstance(self.class_weight, str) and self.class_weight != "balanced":
            raise BadInput(f"class_weight must be a dict or 'balanced', got {self.class_weight!r}")
        _check_test_size(self.test_size)
        if not self.name:
            object.__setattr__(self, "name", source_of(self.build_model).name)
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise BadInput(f"name must be letters, digits, '_', '-' or '.', got {self.name!r}")

    @property
    def sampled(self) -> dict[str, BaseDistribution]:
        """The parameters that the sampler proposes."""
        return {k: v for k, v in self.space.items() if isinstance(v, BaseDistribution)}

    @property
    def fixed(self) -> Params:
        """The parameters with one value, `batch_size` among them unless it is sampled."""
        fixed = {k: v for k, v in self.space.items() if not isinstance(v, BaseDistribution)}
        return fixed if "batch_size" in self.space else {**fixed, "batch_size": self.batch_size}

    @property
    def longest_horizon(self) -> int:
        """The largest max_epochs that the space allows."""
        return int(largest(self.space["max_epochs"]))

    def signature(self, *, data_fingerprint: str, splits_hash: str) -> str:
        """Return what makes this the same study, as 12 hexadecimal digits.

        Space, splits, objective, seed, engine mode, data, the source of the loader, the builder
        and the local modules they import, and what shapes training. Not the budget, the rule, the
        refit, the sampler and the pruner: changing those continues the study.
        """
        parts = {
            "name": self.name,
            "space": {k: _canonical(v) for k, v in sorted(self.space.items())},
            "data": data_fingerprint,
            "splits": splits_hash,
            "source": source_of(self.build_model, self.load_data).hash,
            **{
                name: _canonical(getattr(self, name))
                for name in (
                    "objective", "preprocess", "class_weight", "batch_size", "schedule",
                    "early_stopping", "seed", "engine", "threads",
                )
            },
        }  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def described(self) -> dict[str, str]:
        """Return every field as text, for the record of a run."""
        fields = {k: v for k, v in vars(self).items() if k not in ("space", "load_data")}
        fields["build_model"] = self.build_model.__qualname__
        return {
            **{k: _canonical(v) for k, v in fields.items()},
            **{f"space.{k}": _canonical(v) for k, v in self.space.items()},
        }


def largest(dimension: BaseDistribution | Any) -> Any:
    """Return the largest value of a dimension of the space."""
    match dimension:
        case IntDistribution() | FloatDistribution():
            return dimension.high
        case CategoricalDistribution():
            choices: tuple[Any, ...] = dimension.choices
            return max(choices)
        case _:
            return dimension


def smallest(dimension: BaseDistribution | Any) -> Any:
    """Return the smallest value of a dimension of the space."""
    match dimension:
        case IntDistribution() | FloatDistribution():
            return dimension.low
        case CategoricalDistribution():
            choices: tuple[Any, ...] = dimension.choices
            return min(choices)
        case _:
            return dimension


def _check_space(space: Any) -> None:
    if not isinstance(space, Mapping):
        raise BadInput(
            f"space must be a dict of name -> Optuna distribution or fixed value, got {space!r}"
        )
    for name in ("learning_rate", "max_epochs"):
        if name not in space:
            raise BadInput(
                f"space must have {name!r}, got {sorted(space)}; for example "
                "{'learning_rate': FloatDistribution(1e-4, 1e-1, log=True), "
                "'max_epochs': IntDistribution(10, 100)}"
            )
    for name, dimension in space.items():
        if isinstance(dimension, BaseDistribution | bool | int | float | str | None):
            continue
        raise BadInput(
            f"space[{name!r}] must be an Optuna distribution (optuna.distributions) or a fixed "
            f"number or text, got {dimension!r}"
        )
    _check_positive(space, "learning_rate", whole=False)
    for name in ("max_epochs", "batch_size"):
        if name in space:
            _check_positive(space, name, whole=True)


def _check_positive(space: Mapping[str, Any], name: str, *, whole: bool) -> None:
    dimension = space[name]
    kind = "whole numbers ≥ 1" if whole else "numbers > 0"
    values = getattr(dimension, "choices", (smallest(dimension), largest(dimension)))
    for value in values:
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not is_number or value <= 0:
            raise BadInput(f"space[{name!r}] must be {kind}, got {dimension!r}")


def _check_types(spec: StudySpec) -> None:
    for name, kind in (
        ("objective", Objective),
        ("budget", Budget),
        ("refit", Refit),
        ("early_stopping", EarlyStopping | None),
    ):
        if not isinstance(getattr(spec, name), kind):
            expected = getattr(kind, "__name__", str(kind))
            raise BadInput(f"{name} must be {expected}, got {getattr(spec, name)!r}")
    schedule = spec.schedule
    if schedule is not None and not hasattr(schedule, "learning_rates"):
        raise BadInput(
            f"schedule must have learning_rates(initial, epochs, horizon), got {schedule!r}; "
            f"for example {Constant()!r}"
        )
    if not hasattr(spec.rule, "choose"):
        raise BadInput(f"rule must have choose(curves, horizon), got {spec.rule!r}")
    if spec.sampler is not None and not callable(spec.sampler):
        raise BadInput(
            f"sampler must be a function seed -> Optuna sampler, got {spec.sampler!r}; for example "
            "lambda seed: optuna.samplers.RandomSampler(seed)"
        )
    if spec.pruner is not None and not hasattr(spec.pruner, "prune"):
        raise BadInput(f"pruner must be an Optuna pruner (optuna.pruners), got {spec.pruner!r}")
    if spec.preprocess is not None and not hasattr(spec.preprocess, "transform"):
        raise BadInput(f"preprocess must be a scikit-learn transformer, got {spec.preprocess!r}")


def _check_test_size(test_size: Any) -> None:
    is_count = isinstance(test_size, int) and not isinstance(test_size, bool) and test_size >= 0
    is_share = isinstance(test_size, float) and 0 <= test_size < 1
    if not (is_count or is_share):
        raise BadInput(f"test_size must be a share in 0..1 or a count ≥ 0, got {test_size!r}")


def _require_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{name} must be a whole number ≥ 1, got {value!r}")


def _canonical(value: Any) -> str:
    """Return a text that is equal for equal values in every process."""
    if isinstance(value, BaseDistribution):
        return distribution_to_json(value)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
