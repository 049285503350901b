"""Metrics, parameters and tags of one run, sent together.

MLflow's `log_batch` makes objects of every metric and compares each with the latest of its key,
which takes processor time that training needs. In an SQLite database only the latest of each key go
that way, and with them all of MLflow's checks. The others are history, which nothing is compared
with: they go into MLflow's table of metrics as one statement, by its own description of that table
and in a session of its own store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.tracking.records import storable_text

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_TAG_CHARACTERS = 8000

COLUMNS = {"key", "value", "timestamp", "step", "is_nan", "run_uuid"}
"""Of MLflow's table of metrics."""


class Point(NamedTuple):
    """A metric's value at a step."""

    key: str
    value: float
    timestamp_ms: int
    step: int


def log(
    client: MlflowClient,
    run_id: str,
    points: Sequence[Point],
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    """Log a run's metrics, parameters and tags; twice leaves the store as once does.

    History comes first: where a run's latest epoch is stored, all before it are.
    Raises what MLflow raises.
    """
    from mlflow.entities import Metric, Param, RunTag

    if database := _database_of(client):
        latest = latest_of(points)
        _insert(database, run_id, [point for point in points if point is not latest[point.key]])
        points = list(latest.values())
    client.log_batch(
        run_id,
        metrics=[Metric(*point) for point in points],
        params=[Param(name, value) for name, value in params.items()],
        tags=[
            RunTag(name, storable_text(value, MAX_TAG_CHARACTERS)) for name, value in tags.items()
        ],
    )


def latest_of(points: Sequence[Point]) -> dict[str, Point]:
    """Return each key's point at its largest step, of several there the one that came last."""
    latest: dict[str, Point] = {}
    for point in points:
        before = latest.setdefault(point.key, point)
        if (point.step, point.timestamp_ms) >= (before.step, before.timestamp_ms):
            latest[point.key] = point
    return latest


def _database_of(client: MlflowClient) -> Any:
    """Return MLflow's own store behind the client if it is an SQLite database, else None.

    None as well where its table has other columns than those that are known here.
    """
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = getattr(getattr(client, "_tracking_client", None), "store", None)
    is_sqlite = isinstance(store, SqlAlchemyStore) and store.db_type == "sqlite"
    return store if is_sqlite and {*SqlMetric.__table__.columns.keys()} == COLUMNS else None


def _insert(database: Any, run_id: str, points: Sequence[Point]) -> None:
    """Add points to a run's history; those that are there stay."""
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy.dialects.sqlite import insert

    if not points:
        return
    rows = [
        {
            "run_uuid": run_id,
            "key": key,
            # As MLflow stores what is not a number.
            "value": 0.0 if math.isnan(value) else value,
            "is_nan": math.isnan(value),
            "timestamp": timestamp_ms,
            "step": step,
        }
        for key, value, timestamp_ms, step in points
    ]
    with database.ManagedSessionMaker(read_only=False) as session:
        session.execute(insert(SqlMetric.__table__).on_conflict_do_nothing(), rows)
