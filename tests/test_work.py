"""When trials that fail end a search, whoever trained them."""

import pytest

from pipeline.budget import Budget
from pipeline.errors import StudyFailed
from pipeline.results import Outcome, TrialResult
from pipeline.work import raise_after_failures

BUDGET = Budget(max_failures_in_a_row=2)


def ended(*outcomes: Outcome) -> list[TrialResult]:
    return [
        TrialResult(
            n, {"learning_rate": 0.1, "max_epochs": 3}, outcome, None, 1.0, 0, f"reason {n}"
        )
        for n, outcome in enumerate(outcomes)
    ]


F, P = Outcome.FAILED, Outcome.PRUNED


@pytest.mark.parametrize(("outcomes", "before"), [([F, P, F], ()), ([F, F], (0,)), ([F, F, P], ())])
def test_some_failures_are_borne(outcomes, before):
    raise_after_failures(ended(*outcomes), before, BUDGET)


def test_too_many_in_a_row_end_the_search():
    with pytest.raises(StudyFailed, match=r"3 trials in a row failed .*: reason 3"):
        raise_after_failures(ended(P, F, F, F), (), BUDGET)
