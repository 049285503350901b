"""Last night's answer and tonight's, and what lies between them: python -m pipeline.report A B.

Only what the two searches wrote down is read: the study file, the code and the data may be others
by now, and nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline import wording
from pipeline.answers import Answer
from pipeline.errors import BadInput
from pipeline.review.times import duration
from pipeline.uncertainty import (
    Interval,
    difference_interval,
    independent_difference_interval,
)

UNKNOWN = "not recorded"
"""Of what an earlier version of this program did not write down."""

ALWAYS = ("answer", "data", "cost")
"""Groups of which every row is shown; of the others, those that changed."""

WIDTH = 44
"""Of a terminal's column: a study's name and the time of its answer."""


@dataclass(frozen=True)
class Row:
    """One thing that was written down both times, in words."""

    group: str
    label: str
    before: str
    now: str

    @property
    def changed(self) -> bool:
        """Whether it is known to be another."""
        return self.before != self.now and UNKNOWN not in (self.before, self.now)


@dataclass(frozen=True)
class Difference:
    """How much better the score became.

    gain: in the metric's unit, more than 0 is better
    interval: of the gain; None where one fold cannot say
    how: what the interval rests on
    """

    gain: float
    interval: Interval | None
    how: str

    @property
    def verdict(self) -> str:
        """The gain in words, and whether it can be told from none."""
        text = f"{'better' if self.gain >= 0 else 'worse'} by {abs(self.gain):.3g}"
        if self.interval is None:
            return f"{text}; whether that is more than chance cannot be told: {self.how}"
        told = "can" if 0 not in self.interval else "cannot"
        low, high = f"{self.interval.low:.3g}", f"{self.interval.high:.3g}"
        return (
            f"{text}, which {told} be told from no change: "
            f"{self.interval.confidence:.0%} interval of the gain {low} to {high}, {self.how}"
        )


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two answers to the same kind of question. Raises BadInput where they cannot be compared."""

    before: Answer
    now: Answer

    def __post_init__(self) -> None:
        if self.before.folder == self.now.folder:
            raise BadInput(f"two answers must be compared, got {self.now.name} twice")
        if self.before.objective != self.now.objective:
            kinds = [
                f"{each.objective.metric} ({each.objective.direction}) of {each.name}"
                for each in (self.before, self.now)
            ]
            raise BadInput(
                "answers must be of one metric and direction to be compared, got "
                f"{' and '.join(kinds)}"
            )

    @property
    def metric(self) -> str:
        """What both monitored."""
        return self.now.objective.metric

    @property
    def difference(self) -> Difference:
        """How much better the score became, and how far that can be told."""
        # Whose score is less the other's, so that more than 0 is better.
        pair = (self.before, self.now)
        first, second = pair if self.now.objective.direction == "minimize" else pair[::-1]
        gain = first.values["score"] - second.values["score"]
        intervals = [each.values["evidence"]["score"] for each in (first, second)]
        if None in intervals:
            return Difference(gain, None, "one fold has no scatter")
        if why := self._why_unpaired():
            interval = independent_difference_interval(*(Interval(**each) for each in intervals))
            how = f"from the intervals of both, as if they were independent: {why}"
            return Difference(gain, interval, how)
        rows = self.now.values["rows"]
        paired = difference_interval(
            *(_at_choice(each) for each in (first, second)),
            validation_to_training=rows["validation_to_training"],
            n_repeats=rows["n_repeats"],
        )
        return Difference(gain, paired, "paired by fold: the same rows, split alike")

    def rows(self) -> list[Row]:
        """Return all that was written down, group by group."""
        return [
            Row(group, label, before.get(label, _absent(before)), now.get(label, _absent(now)))
            for group, read in GROUPS.items()
            for before, now in [(dict(read(self.before)), dict(read(self.now)))]
            for label in dict.fromkeys([*before, *now])
        ]

    def shown(self) -> list[Row]:
        """Return the rows that a person is shown."""
        return [row for row in self.rows() if row.changed or row.group in ALWAYS]

    def as_plain(self) -> dict[str, Any]:
        """Return this as values that JSON knows."""
        found = self.difference
        return {
            "before": str(self.before.folder),
            "now": str(self.now.folder),
            "difference": {**asdict(found), "verdict": found.verdict},
            "rows": [{**asdict(row), "changed": row.changed} for row in self.rows()],
        }

    def _why_unpaired(self) -> str:
        """Return why the folds' scores are no pairs; "" when they are."""
        before, now = self.before.values, self.now.values
        if before["data_fingerprint"] != now["data_fingerprint"]:
            return "the data are others"
        if before["splits_hash"] != now["splits_hash"]:
            return "the rows were split otherwise"
        if "rows" not in now:
            return f"{self.now.name} is of an earlier version, which did not note its rows"
        gone = [each.name for each in (self.before, self.now) if each.curves is None]
        return f"the curves of {' and '.join(gone)} are gone" if gone else ""


