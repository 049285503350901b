"""The champion's model and tonight's, on test rows that neither of them has used.

Tonight's test rows were set aside from tonight's search, but the champion may have been trained on
some of them. A version is registered with the identities of its development rows. Only where all of
these are found again among tonight's rows does it follow that the others are others: a column more,
or other units, would make every row look new.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.model_selection import TimeSeriesSplit

from pipeline import holdout, tracking, training
from pipeline.data import Dataset
from pipeline.errors import Interrupted, StoreUnavailable, in_one_line
from pipeline.identities import identities
from pipeline.nest import map_parts
from pipeline.question import Question
from pipeline.results import StudyResult
from pipeline.session import Session
from pipeline.uncertainty import Interval

ROWS_FILE = "development_rows.npy"
"""Of a run's artifacts: the identities of the rows that its models come from, sorted."""

CONFIDENCE = 0.95
N_BLOCKS = 20
MIN_ROWS = 2 * N_BLOCKS
"""Fewer unseen rows do not tell two models apart."""


class UntoldError(Exception):
    """Why two models cannot be compared so, in words."""


def note_rows(question: Question, run: tracking.StudyRun) -> None:
    """Keep the identities of the development rows with the run, for a later night to read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ROWS_FILE
        np.save(path, np.unique(identities(question.development)))
        run.log_artifact(path)


def gain(
    result: StudyResult, session: Session, standing: tracking.Version
) -> tuple[float, Interval, int]:
    """Return by how much tonight's model is better than the champion's, the interval, the rows.

    Raises UntoldError when that cannot be said, StoreUnavailable when the store fails.
    """
    question, store = session.question, session.run.store
    assert question.test is not None
    assert result.refit is not None
    metric = result.spec.objective.metric.removeprefix("val_")
    if metric not in result.refit.test_metrics:
        raise UntoldError(f"{metric} is no score of test rows")
    rows = unseen_rows(question, tracking.array_of(store, standing.run_id, ROWS_FILE))
    test = question.test.take(rows)
    try:
        judge = training.Judge.of(result.spec, result.best.params, test)
        losses = [
            _leaving_out(judge, tracking.served(store, uri)(test.x), test, metric, question)
            for uri in (standing.model_uri, result.refit.model_uri)
        ]
    except (Interrupted, StoreUnavailable, UntoldError):
        raise
    except Exception as error:  # a model of other columns, code or versions
        raise UntoldError(f"it could not be scored on these rows: {in_one_line(error)}") from error
    holdout.note_use(question, f"registry: against version {standing.number}")
    better, interval = difference(*losses)
    return better, interval, test.n_rows


def unseen_rows(question: Question, trained_on: np.ndarray | None) -> np.ndarray:
    """Return which of tonight's test rows the champion has not used, [n]. Raises UntoldError.

    trained_on: the identities of its development rows; None: nobody knows
    """
    assert question.test is not None
    if trained_on is None:
        raise UntoldError("the rows that it was trained on are not known")
    test = identities(question.test)
    tonight = np.concatenate([identities(question.development), test])
    n_gone = np.count_nonzero(~np.isin(trained_on, tonight))
    if n_gone:
        raise UntoldError(
            f"{n_gone} of its {len(trained_on)} development rows are not among tonight's rows, so "
            "what it has not used cannot be told"
        )
    # Of equal rows one may have been set aside and the other not, tonight as well.
    used = np.isin(test, trained_on) | np.isin(test, identities(question.development))
    rows = np.flatnonzero(~used)
    if len(rows) < MIN_ROWS:
        raise UntoldError(
            f"{len(rows)} of the {len(test)} test rows were used by neither, fewer than {MIN_ROWS}"
        )
    return rows


def difference(others: np.ndarray, losses: np.ndarray) -> tuple[float, Interval]:
    """Return how much lower the losses are than the others, and its interval.

    others, losses: [1 + n_blocks]: of all rows, then of all but each block's

    The grouped jackknife (Tukey 1958; Wu 1986): n times the value of all rows less n − 1 times that
    without a block stand for the blocks, also where a score is no mean over rows. Both models are
    given and the rows are new, so nothing is to be corrected.
    """
    of_all, *without = others - losses
    n_blocks = len(without)
    of_blocks = n_blocks * of_all - (n_blocks - 1) * np.array(without)
    reach = stats.t.isf((1 - CONFIDENCE) / 2, n_blocks - 1) * stats.sem(of_blocks)
    middle = float(of_blocks.mean())
    return float(of_all), Interval(middle - reach, middle + reach, CONFIDENCE)


def _leaving_out(
    judge: training.Judge, predictions: object, test: Dataset, metric: str, question: Question
) -> np.ndarray:
    """Return the metric as a loss, of all rows and of all but each block's, [1 + n_blocks]."""
    objective = question.spec.objective
    every = np.arange(test.n_rows)
    kept = [every, *(np.setdiff1d(every, block) for block in blocks_of(test, question))]
    scores = [
        judge.scores(map_parts(lambda part, rows=rows: part[rows], predictions), test.take(rows))
        for rows in kept
    ]
    return objective.as_loss(np.array([score[metric] for score in scores]))


def blocks_of(test: Dataset, question: Question) -> list[np.ndarray]:
    """Return the rows in blocks that are alike and know nothing of each other.

    Whole groups, and in the order of time where that is what splits: neighbours are alike.
    """
    of_row = np.arange(test.n_rows)
    if test.groups is not None:
        _, of_row = np.unique(test.groups, return_inverse=True)
    names = np.arange(of_row.max() + 1)
    if not isinstance(question.spec.splitter, TimeSeriesSplit):
        names = np.random.default_rng(question.spec.seed).permutation(names)
    n_blocks = min(N_BLOCKS, len(names))
    if n_blocks < 2:
        raise UntoldError("the test rows are of one group")
    return [np.flatnonzero(np.isin(of_row, block)) for block in np.array_split(names, n_blocks)]
