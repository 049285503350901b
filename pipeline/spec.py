"""`StudySpec`: what a study file declares, validated when it is built; and its signature."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from pipeline.budget import Budget
from pipeline.choice import BestOfMean, Rule
from pipeline.early_stopping import EarlyStopping
from pipeline.errors import BadInput, require, unknown_name
from pipeline.fields import (
    check_class_weight,
    check_plugs,
    check_python_in_training,
    check_scorers,
    check_test_size,
    own_functions,
    preprocess_functions,
    require_count,
    require_function,
    require_one_of,
)
from pipeline.folds import ClassWeight
from pipeline.objective import Objective
from pipeline.pausing import check_strategy, may_pause
from pipeline.refit_length import Refit
from pipeline.registry import Registry
from pipeline.schedules import counts_updates, declared, functions_in, n_epochs_given
from pipeline.signature import canonical, shown
from pipeline.space import applying, check_space, is_whole, largest, values
from pipeline.strategy import Ladder, Strategy
from pipeline.study_file import Source, source_of

MAX_EXTENSION = 3
"""Times its horizon that the best trial is trained at most, or the longest horizon of the space."""

SCHEDULE = "schedule"
"""The parameter that names one of several schedules."""

UNSIGNED = (
    "budget", "rule", "refit", "registry", "keep_checkpoints", "sampler", "pruner", "strategy",
    "device_memory_mb",
)  # fmt: skip
"""Fields that may change while a study goes on: they make no other one of it."""

_SIGNED_APART = (
    "load_data", "build_model", "name", "space", "splitter", "test_size", "dtype_policy",
    "deterministic",
)  # fmt: skip
"""Fields that are signed by what they give, or in a way of their own."""

_LATER = (
    "range_test", "scorers", "validation_batch_size", "operation_threads", "callbacks", "augment",
)  # fmt: skip
"""Fields that came later: at their defaults, a study is the one that it was without them."""

Params = dict[str, Any]
EngineMode = Literal["auto", "plain", "xla", "stream"]
DtypePolicy = Literal["float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True, kw_only=True, eq=False)
class StudySpec:
    """One question: which learning rate, and for how many epochs, should this model be trained?

    load_data: () -> (x, y), ((x, y), (x_validation, y_validation)) or pipeline.data.Dataset
    build_model: params -> compiled Keras model; the search drives its optimizer's learning rate
    space: name -> Optuna distribution, or a fixed value, or either of them `When` another parameter
        has a value; `learning_rate` and `max_epochs` must be in it, `batch_size` may be
    name: of the study; the study file's name by default
    objective: the monitored metric, on validation rows, its direction, and what its mean is over
    scorers: metrics that need all of a fold's predictions: name -> scikit-learn scorer, or its
        name; a list of such names will do. Logged as `val_<name>` after each epoch
    splitter: any scikit-learn splitter; None is five shuffled folds, stratified for classes and of
        whole groups if the data has them. A fixed validation set comes from load_data instead
    preprocess: a scikit-learn transformer, or a function that returns a layer of Keras, fitted or
        adapted on each fold's training rows only; for several inputs a dict of them by name
    class_weight: {class: weight} or "balanced"; weights the training loss
    augment: (x, y, seed) -> (x, y), called with each batch of training rows, and never with others
    callbacks: () -> a new list of Keras callbacks, made for each fold of each training
    batch_size: rows per update, unless the space samples it
    validation_batch_size: rows that are validated at once; None is as many as in an update
    schedule: learning rate by epoch: a schedule of `pipeline`, a function of the 0-based epoch, or
        a `keras.optimizers.schedules` object; None is the optimizer's own schedule, or constant. A
        dict of name -> schedule makes the name a parameter, `schedule`, of the space
    range_test: sweep the learning rate before the first trial, and search the range that this
        proposes in place of the space's
    early_stopping: stop a trial on its mean curve; None trains to max_epochs
    choose_within_schedule: let a schedule that is laid out for its horizon be cut at an earlier
        epoch. By default such a trial counts at its last epoch, and is not stopped early: its
        annealed end is what its horizon was chosen for
    sampler: seed -> Optuna sampler; None is TPE
    pruner: an Optuna pruner; None is the median with a warm-up of a ninth of the horizon
    strategy: which trial is trained next, and how far: a `Ladder` or `FinishBest`, whose trials
        pause and are not pruned; None trains each until it ends or is pruned; "auto" is a Ladder
        where it suits the study, see `pausing`
    rule: which epoch to choose from the best trial's curves
    registry: register the refit model, and when it becomes the champion; None does not
    keep_checkpoints: of how many of the best trials, or "all", the fold models are kept in MLflow,
        each at its best epoch; the winner's alone are always kept, as files of the study's run
    test_size: rows set aside from the search and scored once: a share (float) or a count (int);
        of groups, where the data has them; the last rows where the splitter is a TimeSeriesSplit
    engine: "auto" finds out once per study whether the model runs in compiled epochs and whether
        XLA pays; "plain" and "xla" decide; "stream" trains step by step, as Keras's `fit` does
    threads: folds that train at once, on the processor; None is one per core
    operation_threads: of one of TensorFlow's operations; None is found out, or as many as `threads`
    device_memory_mb: params -> megabytes that a trial needs of a device's memory, rows included; a
        worker whose device has less leaves it to one that has more
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
    scorers: Mapping[str, Any] = field(default_factory=dict)
    splitter: Any = None
    preprocess: Any = None
    class_weight: ClassWeight | None = None
    augment: Callable[[Any, Any, np.ndarray], tuple[Any, Any]] | None = None
    callbacks: Callable[[], list[Any]] | None = None
    batch_size: int = 32
    validation_batch_size: int | None = None
    schedule: Any = None
    range_test: bool = False
    early_stopping: EarlyStopping | None = None
    choose_within_schedule: bool = False
    sampler: Callable[[int], Any] | None = None
    pruner: Any = None
    strategy: Strategy | Literal["auto"] | None = "auto"
    rule: Rule = field(default_factory=BestOfMean)
    budget: Budget = field(default_factory=Budget)
    refit: Refit = field(default_factory=Refit)
    registry: Registry | None = None
    keep_checkpoints: int | Literal["all"] = 0
    test_size: float | int = 0
    seed: int = 0
    engine: EngineMode = "auto"
    threads: int | None = None
    operation_threads: int | None = None
    device_memory_mb: Callable[[Params], float] | None = None
    dtype_policy: DtypePolicy | None = None
    deterministic: bool = True

    def __post_init__(self) -> None:
        require_function("load_data", self.load_data, "() -> data")
        require_function("build_model", self.build_model, "params -> compiled Keras model", {})
        check_space(self.space)
        space = {k: v.item() if isinstance(v, np.generic) else v for k, v in self.space.items()}
        object.__setattr__(self, "space", space)
        _check_types(self)
        check_plugs(self)
        scorers: dict[str, Any] = check_scorers(self.scorers)
        object.__setattr__(self, "scorers", scorers)
        object.__setattr__(self, "objective", self.objective.directed(scorers))
        self._declare_schedule()
        check_strategy(self.strategy, self.pruner, self.schedule)
        require_count("batch_size", self.batch_size)
        for name in ("choose_within_schedule", "range_test", "deterministic"):
            value = getattr(self, name)
            require(isinstance(value, bool), name, "True or False", value)
        rate = self.space["learning_rate"]
        if self.range_test and not isinstance(rate, FloatDistribution):
            raise BadInput(
                "range_test=True must have a FloatDistribution for the learning rate, whose ends "
                f"it replaces, got {rate!r}"
            )
        for name in ("threads", "operation_threads", "validation_batch_size"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        is_seed = is_whole(self.seed) and 0 <= self.seed < 2**32
        require(is_seed, "seed", "a whole number in 0..4294967295", self.seed)
        require_one_of("engine", self.engine, get_args(EngineMode))
        check_python_in_training(self.python_in_training, self.engine)
        require_one_of("dtype_policy", self.dtype_policy, (None, *get_args(DtypePolicy)))
        if self.registry is not None and not self.refit.enabled:
            raise BadInput("registry must have a refit model to register, got refit.enabled=False")
        if self.registry is not None and self.registry.on == "test" and not self.test_size:
            raise BadInput("registry.on='test' must have test rows, got test_size=0")
        keeps = self.keep_checkpoints
        is_number_of = keeps == "all" or (is_whole(keeps) and keeps >= 0)
        require(is_number_of, "keep_checkpoints", "a whole number ≥ 0, or 'all'", keeps)
        check_class_weight(self.class_weight)
        check_test_size(self.test_size)
        if isinstance(self.name, str) and not self.name:
            object.__setattr__(self, "name", source_of(self.build_model).name)
        is_name = isinstance(self.name, str) and re.fullmatch(r"\w[\w.-]*", self.name)
        require(
            is_name, "name", "letters, digits, '_', '-' and '.', beginning with a letter", self.name
        )

    def _declare_schedule(self) -> None:
        """Wrap the schedule's functions; several schedules are a dimension of the space."""
        schedule = declared(self.schedule)
        object.__setattr__(self, "schedule", schedule)
        if not isinstance(schedule, Mapping):
            return
        names = list(schedule)
        default = CategoricalDistribution(names) if len(names) > 1 else names[0]
        space = {**self.space, SCHEDULE: self.space.get(SCHEDULE, default)}
        for name in values(space[SCHEDULE]):
            if name not in names:
                raise unknown_name(f"schedule in space[{SCHEDULE!r}]", str(name), names)
        object.__setattr__(self, "space", space)

    def schedule_of(self, params: Mapping[str, Any]) -> Any:
        """Return the schedule of a trial; None is the optimizer's own, or constant."""
        by_name = isinstance(self.schedule, Mapping)
        return self.schedule[params[SCHEDULE]] if by_name else self.schedule

    @property
    def python_in_training(self) -> str:
        """Which fields call Python functions between two updates, in words; "" where none does."""
        return " and ".join(n for n in ("callbacks", "augment") if getattr(self, n) is not None)

    @property
    def rate_parameters(self) -> tuple[str, ...]:
        """The parameters of the learning rates: trials that differ in no other share a program."""
        names = ("learning_rate", "max_epochs")
        return (*names, SCHEDULE) if isinstance(self.schedule, Mapping) else names

    @property
    def sampled(self) -> dict[str, BaseDistribution]:
        """The parameters that the sampler proposes for every trial."""
        return self.sampled_with({})

    def sampled_with(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Return what the sampler proposes for a trial that has these parameters already."""
        space = applying(self.space, {**self.fixed, **params})
        return {k: v for k, v in space.items() if isinstance(v, BaseDistribution)}

    @property
    def varied(self) -> dict[str, BaseDistribution]:
        """The parameters that the sampler proposes for some trial."""
        space = applying(self.space, None)
        return {k: v for k, v in space.items() if isinstance(v, BaseDistribution)}

    @property
    def fixed(self) -> Params:
        """The parameters with one value in every trial, `batch_size` among them if it has one."""
        space = applying(self.space, {})
        fixed = {k: v for k, v in space.items() if not isinstance(v, BaseDistribution)}
        return fixed if "batch_size" in self.space else {**fixed, "batch_size": self.batch_size}

    def params_of(self, sampled: Mapping[str, Any]) -> Params:
        """Return every parameter of a trial, fixed ones included."""
        params = {**self.fixed, **sampled}
        space = applying(self.space, params)
        return {k: v for k, v in space.items() if not isinstance(v, BaseDistribution)} | params

    @property
    def pausing(self) -> Strategy | None:
        """The strategy by which trials pause; None where each trains until it ends or is pruned.

        "auto" is a Ladder where all trials have one horizon, so that all stand alike on a rung,
        and neither a pruner, nor callbacks, nor the schedule speaks against it.
        """
        if self.strategy != "auto":
            return self.strategy
        horizons = self.varied.get("max_epochs")
        has_one = horizons is None or horizons.single()
        is_plain = self.pruner is None and self.callbacks is None and may_pause(self.schedule)
        return Ladder() if has_one and is_plain else None

    @property
    def longest_horizon(self) -> int:
        """The largest max_epochs that the space allows."""
        return int(largest(self.space["max_epochs"]))

    def n_epochs_given(self, params: Mapping[str, Any], most: int) -> int:
        """Return for how many epochs, up to `most`, a horizon-free schedule has learning rates."""
        return n_epochs_given(self.schedule_of(params), params["learning_rate"], most)

    def schedule_is_over(self, params: Mapping[str, Any], n_epochs: int) -> bool:
        """Whether a trial's schedule has no learning rate after so many epochs.

        One that is laid out for its horizon always has: what comes after it is another question.
        """
        schedule = self.schedule_of(params)
        is_free = schedule is not None and not counts_updates(schedule) and schedule.horizon_free
        return is_free and self.n_epochs_given(params, n_epochs + 1) == n_epochs

    @property
    def source(self) -> Source:
        """Where the loader, the builder and the functions among the other fields come from."""
        functions = [
            *functions_in(self.schedule),
            *preprocess_functions(self.preprocess),
            *own_functions(self.scorers),
            *(each for each in (self.callbacks, self.augment) if each is not None),
        ]
        return source_of(self.build_model, self.load_data, *functions)

    def signature(self, *, data_fingerprint: str, splits_hash: str) -> str:
        """Return what makes this the same study, as 12 hexadecimal digits.

        Space, splits, data, the source of the loader, the builder and the local modules they
        import, and every field that is not `UNSIGNED`.
        """
        apart = (*UNSIGNED, *_SIGNED_APART, *_LATER)
        parts = {
            "name": self.name,
            "space": {k: canonical(v) for k, v in sorted(self.space.items())},
            "data": data_fingerprint,
            "splits": splits_hash,
            "source": self.source.hash,
            **{k: canonical(v) for k, v in vars(self).items() if k not in apart},
        }
        for name in _LATER:
            if (value := getattr(self, name)) not in (None, False, {}):
                parts[name] = canonical(value)
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
        return {k: v if isinstance(v, str) else shown(v) for k, v in fields.items()}


_TYPES: tuple[tuple[str, Any, str], ...] = (
    ("objective", Objective, "an Objective such as Objective('val_accuracy', 'maximize')"),
    ("budget", Budget, "a Budget such as Budget(n_trials=30)"),
    ("refit", Refit, "a Refit such as Refit(enabled=False)"),
    ("early_stopping", EarlyStopping | None, "None or an EarlyStopping(patience=…)"),
    ("registry", Registry | None, "None or a Registry()"),
)


def _check_types(spec: StudySpec) -> None:
    for name, kind, must_be in _TYPES:
        require(isinstance(getattr(spec, name), kind), name, must_be, getattr(spec, name))