def in_words(comparison: Comparison) -> str:
    """Return the comparison for a terminal."""
    before, now = comparison.before, comparison.now
    rows = comparison.shown()
    head = Row("", "", f"{before.name}, {before.decided:%F %R}", f"{now.name}, {now.decided:%F %R}")
    label_width = max(len(row.label) for row in rows)
    lines, group = [f"{headline(comparison)}", ""], ""
    for row in [head, *rows]:
        if row.group != group:
            group = row.group
            lines.append(f"{group}:")
        mark = "≠" if row.changed and row.group else " "
        # What is longer than its column has its counterpart below it.
        below = "\n" + " " * (label_width + WIDTH + 4) if len(row.before) > WIDTH else ""
        lines.append(
            f"  {row.label:<{label_width}}  {row.before:<{WIDTH}}{below}  {mark} {row.now}"
        )
    return "\n".join(line.rstrip() for line in lines)


def headline(comparison: Comparison) -> str:
    """Return the two answers and the verdict in a sentence or two."""
    before, now = (_advice(each) for each in (comparison.before, comparison.now))
    stays = f"Still {now}" if before == now else f"From {before} to {now}"
    return f"{stays}: {comparison.metric} {comparison.difference.verdict}."


def _advice(answer: Answer) -> str:
    rate, n_epochs = answer.values["learning_rate"], answer.values["n_epochs"]
    return f"learning rate {rate:.3g} for {n_epochs} epochs"


def _at_choice(answer: Answer) -> Any:
    """Return what the folds contribute to the score at the chosen epoch, [n_folds]."""
    assert answer.curves is not None  # else they are no pairs
    return answer.curves.contributions_after(answer.values["n_epochs"])


def _absent(group: Mapping[str, str]) -> str:
    """Return what stands for a row that only the other answer has: there was none, or who knows."""
    return UNKNOWN if UNKNOWN in group.values() else "–"


def _answer_of(answer: Answer) -> Iterator[tuple[str, str]]:
    values = answer.values
    yield "learning rate", f"{values['learning_rate']:.3g}"
    yield "epochs", str(values["n_epochs"])
    score = wording.with_error(values["score"], values["standard_error"])
    yield answer.objective.metric, score
    interval = values["evidence"]["score"]
    yield "interval", wording.in_words(Interval(**interval)) if interval else "–"
    yield "rule", values["rule"]
    for name, value in values["params"].items():
        if name != "learning_rate":
            yield name, str(value)
    yield "trial", str(values["trial"])
    yield "determined", "yes" if values["determined"] else f"no: {values['open_end']}"
    for name, score in ((values["refit"] or {}).get("test_metrics") or {}).items():
        yield f"test {name}", "–" if score is None else f"{score:.4g}"


def _data_of(answer: Answer) -> Iterator[tuple[str, str]]:
    values = answer.values
    yield "fingerprint", values["data_fingerprint"][:12]
    yield "splits", values["splits_hash"][:12]
    yield "folds", str(values["n_folds"])
    rows = values.get("rows", {})
    yield "rows", str(rows.get("development", UNKNOWN))
    yield "test rows", str(rows.get("test", UNKNOWN))


def _study_of(answer: Answer) -> Iterator[tuple[str, str]]:
    yield "signature", answer.values["signature"]
    yield "code", answer.values.get("source", UNKNOWN)[:12]
    yield from answer.values.get("fields", {}).items()


def _made_with(answer: Answer) -> Iterator[tuple[str, str]]:
    values = answer.values
    yield "engine", values["engine"]["mode"]
    for name, value in values.items():
        if name.startswith(("git.", "version.", "host.")):
            yield name.removeprefix("version."), str(value)


def _costs_of(answer: Answer) -> Iterator[tuple[str, str]]:
    values = answer.values
    trials = {outcome: n for outcome, n in values["trials"].items() if n}
    ended = ", ".join(f"{n} {outcome}" for outcome, n in trials.items())
    yield "trials", f"{sum(trials.values())} ({ended})"
    yield "fold-epochs", f"{values['fold_epochs']:,}"
    yield "training", duration(values["seconds"])
    wall = values.get("wall_seconds")
    yield "on the clock", UNKNOWN if wall is None else duration(wall)


GROUPS: Mapping[str, Callable[[Answer], Iterator[tuple[str, str]]]] = {
    "answer": _answer_of,
    "data": _data_of,
    "study": _study_of,
    "made with": _made_with,
    "cost": _costs_of,
}
"""What is read of an answer, in the order of reading."""
