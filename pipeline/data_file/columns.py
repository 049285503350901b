"""What each column of a table is, and what becomes of it: each a decision that is told.

Numbers and booleans are imputed and standardised, categories become one column a level; constant
columns and identifiers are left out; dates and mixtures are refused, with advice. Free text is read
where it is all that there is, and refused beside other columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import BadInput

MAX_LEVELS = 100
"""Of a category: each is a column."""

FREE_TEXT_WORDS = 4
"""On average, in a column of many values."""

MOSTLY = 0.8
"""The share of a column's values that says what it is meant to hold."""

MISSING = "(missing)"
"""The level of a category's missing values."""

HOLDS_DATES = "holds dates"

HOLDS_TEXT = "holds free text"

TEXT_ADVICE = (
    "a column of texts is learned from by itself, with the others dropped, or in a study file, by "
    "preprocess=lambda: keras.layers.TextVectorization(…)"
)

_DATE = re.compile(
    r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ].*)?\s*"
)


@dataclass(frozen=True)
class Columns:
    """The columns that a model is trained on.

    numbers: names, booleans among them
    gaps: those of them with missing values
    levels: name → levels of each category, sorted, MISSING last where values are missing
    decisions: what was decided, in sentences
    text: the name of the column of texts, "" if none; it has no others beside it
    """

    numbers: tuple[str, ...]
    gaps: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    decisions: tuple[str, ...]
    text: str = ""

    @property
    def n_inputs(self) -> int:
        """Columns after preprocessing: the same in every fold."""
        return len(self.numbers) + len(self.gaps) + sum(map(len, self.levels.values()))


@dataclass(frozen=True)
class Found:
    """What one column was found to be.

    use: "number", "category", "text", "left out" or "refused"
    why: a few words
    levels: of a category
    """

    use: str
    why: str
    levels: tuple[str, ...] = ()


def columns_of(table: Any, *, scaled: bool = True, may_be_text: bool = True) -> Columns:
    """Decide what becomes of each column of a table of features.

    table: the development rows, a pandas frame as `read_table` returns it
    scaled: whether numbers are standardised, to be told
    may_be_text: whether a column of texts, by itself, can be learned from
    Raises BadInput, naming all columns that cannot be used and how to leave them out, or when no
    column is left.
    """
    found = {str(name): _found(table[name]) for name in table.columns}
    kept = [name for name, each in found.items() if each.use != "left out"]
    is_text = may_be_text and [found[name].use for name in kept] == ["text"]
    unusable = ("refused",) if is_text else ("refused", "text")
    if refused := {name: each.why for name, each in found.items() if each.use in unusable}:
        told = "; ".join(f"{name!r} {why}" for name, why in refused.items())
        raise BadInput(
            f"columns must be numbers, booleans or categories, got {told}; make numbers of them "
            f"(year, month, length, …), or leave them out: --drop {drop_option(list(refused))}"
            + ("; --time orders the rows by a date" if HOLDS_DATES in refused.values() else "")
            + (f"; {TEXT_ADVICE}" if HOLDS_TEXT in refused.values() else "")
        )
    numbers = tuple(name for name, each in found.items() if each.use == "number")
    levels = {name: each.levels for name, each in found.items() if each.use == "category"}
    left_out = {name: each.why for name, each in found.items() if each.use == "left out"}
    if not kept:
        raise BadInput(
            "there must be a column to learn from, besides the target, got "
            + (listed(left_out, lambda name: f"{name!r} {left_out[name]}") or "none")
        )
    gaps = tuple(name for name in numbers if table[name].isna().any())
    decisions = []
    if numbers:
        decisions.append(
            f"{len(numbers)} number(s), missing ones replaced by the fold's median, "
            + ("standardised: " if scaled else "as they are otherwise: ")
            + listed(numbers)
        )
    if gaps:
        decisions.append(f"whether it is missing is a further input, of {listed(gaps)}")
    if levels:
        with_counts = listed(levels, lambda name: f"{name!r} ({len(levels[name])})")
        decisions.append(
            f"{len(levels)} categor{'y' if len(levels) == 1 else 'ies'}, one input a level, zeros "
            f"for a level that is not among them: {with_counts}"
        )
    if left_out:
        decisions.append(
            "left out: " + listed(left_out, lambda name: f"{name!r} ({left_out[name]})")
        )
    return Columns(numbers, gaps, levels, tuple(decisions), text=kept[0] if is_text else "")


