"""Between which learning rates should a study search? --range-test, and `range_test=True`.

The learning rate rises from nearly nothing until the loss explodes, within one pass over the
training rows of all folds (Smith 2017, "Cyclical learning rates for training neural networks",
section 3.3): it is worth searching from where the loss begins to fall to where it is lowest, just
before it turns.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution

from pipeline import plots, training
from pipeline.curves import centred_average
from pipeline.errors import unexpected_errors
from pipeline.files import json_text, write_whole
from pipeline.question import Question

LOW, HIGH = 1e-6, 10.0
"""Between which the learning rate is swept: 14 points a decade."""

WINDOW = 7
"""Points, half a decade, over which the loss is averaged, centred: it must not lag."""

BEGUN = 0.1
"""Share of the whole fall after which the loss counts as falling."""

NOISES = 2.0
"""Times the scatter around the average that the fall must come to."""


@dataclass(frozen=True)
class Bounds:
    """Where to search: from where the loss begins to fall to where it is lowest.

    steepest: where it falls fastest against the logarithm of the learning rate
    """

    low: float
    high: float
    steepest: float


@dataclass(frozen=True, eq=False)
class RangeTest:
    """A sweep, its average, what it proposes (None where the loss does not fall), its picture."""

    sweep: training.Sweep
    smoothed: np.ndarray
    bounds: Bounds | None
    picture: Path

    @property
    def in_words(self) -> str:
        """What is proposed, in a sentence."""
        if self.bounds is None:
            return (
                f"the loss does not fall between learning rates {LOW:g} and {HIGH:g}: no range is "
                "proposed"
            )
        low, high, steepest = self.bounds.low, self.bounds.high, self.bounds.steepest
        return (
            f"search learning rates from {low:g}, where the loss begins to fall, to {high:g}, "
            f"where it is lowest before it turns; it falls fastest at {steepest:g}"
        )

    def as_plain(self) -> dict[str, Any]:
        """Return everything as values that JSON knows."""
        return {
            "bounds": None if self.bounds is None else asdict(self.bounds),
            "learning_rates": self.sweep.learning_rates.tolist(),
            "losses": self.sweep.losses.tolist(),
            "smoothed": self.smoothed.tolist(),
            "n_updates": self.sweep.n_updates,
            "picture": str(self.picture),
        }


def measured(
    question: Question,
    *,
    go_on: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> RangeTest:
    """Sweep the learning rate for parameters from the middle of the space; draw it, write it down.

    Raises BadInput when the model cannot be built.
    """
    spec, folder = question.spec, question.folder
    params = training.typical_params(spec)
    with unexpected_errors("the range test could not be trained"):
        sweep = training.swept(
            spec, question.development, question.folds, params,
            low=LOW, high=HIGH, go_on=go_on, say=say,
        )  # fmt: skip
    smoothed = centred_average(sweep.losses, WINDOW)
    bounds = bounds_of(sweep.learning_rates, sweep.losses)
    folder.mkdir(parents=True, exist_ok=True)
    found = RangeTest(sweep, smoothed, bounds, folder / "range_test.png")
    plots.plot_range(
        sweep.learning_rates, sweep.losses, smoothed, found.picture,
        name=spec.name, words=found.in_words,
        bounds=None if bounds is None else (bounds.low, bounds.high),
    )  # fmt: skip
    write_whole(folder / "range_test.json", f"{json_text(found.as_plain(), indent=2)}\n".encode())
    return found


def bounds_of(learning_rates: np.ndarray, losses: np.ndarray) -> Bounds | None:
    """Return the range to search, in two digits; None where the loss does not fall.

    learning_rates: ascending, [n_points]; losses: mean training loss there
    """
    if len(losses) < WINDOW:
        return None
    smoothed = centred_average(losses, WINDOW)
    lowest = int(np.argmin(smoothed))
    fall = smoothed[0] - smoothed[lowest]
    noise = float(np.std(losses[: lowest + 1] - smoothed[: lowest + 1]))
    if lowest < 2 or fall <= NOISES * noise:
        return None
    begun = int(np.flatnonzero(smoothed[:lowest] >= smoothed[0] - BEGUN * fall)[-1])
    slopes = np.diff(smoothed[begun : lowest + 1])
    steepest = begun + int(np.argmin(slopes))
    low, high, at = (float(f"{learning_rates[i]:.2g}") for i in (begun, lowest, steepest))
    return Bounds(low, high, at)


RECORD = "range_test"
"""Under which a study keeps the range that it began with."""


def begin(
    study: Any,
    question: Question,
    *,
    go_on: Callable[[], None],
    say: Callable[[str], None],
) -> Question:
    """Let a new study that asks for it find its learning rates first; the caller holds its lock."""
    if question.spec.range_test and RECORD not in study.user_attrs:
        say("the learning rate is swept, to find the range to search …")
        found = measured(question, go_on=go_on, say=say)
        say(f"range test: {found.in_words} ({found.picture.name})")
        study.set_user_attr(RECORD, None if found.bounds is None else asdict(found.bounds))
    return as_begun(study, question)


def as_begun(study: Any, question: Question) -> Question:
    """Return the question with the learning rates that its study began with."""
    record = study.user_attrs.get(RECORD) if question.spec.range_test else None
    if record is None:
        return question
    rate = FloatDistribution(record["low"], record["high"], log=True)
    spec = replace(question.spec, space={**question.spec.space, "learning_rate": rate})
    return replace(question, spec=spec)


def page(found: RangeTest) -> str:
    """Return the answer for a terminal."""
    lines = [f"{found.in_words[0].upper()}{found.in_words[1:]}.", ""]
    if found.bounds is not None:
        low, high = found.bounds.low, found.bounds.high
        lines.append(f'  "learning_rate": FloatDistribution({low:g}, {high:g}, log=True),')
    shown = np.linspace(0, len(found.smoothed) - 1, min(len(found.smoothed), 15)).astype(int)
    lines += [
        "", "  learning rate    mean training loss",
        *(f"  {found.sweep.learning_rates[i]:>13.2g}    {found.smoothed[i]:.4g}" for i in shown),
        "", f"  {found.picture}",
    ]  # fmt: skip
    return "\n".join(lines)


def facts(found: RangeTest) -> dict[str, Any]:
    """Return what the command's JSON object says of it."""
    return {"range_test": json.loads(json_text(found.as_plain()))}
