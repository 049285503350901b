"""`StudySpec`: what a study file declares, validated when it is built; and its signature."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
)

from pipeline.choice import BestOfMean, PatientBest, Rule
from pipeline.curves import FoldCurves
from pipeline.errors import BadInput, require
from pipeline.folds import ClassWeight
from pipeline.objective import Objective
from pipeline.schedules import Constant, Schedule
from pipeline.space import check_space, is_number, is_whole, largest
from pipeline.study_file import source_of, without_addresses

Params = dict[str, Any]
EngineMode = Literal["auto", "plain", "xla", "stream"]
RefitPolicy = Literal["epochs", "updates", "scaled"]
DtypePolicy = Literal["float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True)
class Budget:
    """When the search ends, whichever comes first; enough is kept back for the answer.

    n_trials: trials in all, over every session of the same study
    timeout_secs: of this session; checked between epochs
    max_fold_epochs, max_updates: trained in all, over every session, summed over folds
    max_failures_in_a_row: failed trials in a row that end the study with an error
    """

    n_trials: int = 30
    timeout_secs: float | None = None
    max_fold_epochs: int | None = None
    max_updates: int | None = None
    max_failures_in_a_row: int = 10

    def __post_init__(self) -> None:
        _require_count("budget.n_trials", self.n_trials)
        _require_count("budget.max_failures_in_a_row", self.max_failures_in_a_row)
        for name in ("max_fold_epochs", "max_updates"):
            if getattr(self, name) is not None:
                _require_count(f"budget.{name}", getattr(self, name))
        if self.timeout_secs is not None:
            is_positive = is_number(self.timeout_secs) and self.timeout_secs > 0
            require(is_positive, "budget.timeout_secs", "a number > 0, or None", self.timeout_secs)


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
        is_margin = is_number(self.min_delta) and self.min_delta >= 0
        require(is_margin, "early_stopping.min_delta", "a number ≥ 0", self.min_delta)

    def should_stop(self, curves: FoldCurves) -> bool:
        """Say whether the mean has gone without improvement for `patience` epochs."""
        _, stopped = PatientBest(self.patience, self.min_delta).best_and_stop(curves)
        return stopped is not None


@dataclass(frozen=True)
class Refit:
    """The final training on all development rows, which are more than a fold trained on.

    policy: what is kept of the choice: "epochs", the same count, so more updates; "updates", the
        same number of updates, so about (K−1)/K of the epochs; "scaled", K/(K−1) times the epochs,
        as more rows bear longer training
    n_seeds: models trained, each from other initial weights and row orders; what is served is the
        mean of their predictions
    keep_folds: serve the fold models at the chosen epoch too, as the mean of their predictions
    """

    enabled: bool = True
    policy: RefitPolicy = "epochs"
    n_seeds: int = 1
    keep_folds: bool = False

    def __post_init__(self) -> None:
        for name in ("enabled", "keep_folds"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"refit.{name}", "True or False", value)
        policies = get_args(RefitPolicy)
        allowed = ", ".join(map(repr, policies))
        require(self.policy in policies, "refit.policy", f"one of {allowed}", self.policy)
        _require_count("refit.n_seeds", self.n_seeds)


@dataclass(frozen=True, kw_only=True, eq=False)
class StudySpec:
    """One question: which learning rate, and for how many epochs, should this model be trained?

    load_data: () -> (x, y), ((x, y), (x_validation, y_validation)) or pipeline.data.Dataset
    build_model: params -> compiled Keras model; the search drives its optimizer's learning rate
    space: name -> Optuna distribution, or a fixed value; `learning_rate` and `max_epochs` must be
        in it, `batch_size` may be
    name: of the study; the study file's name by default
    objective: the monitored metric, on validation rows, and its direction
    splitter: any scikit-learn splitter; None is five shuffled folds, stratified for classes and of
        whole groups if the data has them. A fixed validation set comes from load_data instead
    preprocess: a scikit-learn transformer, fitted on each fold's training rows only
    class_weight: {class: weight} or "balanced"; weights the training loss
    batch_size: rows per update, unless the space samples it
    schedule: learning rate by epoch; None is the optimizer's own schedule, or constant
    early_stopping: stop a trial on its mean curve; None trains to max_epochs
    choose_within_schedule: let a schedule that is laid out for its horizon be cut at an earlier
        epoch. By default such a trial counts at its last epoch, and is not stopped early: its
        annealed end is what its horizon was chosen for
    sampler: seed -> Optuna sampler; None is TPE
    pruner: an Optuna pruner; None is the median with a warm-up of a ninth of the horizon
    rule: which epoch to choose from the best trial's curves
    test_size: rows set aside from the search and scored once: a share (float) or a count (int);
        of groups, where the data has them
    engine: "auto" finds out once per study whether the model runs in compiled epochs and whether
        XLA pays; "plain" and "xla" decide; "stream" trains step by step, as Keras's `fit` does
    threads: of TensorFlow's operations; None is one per core
    dtype_policy: "mixed_float16", "mixed_bfloat16" or "float32": Keras's policy for every layer
        that build_model makes without one of its own; None is what Keras is set to
    deterministic: on GPUs, the same bits again, by TensorFlow's deterministic operations, which
        are slower, and missing for some; on the processor it changes nothing
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
    choose_within_schedule: bool = False
    sampler: Callable[[int], Any] | None = None
    pruner: Any = None
    rule: Rule = field(default_factory=BestOfMean)
    budget: Budget = field(default_factory=Budget)
    refit: Refit = field(default_factory=Refit)
    test_size: float | int = 0
    seed: int = 0
    engine: EngineMode = "auto"
    threads: int | None = None
    dtype_policy: DtypePolicy | None = None
    deterministic: bool = True

    def __post_init__(self) -> None:
        _require_function("load_data", self.load_data, "() -> data")
        _require_function("build_model", self.build_model, "params -> compiled Keras model", {})
        check_space(self.space)
        space = {k: v.item() if isinstance(v, np.generic) else v for k, v in self.space.items()}
        object.__setattr__(self, "space", space)
        _check_types(self)
        _require_count("batch_size", self.batch_size)
        for name in ("choose_within_schedule", "deterministic"):
            value = getattr(self, name)
            require(isinstance(value, bool), name, "True or False", value)
        if self.threads is not None:
            _require_count("threads", self.threads)
        is_seed = is_whole(self.seed) and 0 <= self.seed < 2**32
        require(is_seed, "seed", "a whole number in 0..4294967295", self.seed)
        engines = ", ".join(map(repr, get_args(EngineMode)))
        require(self.engine in get_args(EngineMode), "engine", f"one of {engines}", self.engine)
        policies = (None, *get_args(DtypePolicy))
        allowed = f"one of {', '.join(map(repr, policies))}"
        require(self.dtype_policy in policies, "dtype_policy", allowed, self.dtype_policy)
        _check_class_weight(self.class_weight)
        _check_test_size(self.test_size)
        if self.name == "":
            object.__setattr__(self, "name", source_of(self.build_model).name)
        is_name = isinstance(self.name, str) and re.fullmatch(r"\w[\w.-]*", self.name)
        require(
            is_name, "name", "letters, digits, '_', '-' and '.', beginning with a letter", self.name
        )

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
                    "early_stopping", "choose_within_schedule", "seed", "engine", "threads",
                )
            },
        }  # fmt: skip
        # Fields that came later: at their defaults, a study is the one that it was without them.
        if self.dtype_policy is not None:
            parts["dtype_policy"] = self.dtype_policy
        if not self.deterministic:
            parts["deterministic"] = "False"
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    def described(self) -> dict[str, str]:
        """Return every field as text, for the record of a run."""
        fields = {k: v for k, v in vars(self).items() if k not in ("space", "load_data")}
        fields["build_model"] = getattr(self.build_model, "__qualname__", self.build_model)
        fields |= {f"space.{k}": v for k, v in self.space.items()}
        return {k: v if isinstance(v, str) else _shown(v) for k, v in fields.items()}


