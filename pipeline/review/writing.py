"""Everything that is drawn and written for a person, into the study's folder.

The answer is there before this begins: what cannot be drawn is said in a line, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline import plots
from pipeline.files import write_whole
from pipeline.results import StudyResult
from pipeline.review.account import Account
from pipeline.review.comparison import Comparison
from pipeline.review.summary import markdown

Made = TypeVar("Made")

STEM = "report"
"""Of the names of the files about the search's own answer."""


@dataclass(frozen=True)
class Written:
    """What was written.

    page: its path; None when it could not be drawn
    summary: the text of `report.md`; "" when it could not be written
    files: all of it, pictures too
    """

    page: Path | None
    summary: str
    files: Sequence[Path]


def illustrated(
    result: StudyResult,
    study: Any,
    record: Mapping[str, Any],
    *,
    say: Callable[[str], None],
) -> Written:
    """Draw the pictures, `report.html` and `report.md` beside the decision.

    study: Optuna's; record: the written decision; say: is told what could not be made
    """
    folder = result.decision_path.parent
    pictures = _tried("the pictures", lambda: plots.draw(result, folder), say) or []
    return reported(result, lambda: Account.of(result, study, record), say=say, also=pictures)


def reported(
    result: StudyResult,
    account_of: Callable[[], Account],
    *,
    say: Callable[[str], None],
    stem: str = STEM,
    also: Sequence[Path] = (),
) -> Written:
    """Write the page and its summary.

    account_of: reads what is told beside the result; stem: of the files' names; also: files made
        before
    """
    account = _tried("the report", account_of, say)
    if account is None:
        return Written(None, "", also)
    folder = result.decision_path.parent
    page = _tried("the report", lambda: _page(result, account, folder / f"{stem}.html"), say)
    summary = folder / f"{stem}.md"
    text = _tried("the summary", lambda: _summary(result, account, summary), say) or ""
    made = [path for path, is_made in ((page, page), (summary, text)) if path and is_made]
    return Written(page, text, [*also, *made])


def compared(comparison: Comparison, *, say: Callable[[str], None]) -> Path | None:
    """Write the page of two answers beside the later one's; return its path, None without one."""
    path = comparison.now.folder / f"compare-{comparison.before.name}.html"

    def make() -> Path:
        from pipeline.review.comparison_page import html

        write_whole(path, html(comparison).encode())
        return path

    return _tried("the page", make, say)


def _page(result: StudyResult, account: Account, path: Path) -> Path:
    # Bokeh and Jinja take a second to load, and a search has better things to do until its end.
    from pipeline.review.page import html

    write_whole(path, html(result, account).encode())
    return path


def _summary(result: StudyResult, account: Account, path: Path) -> str:
    picture = path.with_name(plots.SMALL_CURVES)
    # Of another answer than the search's there is none.
    text = markdown(result, account, picture if path.stem == STEM and picture.exists() else None)
    write_whole(path, text.encode())
    return text


def _tried(what: str, make: Callable[[], Made], say: Callable[[str], None]) -> Made | None:
    try:
        return make()
    except Exception as error:
        say(f"the answer stands, but {what} could not be made: {type(error).__name__}: {error}")
        return None
