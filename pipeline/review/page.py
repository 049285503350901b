"""The page: figures, tables and facts in one HTML file that asks nobody for anything."""

from __future__ import annotations

from pipeline import wording
from pipeline.optimization import N_FOR_IMPORTANCES
from pipeline.results import StudyResult
from pipeline.review import curves, rate_map, space, tables, timeline
from pipeline.review.account import Account
from pipeline.review.frame import framed
from pipeline.review.summary import headline
from pipeline.review.times import savings_in_words


def html(result: StudyResult, account: Account) -> str:
    """Return the whole page. Whatever a user wrote is escaped in it."""
    pictures = {
        "curves": curves.learning_curves(result),
        "map": rate_map.rate_map(result),
        "importances": space.importance_bars(account.importances),
        "timeline": timeline.timeline(result, account.spans),
    }
    slices, slices_keys = space.slices(result)
    return framed(
        "page.html.jinja",
        [picture for picture in (*pictures.values(), *slices) if picture is not None],
        result=result,
        headline=headline(result),
        findings=wording.findings(result),
        counts=tables.counts(result),
        pictures=pictures,
        slices=slices,
        slices_keys=slices_keys,
        savings=savings_in_words(result),
        n_for_importances=N_FOR_IMPORTANCES,
        n_with_value=sum(trial.value is not None for trial in result.trials),
        ways=tables.ways_table(result, account),
        remarks=account.remarks,
        trials=tables.trials_table(result),
        repeating=account.repeating(result),
        fields=result.spec.described(),
    )
