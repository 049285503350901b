"""scikit-learn's scorers on what a Keras model predicts.

A scorer asks an estimator for classes, probabilities or decision values. Here it asks the model's
outputs, which are there already: `_Classifier` and `_Regressor` hold them, and answer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if

from pipeline.errors import BadInput
from pipeline.nest import Nest, described, is_several

Kind = Literal["classes", "labels", "numbers"]


@dataclass(frozen=True)
class Meaning:
    """What a model's outputs are.

    kind: "classes", of which each row has one; "labels", each of which a row has or not; "numbers".
        One column of classes or labels is about the second of two classes
    scale: of classes and labels: probabilities; logits, from which the loss takes them; or margins,
        as of a hinge loss
    because: how that is known, in words
    """

    kind: Kind
    scale: Literal["probability", "logit", "margin"]
    because: str


@dataclass(frozen=True, eq=False)
class Truth:
    """Rows' labels and weights as scorers take them.

    y: [n_rows]; [n_rows, n_columns] of labels, and of several numbers
    classes: the numbers of the classes, [n_classes]; of labels such an array for each; None of
        numbers
    weight: [n_rows], or None
    """

    y: np.ndarray
    classes: Any
    weight: np.ndarray | None

    @classmethod
    def of(cls, y: Nest, weight: Nest | None, meaning: Meaning, row_shape: tuple) -> Truth:
        """Return labels and weights, as they were loaded, in the form that scorers take.

        row_shape: of one row of the model's outputs
        Raises BadInput for what no scorer takes.
        """
        if is_several(y):
            raise BadInput(f"scorers must have a model of one output, got y as {described(y)}")
        shape = tuple(n for n in row_shape if n != 1)
        if len(shape) > 1:
            raise BadInput(f"scorers must have outputs [n] or [n, columns], got [n, *{row_shape}]")
        y = _columns(y)
        if meaning.kind == "numbers":
            return cls(y, None, weight)
        if (y != np.rint(y)).any():
            raise BadInput("scorers must have y in whole numbers where outputs are classes")
        y = y.astype(np.int64)
        if not shape:
            return cls(y, np.array([-1, 1] if (y == -1).any() else [0, 1]), weight)
        if meaning.kind == "labels":
            return cls(y, [np.arange(2)] * shape[0], weight)
        if y.ndim > 1 and (y.sum(axis=1) != 1).any():
            raise BadInput("scorers must have one class a row in y that is one column a class")
        return cls(y if y.ndim == 1 else y.argmax(axis=1), np.arange(shape[0]), weight)

    def guesses(self, row_shape: tuple) -> list[np.ndarray]:
        """Return outputs, as probabilities, that are right; that are wrong; equal for all rows."""
        right = self.y.astype(np.float64)
        if self.classes is not None and right.ndim == 1:
            each = (right[:, None] == self.classes).astype(np.float64)
            right = each if row_shape[-1:] == (len(self.classes),) else each[:, 1]
        equal = np.broadcast_to(right.mean(axis=0), right.shape)
        return [right, np.roll(right, 1, axis=0), equal]


class Scoring:
    """A study's scorers, for the outputs of one model.

    scorers: by name, what scikit-learn's `check_scoring` takes
    say: where a line goes when a scorer raises
    """

    def __init__(
        self,
        scorers: Mapping[str, Any],
        meaning: Meaning,
        *,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.names = tuple(scorers)
        self.meaning = meaning
        self._say = say
        self._said: set[str] = set()
        self._scorers = {
            name: check_scoring(scoring={name: scorer}) for name, scorer in scorers.items()
        }

    def truth(self, y: Nest, weight: Nest | None, row_shape: tuple) -> Truth:
        """Return rows' labels and weights for `scores`; see `Truth.of`."""
        return Truth.of(y, weight, self.meaning, row_shape)

    def scores(self, predictions: np.ndarray, truth: Truth) -> np.ndarray:
        """Return each scorer's value, [n_scorers], of outputs [n_rows, …] for rows of this truth.

        NaN where an output is not finite, or the scorer raises: that is said once.
        """
        if not np.isfinite(predictions).all():
            return np.full(len(self.names), np.nan)
        estimator = _estimator(_columns(predictions), truth, self.meaning)
        values = []
        for name in self.names:
            value, error = self._score(name, estimator, truth)
            if error and name not in self._said:
                self._said.add(name)
                self._say(f"scorer {name!r} has no value where it raises {error}")
            values.append(value)
        return np.array(values)

    def check(self, truth: Truth, row_shape: tuple, where: str) -> None:
        """Raise BadInput where a scorer has no value on these rows, whatever is predicted.

        where: the rows, in words
        """
        meaning = replace(self.meaning, scale="probability")
        if self.meaning.scale == "margin":
            meaning = self.meaning
        for name in self.names:
            found = []
            for guess in truth.guesses(row_shape):
                value, error = self._score(name, _estimator(guess, truth, meaning), truth)
                found.append(error or f"{value:g}")
                if np.isfinite(value):
                    break
            else:
                raise BadInput(
                    f"scorer {name!r} must have a value on {where}{_labels_of(truth)}, got "
                    f"{found[0]}; outputs are taken for {self.meaning.kind}, as "
                    f"{self.meaning.because}"
                )

    def _score(self, name: str, estimator: Any, truth: Truth) -> tuple[float, str]:
        """Return a scorer's value, and the error that it raised, if it did."""
        weights = {} if truth.weight is None else {"sample_weight": truth.weight}
        with warnings.catch_warnings():
            # They are about what is undefined, or missing, in these rows: the value says it.
            warnings.simplefilter("ignore")
            try:
                scores = self._scorers[name](estimator, None, truth.y, **weights)
                return float(scores[name]), ""
            except Exception as error:  # it may be anybody's
                return np.nan, f"{type(error).__name__}: {error}"