_TYPES: tuple[tuple[str, Any, str], ...] = (
    ("objective", Objective, "an Objective such as Objective('val_accuracy', 'maximize')"),
    ("budget", Budget, "a Budget such as Budget(n_trials=30)"),
    ("refit", Refit, "a Refit such as Refit(enabled=False)"),
    ("early_stopping", EarlyStopping | None, "None or an EarlyStopping(patience=…)"),
)

# What each plug point needs: field, attributes, what it must be, an example.
_PLUGS = (
    ("splitter", "split", "have scikit-learn's split(X, y, groups)", "KFold(5, shuffle=True)"),
    ("preprocess", "fit transform", "be a scikit-learn transformer", "StandardScaler()"),
    (
        "schedule",
        "learning_rates horizon_free",
        "have learning_rates(initial, epochs, horizon) and horizon_free",
        repr(Constant()),
    ),
    ("pruner", "prune", "be an Optuna pruner", "optuna.pruners.MedianPruner()"),
    ("rule", "choose name", "have choose(curves, horizon) and a name", repr(BestOfMean())),
)


def _check_types(spec: StudySpec) -> None:
    for name, kind, must_be in _TYPES:
        require(isinstance(getattr(spec, name), kind), name, must_be, getattr(spec, name))
    for name, attributes, must, example in _PLUGS:
        value = getattr(spec, name)
        if value is None and name != "rule":
            continue
        # A class has the same attributes as what it makes.
        if isinstance(value, type) or not all(hasattr(value, each) for each in attributes.split()):
            raise BadInput(f"{name} must {must}, got {value!r}; for example {example}")
    if spec.sampler is not None:
        example = "seed -> Optuna sampler, such as lambda seed: RandomSampler(seed)"
        _require_function("sampler", spec.sampler, example, 0)


