"""The referee: whole searches inside the folds of a cross-validation.

What a search claims for its answer was also what the answer was chosen by. Here each of K outer
folds is kept from a whole search (trials, rule, refit), which is then scored on it, once: the mean
is what *searching like this* is worth on new rows (Varma & Simon 2006; Cawley & Talbot 2010).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import decision, training, wording
from pipeline.curves import contributions, mean_over_folds
from pipeline.errors import BadInput, PipelineError, require
from pipeline.folds import Folds, default_splitter, split
from pipeline.objective import Objective
from pipeline.question import Question, pose, pose_on
from pipeline.results import StudyResult
from pipeline.space import is_whole
from pipeline.spec import StudySpec
from pipeline.uncertainty import Interval, score_interval


@dataclass(frozen=True)
class OuterFold:
    """What one inner search answered, claimed, and was worth.

    inner_score: the monitored metric that it claimed, the mean of its own folds
    outer_score: the same metric of its refit on the outer fold's rows, which it never saw
    n_rows: that it searched on and refitted on; n_outer_rows: that it was scored on
    open_end: why more epochs may have been better; "" when they were not
    """

    learning_rate: float
    n_epochs: int
    inner_score: float
    outer_score: float
    n_rows: int
    n_outer_rows: int
    open_end: str
    decision_path: Path

    @classmethod
    def of(cls, result: StudyResult, n_outer_rows: int) -> OuterFold:
        """Return what an inner search came to."""
        assert result.refit is not None  # `check` refuses a study without
        return cls(
            learning_rate=float(result.best.params["learning_rate"]),
            n_epochs=result.choice.n_epochs,
            inner_score=result.choice.score,
            outer_score=result.refit.test_metrics[result.spec.objective.training_metric],
            n_rows=result.refit.n_rows,
            n_outer_rows=n_outer_rows,
            open_end=result.open_end,
            decision_path=result.decision_path,
        )


@dataclass(frozen=True)
class NestedResult:
    """What searching like this is worth.

    study: its name and signature
    validation_to_training: outer validation rows over the rows of an inner search, on average
    path: where it is written
    """

    study: str
    objective: Objective
    folds: tuple[OuterFold, ...]
    validation_to_training: float
    path: Path

    def __post_init__(self) -> None:
        require(len(self.folds) >= 2, "folds", "at least 2 outer folds", len(self.folds))

    @property
    def score(self) -> float:
        """The mean over outer folds, or over their rows, as the objective says."""
        return self._mean([fold.outer_score for fold in self.folds])

    @property
    def score_interval(self) -> Interval | None:
        """For the expected score; None where a score is not finite."""
        return self._interval([fold.outer_score for fold in self.folds])

    @property
    def claimed(self) -> float:
        """The mean of what the inner searches claimed."""
        return self._mean([fold.inner_score for fold in self.folds])

    @property
    def optimism(self) -> float:
        """How much too good the claims were on average, in the metric's unit; below 0: too bad.

        The refit has more rows than each inner fold had, so this also holds what more rows gain.
        """
        return self._mean(self._optimisms)

    @property
    def optimism_interval(self) -> Interval | None:
        """For the expected optimism; None where a score is not finite."""
        return self._interval(self._optimisms)

    @property
    def determined(self) -> bool:
        """Whether no inner search was left with an open end."""
        return not any(fold.open_end for fold in self.folds)

    @property
    def _optimisms(self) -> np.ndarray:
        differences = [fold.outer_score - fold.inner_score for fold in self.folds]
        return self.objective.as_loss(np.array(differences))

    @property
    def _weights(self) -> np.ndarray | None:
        return self.objective.weights([fold.n_outer_rows for fold in self.folds])

    def _mean(self, values: Sequence[float] | np.ndarray) -> float:
        return float(mean_over_folds(np.array(values), self._weights))

    def _interval(self, values: Sequence[float] | np.ndarray) -> Interval | None:
        if not np.isfinite(values).all():
            return None
        parts = contributions(np.array(values)[:, None], self._weights)[:, 0]
        return score_interval(parts, validation_to_training=self.validation_to_training)

    def as_plain(self) -> dict[str, Any]:
        """Return everything as values that JSON knows, but for NaN and infinity."""
        intervals = {"score": self.score_interval, "optimism": self.optimism_interval}
        return {
            "study": self.study,
            "metric": self.objective.metric,
            "direction": self.objective.direction,
            "n_outer_folds": len(self.folds),
            "determined": self.determined,
            "score": self.score,
            "claimed": self.claimed,
            "optimism": self.optimism,
            "intervals": {k: v and dataclasses.asdict(v) for k, v in intervals.items()},
            "folds": [dataclasses.asdict(fold) for fold in self.folds],
        }


def referee(
    spec: StudySpec,
    n_folds: int,
    search_on: Callable[[Question], StudyResult],
    *,
    say: Callable[[str], None] = lambda line: None,
) -> NestedResult:
    """Search inside each of `n_folds` outer folds of the development rows, and write the result.

    The study's own test rows stay aside, untouched. An inner search is a study as any other, so one
    that was interrupted continues and one that is finished trains nothing.

    search_on: runs or continues a search
    Raises BadInput before anything is trained, and whatever a search raises, naming its fold.
    """
    check(spec, n_folds)
    question = pose(spec, measures=True, say=say)
    outer = outer_folds(question, n_folds)
    inner = inner_questions(question, outer)
    found = []
    for number, each in enumerate(inner, start=1):
        with _naming(number, n_folds):
            say(f"outer fold {number} of {n_folds}: study {each.name}: {each.rows}")
            assert each.test is not None
            found.append(OuterFold.of(search_on(each), each.test.n_rows))
    result = NestedResult(
        study=question.name,
        objective=spec.objective,
        folds=tuple(found),
        validation_to_training=outer.validation_to_training,
        path=question.folder / "nested.json",
    )
    result.path.parent.mkdir(parents=True, exist_ok=True)
    decision.write(result.path, result.as_plain())
    return result


def check(spec: StudySpec, n_folds: Any) -> None:
    """Raise BadInput for what is wrong before any data is loaded."""
    is_count = is_whole(n_folds) and n_folds >= 2
    require(is_count, "nested", "a whole number of outer folds ≥ 2", n_folds)
    if not spec.refit.enabled:
        raise BadInput(
            "nested scores the refit of each inner search, and refit.enabled is False; "
            "set it to True"
        )


def outer_folds(question: Question, n_folds: int) -> Folds:
    """Split the development rows: shuffled, stratified for classes, of whole groups if any.

    Raises BadInput for a fixed validation set, rows whose order the study's splitter keeps, and
    too few rows, groups or members of a class.
    """
    rows = question.development
    if rows.validation_rows is not None:
        raise BadInput(
            "nested draws its own folds, and load_data() returns a fixed validation set; "
            "return all rows as (x, y)"
        )
    if question.folds.is_in_order:
        raise BadInput(
            "nested draws shuffled outer folds, and the study's splitter validates on rows that "
            f"come after those it trains on, got {question.spec.splitter!r}: test_size and "
            "rows kept out of load_data() are what is left"
        )
    try:
        return split(rows, default_splitter(rows, n_folds), question.spec.seed)
    except BadInput as error:
        raise BadInput(f"nested={n_folds}, the outer folds: {error}") from error


def inner_questions(question: Question, outer: Folds) -> Sequence[Question]:
    """Return the same study on each outer fold's training rows, to be scored on its others.

    They have one name, so that MLflow keeps them in one experiment, and signatures of their own.
    Raises BadInput when one cannot be searched on.
    """
    spec = dataclasses.replace(
        question.spec, name=f"{question.spec.name}-nested", registry=None, keep_checkpoints=0
    )
    rows, questions = question.development, []
    for number, fold in enumerate(outer, start=1):
        with _naming(number, len(outer)):
            development, test = rows.take(fold.train), rows.take(fold.validation)
            both = hashlib.sha256((development.fingerprint + test.fingerprint).encode())
            inner = pose_on(spec, development, test, data_fingerprint=both.hexdigest())
            training.check_model(spec, development, inner.folds[0])
            training.check_scorers(spec, development, inner.folds, test)
            questions.append(inner)
    return questions


def in_words(result: NestedResult) -> str:
    """Return the result in a few lines for a person."""
    metric, direction = result.objective.metric, result.objective.direction
    better = "lower" if direction == "minimize" else "higher"
    sizes = sorted({fold.n_rows for fold in result.folds})
    size = f"{sizes[0]}–{sizes[-1]}" if len(sizes) > 1 else f"{sizes[0]}"
    lines = [
        f"Searching like this is worth {metric} {result.score:.4g} on new rows"
        f"{_between(result.score_interval)}; {better} is better.",
        "",
        f"  {'outer fold':<12}{'learning rate':>13}{'epochs':>8}{'claimed':>12}{'on new rows':>13}",
    ]
    lines += [
        f"  {number:<12}{fold.learning_rate:>13.3g}{fold.n_epochs:>8}{fold.inner_score:>12.4g}"
        f"{fold.outer_score:>13.4g}" + ("  UNDETERMINED" if fold.open_end else "")
        for number, fold in enumerate(result.folds, start=1)
    ]
    lines += [
        f"  {'mean':<33}{result.claimed:>12.4g}{result.score:>13.4g}",
        "",
        f"  {'optimism':<23}{result.optimism:.2g}{_between(result.optimism_interval)}: "
        + _verdict(result),
        f"  {'all this about':<23}searching and refitting on {size} rows, and not about one answer",
        f"  {'written to':<23}{wording.short(result.path)}",
    ]
    return "\n".join(lines)


def _verdict(result: NestedResult) -> str:
    interval = result.optimism_interval
    if interval is not None and 0 in interval:
        return "cannot be told from none"
    return f"the claims were too {'good' if result.optimism > 0 else 'bad'}"


def _between(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f" ({interval.confidence:.0%} interval {interval.low:.4g} to {interval.high:.4g})"


@contextmanager
def _naming(number: int, n_folds: int) -> Iterator[None]:
    """Say in an error which outer fold it is about."""
    try:
        yield
    except PipelineError as error:
        raise type(error)(f"outer fold {number} of {n_folds}: {error}") from error
