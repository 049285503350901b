"""What a person reads of a search: `report.html`, the page, and `report.md`, its summary.

    written = illustrated(result, study, record, say=print)

`account.py` gathers what is told beside the result, `times.py` what took how long; `curves.py`,
`rate_map.py`, `space.py` and `timeline.py` draw with Bokeh, in the style of `house.py`; `tables.py`
and `summary.py` are text; `page.py` puts it together with `templates/`, in what `frame.py` has for
every page. `comparison.py` has two answers side by side, `comparison_page.py` their page.
"""

from pipeline.review.account import Account
from pipeline.review.command import typed
from pipeline.review.comparison import Comparison, in_words
from pipeline.review.times import wall_seconds
from pipeline.review.writing import STEM, Written, compared, illustrated, reported

__all__ = [
    "STEM",
    "Account",
    "Comparison",
    "Written",
    "compared",
    "illustrated",
    "in_words",
    "reported",
    "typed",
    "wall_seconds",
]