def _check_class_weight(class_weight: Any) -> None:
    is_dict = isinstance(class_weight, Mapping) and all(
        is_number(weight) and weight >= 0 for weight in class_weight.values()
    )
    is_word = isinstance(class_weight, str) and class_weight == "balanced"
    allowed = "'balanced', a dict of class -> weight ≥ 0, or None"
    require(is_dict or is_word or class_weight is None, "class_weight", allowed, class_weight)


def _check_test_size(test_size: Any) -> None:
    is_share = isinstance(test_size, float) and 0 <= test_size < 1
    is_count = is_whole(test_size) and test_size >= 0
    require(is_share or is_count, "test_size", "a share in 0..1 or a count ≥ 0", test_size)


def _require_count(name: str, value: Any) -> None:
    require(is_whole(value) and value >= 1, name, "a whole number ≥ 1", value)


def _require_function(name: str, value: Any, kind: str, *arguments: Any) -> None:
    """Refuse what cannot be called with these arguments, before anything is loaded or trained."""
    require(callable(value), name, f"a function {kind}", value)
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError as error:
        raise BadInput(f"{name} must be a function {kind}, got {value!r}: {error}") from error
    except ValueError:  # written in C, without a signature
        return


def _shown(value: Any) -> str:
    is_dimension = isinstance(value, BaseDistribution)
    return distribution_to_json(value) if is_dimension else without_addresses(repr(value))


def _canonical(value: Any) -> str:
    """Return a text that is equal for equal values in every process, and different for others."""
    match value:
        case Mapping():
            items = sorted(f"{_canonical(k)}: {_canonical(v)}" for k, v in value.items())
            return f"{{{', '.join(items)}}}"
        case list() | tuple():
            return f"[{', '.join(_canonical(each) for each in value)}]"
        case np.ndarray() | np.generic():
            return _canonical(value.tolist())
        case _ if hasattr(value, "get_params"):
            # The repr of a scikit-learn estimator leaves out the middle of a long one.
            return f"{type(value).__qualname__}({_canonical(value.get_params(deep=False))})"
    return _shown(value)