def _labels_of(truth: Truth) -> str:
    """Return which classes there are, in words."""
    if truth.classes is None or truth.y.ndim > 1:
        return ""
    return f", which are of class {', '.join(map(str, np.unique(truth.y)))}"


def _columns(values: np.ndarray) -> np.ndarray:
    """Return [n] for one value a row, and values as they are otherwise."""
    return values.reshape(len(values)) if values[0].size == 1 else values


def _estimator(columns: np.ndarray, truth: Truth, meaning: Meaning) -> Any:
    if truth.classes is None:
        return _Regressor(columns)
    return _Classifier(columns, truth.classes, meaning.scale)


class _Regressor(RegressorMixin, BaseEstimator):
    """Answers what was predicted."""

    def __init__(self, columns: np.ndarray) -> None:
        self.columns = columns

    def predict(self, _: Any) -> np.ndarray:
        return self.columns


def _has(*scales: str) -> Callable[[_Classifier], bool]:
    return lambda self: self.scale in scales


class _Classifier(ClassifierMixin, BaseEstimator):
    """Answers what was predicted, as classes, probabilities or decision values.

    columns: [n], or [n, n_classes], or [n, n_labels]
    Decision values of probabilities are left out: a scorer that would take either takes these.
    """

    def __init__(self, columns: np.ndarray, classes: Any, scale: str) -> None:
        self.columns = columns
        self.classes = classes
        self.scale = scale

    @property
    def classes_(self) -> Any:
        return self.classes

    def predict(self, _: Any) -> np.ndarray:
        # Where Keras's own accuracies draw the line.
        holds = self.columns > (0.5 if self.scale == "probability" else 0.0)
        if isinstance(self.classes, list):
            return holds.astype(np.int64)
        chosen = self.columns.argmax(axis=1) if self.columns.ndim > 1 else holds.astype(np.int64)
        return self.classes[chosen]

    @available_if(_has("probability", "logit"))
    def predict_proba(self, _: Any) -> np.ndarray:
        values = self.columns
        if self.scale == "logit":
            is_one_of = values.ndim > 1 and not isinstance(self.classes, list)
            values = softmax(values, axis=1) if is_one_of else expit(values)
        return np.stack([1 - values, values], axis=1) if values.ndim == 1 else values

    @available_if(_has("logit", "margin"))
    def decision_function(self, _: Any) -> np.ndarray:
        values = self.columns
        if values.ndim > 1 and not isinstance(self.classes, list) and len(self.classes) == 2:
            return values[:, 1] - values[:, 0]
        return values