def drop_option(names: Sequence[str]) -> str:
    """Return names as `--drop` takes them in a shell."""
    import shlex

    return shlex.quote(",".join(names))


def listed(names: Any, shown: Callable[[str], str] = repr, most: int = 8) -> str:
    """Return names in words, the first few of many."""
    all_names = list(names)
    text = ", ".join(shown(name) for name in all_names[:most])
    return text if len(all_names) <= most else f"{text} and {len(all_names) - most} more"


def is_date(values: Any) -> bool:
    """Whether a column is of dates, or of texts that are."""
    if values.dtype.kind == "M":
        return True
    present = values.dropna()
    if values.dtype != object or not len(present):
        return False
    n_dates = sum(isinstance(each, str) and bool(_DATE.fullmatch(each)) for each in present)
    return bool(n_dates >= MOSTLY * len(present))


def _found(values: Any) -> Found:
    present = values.dropna()
    has_gaps = len(present) < len(values)
    if not len(present):
        return Found("left out", "empty")
    if is_date(values):
        return Found("refused", HOLDS_DATES)
    if values.dtype == object:
        if not all(isinstance(each, str) for each in present):
            kind = next(type(each).__name__ for each in present if not isinstance(each, str))
            return Found("refused", f"holds values of type {kind}")
        return _found_text(present.tolist(), has_gaps=has_gaps)
    if values.dtype.kind not in "fiub":
        return Found("refused", f"holds {values.dtype}")
    numbers = present.to_numpy(dtype=float)
    if not np.isfinite(numbers).all():
        return Found("refused", f"holds {int((~np.isfinite(numbers)).sum())} infinite value(s)")
    if not has_gaps and (numbers == numbers[0]).all():
        return Found("left out", "constant")
    if not has_gaps and _number_rows(numbers):
        return Found("left out", "numbers the rows")
    return Found("number", "")


def _number_rows(numbers: np.ndarray) -> bool:
    """Whether these are 0, 1, 2, … in their order, test rows left out."""
    steps = np.diff(numbers)
    is_whole = bool((numbers == np.rint(numbers)).all())
    return is_whole and bool((steps > 0).all()) and numbers[-1] - numbers[0] < 2 * len(numbers)


def _found_text(texts: list[str], *, has_gaps: bool) -> Found:
    """Return what a column of texts is; its missing ones are left out of `texts`."""
    levels = sorted(set(texts))
    if len(levels) == 1 and not has_gaps:
        return Found("left out", "constant")
    n_numbers = sum(_is_number(text) for text in texts)
    if n_numbers == len(texts):
        return Found("refused", f"writes its numbers as texts such as {texts[0][:40]!r}")
    if n_numbers >= MOSTLY * len(texts):
        other = next(text for text in texts if not _is_number(text))
        return Found("refused", f"mixes numbers and texts such as {other[:40]!r}")
    is_many = len(levels) > min(MAX_LEVELS, max(20, len(texts) / 2))
    n_words = sum(len(text.split()) for text in texts) / len(texts)
    if is_many and n_words >= FREE_TEXT_WORDS:
        return Found("text", HOLDS_TEXT)
    if is_many and len(levels) == len(texts):
        return Found("left out", "another text in every row: an identifier")
    if is_many:
        return Found("refused", f"has {len(levels)} different texts, over {MAX_LEVELS}")
    if has_gaps and MISSING not in levels:
        levels.append(MISSING)
    return Found("category", "", tuple(levels))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text.replace(",", ".")))
    except ValueError:
        return False
