"""Checks of a study's fields that need nothing but the value."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.errors import BadInput, require, unknown_name
from pipeline.space import is_number, is_whole


def require_one_of(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise BadInput unless the value is one of these."""
    choices = list(choices)
    require(value in choices, name, f"one of {', '.join(map(repr, choices))}", value)


# What each plug point needs: field, attributes, what it must be, an example.
_PLUGS = (
    ("splitter", "split", "have scikit-learn's split(X, y, groups)", "KFold(5, shuffle=True)"),
    ("pruner", "prune", "be an Optuna pruner", "optuna.pruners.MedianPruner()"),
    ("rule", "choose name", "have choose(curves, horizon) and a name", "BestOfMean()"),
)


def check_plugs(spec: Any) -> None:
    """Raise BadInput unless each of a StudySpec's plug points can do what is asked of it."""
    for name, attributes, must, example in _PLUGS:
        value = getattr(spec, name)
        if value is None and name != "rule":
            continue
        # A class has the same attributes as what it makes.
        if isinstance(value, type) or not all(hasattr(value, each) for each in attributes.split()):
            raise BadInput(f"{name} must {must}, got {value!r}; for example {example}")
    if spec.preprocess is not None:
        check_preprocess(spec.preprocess)
    if spec.sampler is not None:
        example = "seed -> Optuna sampler, such as lambda seed: RandomSampler(seed)"
        require_function("sampler", spec.sampler, example, 0)
    if spec.device_memory_mb is not None:
        require_function("device_memory_mb", spec.device_memory_mb, "params -> megabytes", {})
    if spec.callbacks is not None:
        require_function("callbacks", spec.callbacks, "() -> list of new Keras callbacks")
    if is_layer(spec.augment):
        raise BadInput(
            f"augment must be a function (x, y, seed) -> (x, y), got the layer {spec.augment!r}: "
            "put it into the model, where it works in training alone, and in compiled epochs"
        )
    if spec.augment is not None:
        require_function("augment", spec.augment, "(x, y, seed) -> (x, y)", 0, 0, 0)


def check_python_in_training(fields: str, engine: Any) -> None:
    """Raise BadInput where these fields are called in training, and epochs are to be compiled."""
    if fields and engine in ("plain", "xla"):
        raise BadInput(
            f"engine must be 'auto' or 'stream' with {fields}, which no compiled epoch can call, "
            f"got {engine!r}"
        )


def check_class_weight(class_weight: Any) -> None:
    """Raise BadInput unless this is what StudySpec.class_weight may be."""
    is_dict = isinstance(class_weight, Mapping) and all(
        is_number(weight) and weight >= 0 for weight in class_weight.values()
    )
    is_word = isinstance(class_weight, str) and class_weight == "balanced"
    allowed = "'balanced', a dict of class -> weight ≥ 0, or None"
    require(is_dict or is_word or class_weight is None, "class_weight", allowed, class_weight)


def check_scorers(scorers: Any) -> dict[str, Any]:
    """Return scorers by name; raise BadInput unless they are what StudySpec.scorers may be."""
    if isinstance(scorers, Mapping):
        named = dict(scorers)
    elif isinstance(scorers, list | tuple) and all(isinstance(name, str) for name in scorers):
        named = {name: name for name in scorers}
    else:
        example = "names of scikit-learn's scorers, or a dict of name -> scorer"
        raise BadInput(f"scorers must be {example}, got {scorers!r}")
    if not named:
        return named
    from sklearn.metrics import get_scorer, get_scorer_names

    kind = type(get_scorer("accuracy"))
    for name, scorer in named.items():
        is_name = isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name)
        require(is_name, "scorers", "named by letters, digits and '_'", name)
        if isinstance(scorer, str) and scorer not in get_scorer_names():
            raise unknown_name(f"scorer in scorers[{name!r}]", scorer, get_scorer_names())
        require(
            isinstance(scorer, str | kind), f"scorers[{name!r}]",
            "a scikit-learn scorer's name, or what sklearn.metrics.make_scorer returns", scorer,
        )  # fmt: skip
    return named


def own_functions(scorers: Mapping[str, Any]) -> list[Callable[..., Any]]:
    """Return the functions that a study's scorers were made of, but for scikit-learn's."""
    made_of = [getattr(scorer, "_score_func", None) for scorer in scorers.values()]
    return [f for f in made_of if f and not (f.__module__ or "").startswith("sklearn.")]


def check_test_size(test_size: Any) -> None:
    """Raise BadInput unless this is what StudySpec.test_size may be."""
    is_share = isinstance(test_size, float) and 0 <= test_size < 1
    is_count = is_whole(test_size) and test_size >= 0
    require(is_share or is_count, "test_size", "a share in 0..1 or a count ≥ 0", test_size)


def require_count(name: str, value: Any) -> None:
    """Raise BadInput unless this is a count."""
    require(is_whole(value) and value >= 1, name, "a whole number ≥ 1", value)


def require_function(name: str, value: Any, kind: str, *arguments: Any) -> None:
    """Refuse what cannot be called with these arguments, before anything is loaded or trained."""
    require(callable(value), name, f"a function {kind}", value)
    try:
        inspect.signature(value).bind(*arguments)
    except TypeError as error:
        raise BadInput(f"{name} must be a function {kind}, got {value!r}: {error}") from error
    except ValueError:  # written in C, without a signature
        return


def is_layer(value: Any) -> bool:
    """Whether this is one of Keras's layers, told without Keras."""
    return hasattr(value, "compute_output_spec") and not isinstance(value, type)


def is_function(preprocess: Any) -> bool:
    """Whether this is a function that makes what preprocesses, and not that itself."""
    is_made = is_layer(preprocess) or hasattr(preprocess, "transform")
    return callable(preprocess) and not is_made and not isinstance(preprocess, type)


def preprocess_functions(preprocess: Any) -> list[Callable[[], Any]]:
    """Return the user's own functions in what StudySpec.preprocess is."""
    each = preprocess.values() if isinstance(preprocess, Mapping) else [preprocess]
    return [one for one in each if is_function(one)]


def check_preprocess(preprocess: Any) -> None:
    """Raise BadInput unless this is what StudySpec.preprocess may be."""
    for each in preprocess.values() if isinstance(preprocess, Mapping) else [preprocess]:
        if is_function(each):
            require_function("preprocess", each, "() -> layer")
        elif is_layer(each):
            _refuse_a_vocabulary(each)
        # A class has the same attributes as what it makes.
        elif isinstance(each, type) or not (hasattr(each, "fit") and hasattr(each, "transform")):
            raise BadInput(
                "preprocess must be a scikit-learn transformer, or a function that returns a layer "
                f"of Keras, got {each!r}; for example StandardScaler()"
            )


def _refuse_a_vocabulary(layer: Any) -> None:
    """Refuse layers that start TensorFlow, before its threads are set, where a study is read."""
    for each in (layer, *getattr(layer, "layers", ())):
        if hasattr(each, "get_vocabulary"):
            name = type(each).__name__
            raise BadInput(
                f"preprocess must be a function that returns the {name}, since making one starts "
                f"TensorFlow, got the layer; for example lambda: {name}(max_tokens=…)"
            )
