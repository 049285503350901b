"""What goes straight into MLflow's table is what MLflow would have put there."""

import math
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from pipeline.tracking import together
from pipeline.tracking.together import Point, latest_of, log

COLUMNS = "key, value, timestamp, step, is_nan"


@pytest.fixture
def new_run(store):
    experiment_id = store.client.create_experiment("digits", store.artifact_location)
    return lambda: store.client.create_run(experiment_id).info.run_id


@pytest.fixture
def rows_of(home):
    """Return what a run has in MLflow's tables: every metric, and the latest of each key."""

    def rows(run_id: str) -> list[list[tuple]]:
        with closing(sqlite3.connect(home / "mlruns" / "mlflow.db")) as database:
            return [
                database.execute(
                    f"SELECT {COLUMNS} FROM {table} WHERE run_uuid = ? ORDER BY {COLUMNS}",
                    (run_id,),
                ).fetchall()
                for table in ("metrics", "latest_metrics")
            ]

    return rows


def points(seed: int) -> list[Point]:
    """Return few keys at few steps and times, so that everything meets: NaN, ties, repetitions."""
    random = np.random.default_rng(seed)
    return [
        Point(
            f"fold_{random.integers(3)}/loss",
            random.choice([0.0, -1.5, 2.25, math.nan]),
            1_700_000_000_000 + int(random.integers(3)),
            int(random.integers(4)),
        )
        for _ in range(40)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_tables_are_as_if_mlflow_had_been_given_every_metric(
    store, new_run, rows_of, monkeypatch, seed
):
    # MLflow's latest of two at one step and time is the larger; the writer's clock makes no two.
    given = list({(p.key, p.step, p.timestamp_ms): p for p in points(seed)}.values())
    ours, theirs = new_run(), new_run()
    for part in (given[:20], given[20:], given[10:30]):
        log(store.client, ours, part, {}, {})
    monkeypatch.setattr(together, "_database_of", lambda client: None)
    for part in (given[:20], given[20:], given[10:30]):
        log(store.client, theirs, part, {}, {})
    assert rows_of(ours) == rows_of(theirs)
    assert len(rows_of(ours)[0]) == len(given)


def test_history_goes_past_mlflows_objects_and_the_latest_with_params_and_tags(
    store, new_run, monkeypatch
):
    run_id, calls = new_run(), []
    log_batch = store.client.log_batch

    def watched(run_id, **given):
        calls.append([metric.step for metric in given["metrics"]])
        log_batch(run_id, **given)

    monkeypatch.setattr(store.client, "log_batch", watched)
    given = [Point("loss", 1 / n, n, n) for n in range(1, 51)]
    log(store.client, run_id, given, {"units": "64"}, {"outcome": "x" * 9000})
    assert calls == [[50]]
    history = store.client.get_metric_history(run_id, "loss")
    assert [(p.value, p.timestamp, p.step) for p in history] == [(p[1:]) for p in given]
    run = store.client.get_run(run_id)
    assert run.data.metrics == {"loss": 1 / 50}
    assert run.data.params == {"units": "64"}
    assert len(run.data.tags["outcome"]) == 8000


def test_where_the_latest_is_stored_all_before_it_are(store, new_run, monkeypatch):
    run_id = new_run()

    def dies(*args):
        raise ConnectionError("reset")

    monkeypatch.setattr(together, "_insert", dies)
    with pytest.raises(ConnectionError):
        log(store.client, run_id, [Point("loss", 1.0, n, n) for n in (1, 2)], {}, {})
    assert store.client.get_metric_history(run_id, "loss") == []


def test_a_table_that_is_not_as_it_was_is_left_to_mlflow(store, new_run, monkeypatch):
    monkeypatch.setattr(together, "COLUMNS", {*together.COLUMNS, "unit"})
    monkeypatch.delattr(together, "_insert")
    run_id = new_run()
    log(store.client, run_id, [Point("loss", 1.0, n, n) for n in (1, 2)], {}, {})
    assert len(store.client.get_metric_history(run_id, "loss")) == 2


@pytest.mark.parametrize("n_epochs", [1, 2])
def test_a_run_that_is_not_there_is_refused(store, n_epochs):
    given = [Point("loss", 1.0, n, n) for n in range(n_epochs)]
    with pytest.raises(MlflowException) as caught:
        log(store.client, "0" * 32, given, {}, {})
    assert caught.value.error_code in ("RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST")


def test_the_latest_is_at_the_largest_step_and_the_last_of_several_there():
    given = [Point("a", 1.0, 5, 2), Point("a", 2.0, 9, 1), Point("a", 3.0, 6, 2)]
    assert latest_of([*given, Point("b", 4.0, 1, 0)]) == {"a": given[2], "b": Point("b", 4.0, 1, 0)}
