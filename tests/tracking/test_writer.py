import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, TEMPORARILY_UNAVAILABLE

from pipeline.errors import StoreUnavailable
from pipeline.tracking.updates import Status, Texts, Update
from pipeline.tracking.writer import MAX_METRICS_PER_CALL, MetricWriter
from tests.crew import until


class Doing(Update):
    """An update that does what it is told."""

    kind = "doing"

    def __init__(self, action: Callable[[], Any]) -> None:
        object.__setattr__(self, "run_id", "a")
        object.__setattr__(self, "action", action)

    def send(self, client: Any, run_id: str) -> None:
        self.action()  # type: ignore[attr-defined]


LOCKED = MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE)
DELETED = MlflowException("run abc must be in the 'active' state", INVALID_PARAMETER_VALUE)


class FakeClient:
    """Keeps what it is given; fails with the errors it was told to, one a call.

    gate: what it waits for before it answers
    """

    def __init__(self, *errors: Exception, gate: threading.Event | None = None) -> None:
        self.errors = list(errors)
        self.attempts: list[tuple[str, list[Any]]] = []
        self.written: list[tuple[str, list[Any]]] = []
        self.texts: list[dict[str, str]] = []
        self.asked = threading.Event()
        self.gate = gate

    def log_batch(
        self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]
    ) -> None:
        self.asked.set()
        if self.gate:
            self.gate.wait()
        self.attempts.append((run_id, metrics))
        if self.errors:
            raise self.errors.pop(0)
        self.written.append((run_id, metrics))
        self.texts.append({text.key: text.value for text in (*params, *tags)})

    def set_terminated(self, run_id: str, status: str, end_time: int) -> None:
        pass

    def steps(self) -> list[tuple[str, list[int]]]:
        return [(run, list(dict.fromkeys(m.step for m in points))) for run, points in self.written]


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, secs: float) -> None:
        self.slept.append(secs)
        self.now += secs


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def make_writer(fake_time):
    """Build a writer that writes only when it is flushed, and whose patience costs no time."""

    def make(client: FakeClient, **changes: Any) -> MetricWriter:
        settings = {"interval_secs": 1e6, "clock": fake_time.clock, "sleep": fake_time.sleep}
        return MetricWriter(client, **{**settings, **changes})  # type: ignore[arg-type]

    return make


def test_epochs_of_one_run_are_one_call(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    for epoch in range(1, 51):
        writer.put("a", {"loss": 1.0, "mean": 2.0}, epoch)
    writer.close()
    assert client.steps() == [("a", list(range(1, 51)))]
    assert len(client.written[0][1]) == 100


def test_runs_are_written_apart_and_each_in_order(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    for epoch in (1, 2, 3):
        writer.put("a", {"loss": 1.0}, epoch)
        writer.put("b", {"loss": 1.0}, epoch)
    writer.close()
    assert client.steps() == [("a", [1, 2, 3]), ("b", [1, 2, 3])]


def test_an_epoch_is_never_split_over_two_calls(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    for epoch in (1, 2, 3):
        writer.put("a", {f"m{i}": 1.0 for i in range(400)}, epoch)
    writer.close()
    assert client.steps() == [("a", [1, 2]), ("a", [3])]
    assert all(len(points) <= MAX_METRICS_PER_CALL for _, points in client.written)


def test_exactly_a_thousand_metrics_are_one_call(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    for epoch in (1, 2):
        writer.put("a", {f"m{i}": 1.0 for i in range(500)}, epoch)
    writer.close()
    assert client.steps() == [("a", [1, 2])]


def test_an_epoch_larger_than_a_call_goes_alone(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    writer.put("a", {f"m{i}": 1.0 for i in range(1500)}, 1)
    writer.put("a", {"loss": 1.0}, 2)
    writer.close()
    assert client.steps() == [("a", [1]), ("a", [2])]


def test_a_call_comes_after_what_was_queued_before_it(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    done: list[Any] = []
    writer.put("a", {"loss": 1.0}, 1)
    writer.put("b", {"loss": 1.0}, 1)
    writer.update(Doing(lambda: done.append(client.steps())))
    writer.put("a", {"loss": 1.0}, 2)
    writer.close()
    assert done == [[("a", [1]), ("b", [1])]]
    assert client.steps()[-1] == ("a", [2])


def test_a_runs_metrics_and_texts_are_one_call(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    writer.update(Texts("a", params={"units": "64"}))
    writer.put("a", {"loss": 1.0}, 1)
    writer.update(Status("b", "FINISHED", 1))  # another run's end is no hindrance
    writer.put("a", {"loss": 1.0}, 2)
    writer.update(Texts("a", tags={"outcome": "completed"}))
    writer.close()
    assert client.steps() == [("a", [1, 2])]
    assert client.texts == [{"units": "64", "outcome": "completed"}]


def test_metrics_are_written_without_a_flush(make_writer):
    client = FakeClient()
    writer = make_writer(client, interval_secs=0.01)
    writer.put("a", {"loss": 1.0}, 1)
    assert client.asked.wait(timeout=10)
    writer.close()


def test_metrics_gather_before_they_are_written(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    writer.put("a", {"loss": 1.0}, 1)
    assert not client.asked.wait(timeout=0.05)
    writer.close()
    assert client.steps() == [("a", [1])]


def test_what_comes_while_others_are_written_gathers_again(make_writer):
    class Puts(FakeClient):
        def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
            if not self.written:
                writer._interval_secs = 1e6
                writer.put("b", {"loss": 1.0}, 1)
            super().log_batch(run_id, metrics, params, tags)

    client = Puts()
    writer = make_writer(client, interval_secs=0.01)
    writer.put("a", {"loss": 1.0}, 1)
    assert client.asked.wait(timeout=10)
    time.sleep(0.05)
    assert client.steps() == [("a", [1])]
    writer.close()
    assert client.steps() == [("a", [1]), ("b", [1])]


def test_putting_does_not_wait_for_the_store(make_writer):
    gate = threading.Event()
    client = FakeClient(gate=gate)
    writer = make_writer(client, interval_secs=0)
    writer.put("a", {"loss": 1.0}, 1)
    assert client.asked.wait(timeout=10)
    before = time.monotonic()
    for epoch in range(2, 100):
        writer.put("a", {"loss": 1.0}, epoch)
    assert time.monotonic() - before < 1
    assert not client.written
    gate.set()
    writer.close()
    assert [step for _, steps in client.steps() for step in steps] == list(range(1, 100))


def test_a_passing_error_is_tried_again_with_the_same_timestamps(make_writer, fake_time):
    client = FakeClient(LOCKED, ConnectionError("reset"))
    writer = make_writer(client)
    writer.put("a", {"loss": 1.0}, 1)
    writer.close()
    assert len(client.attempts) == 3
    assert client.attempts[0] == client.attempts[1] == client.attempts[2]
    assert fake_time.slept == [0.5, 1.0]
    assert writer.problem == ""


def test_the_timestamp_is_when_it_was_queued(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    before = int(time.time() * 1000)
    writer.put("a", {"loss": 1.0}, 1)
    queued = int(time.time() * 1000)
    time.sleep(0.01)
    writer.close()
    assert before <= client.written[0][1][0].timestamp <= queued


def test_a_call_that_fails_is_tried_again(make_writer):
    client = FakeClient()
    writer = make_writer(client)
    errors: list[Exception] = [LOCKED]
    done = []

    def end_run() -> None:
        if errors:
            raise errors.pop()
        done.append("ended")

    writer.update(Doing(end_run))
    writer.close()
    assert done == ["ended"]


def test_a_store_that_stays_away_is_given_up_and_nothing_is_lost(make_writer, fake_time):
    client = FakeClient(*[LOCKED] * 1000)
    writer = make_writer(client, patience_secs=30.0)
    for epoch in (1, 2):
        writer.put("a", {"loss": 1.0, "mean": 2.0}, epoch)
    writer.update(Doing(lambda: None))
    with pytest.raises(StoreUnavailable, match=r"4 metrics and 1 other .*database is locked"):
        writer.flush()
    assert 30 < sum(fake_time.slept) < 60
    assert max(fake_time.slept) <= 10
    n_attempts = len(client.attempts)
    writer.put("a", {"loss": 1.0}, 3)
    assert "database is locked" in writer.problem

    # Each flush tries once more, and no more than that.
    with pytest.raises(StoreUnavailable, match="5 metrics"):
        writer.flush()
    assert len(client.attempts) == n_attempts + 1

    # The store is back: all of it is written, once.
    client.errors.clear()
    writer.close()
    assert client.steps() == [("a", [1, 2]), ("a", [3])]
    assert writer.problem == ""


def test_a_store_that_was_given_up_is_left_alone_for_a_while_and_then_tried_again(make_writer):
    """Without a flush: else nobody would see a long trial any more, however soon it came back."""
    writer = make_writer(client := FakeClient(*[LOCKED] * 1000), interval_secs=0, again_secs=0.5)
    writer.put("a", {"loss": 1.0}, 1)
    with pytest.raises(StoreUnavailable):
        writer.flush()
    n_attempts = len(client.attempts)
    time.sleep(0.1)
    assert len(client.attempts) == n_attempts
    client.errors.clear()
    until(lambda: not writer.is_away, secs=30)
    assert client.steps() == [("a", [1])]
    writer.close()


def test_what_the_store_refuses_for_good_does_not_hold_up_the_rest(make_writer, fake_time):
    client = FakeClient(DELETED)
    writer = make_writer(client)
    writer.put("deleted", {"loss": 1.0, "mean": 1.0}, 1)
    writer.put("b", {"loss": 1.0}, 1)
    with pytest.raises(StoreUnavailable, match=r"2 metrics and 0 other .*must be in the 'active'"):
        writer.close()
    assert client.steps() == [("b", [1])]
    assert fake_time.slept == []


def test_what_is_refused_among_others_is_found_and_the_others_are_written(make_writer):
    class RefusesParams(FakeClient):
        def log_batch(self, run_id: str, metrics: Any, params: Any, tags: Any) -> None:
            if params:
                raise DELETED
            super().log_batch(run_id, metrics, params, tags)

    client = RefusesParams()
    writer = make_writer(client)
    writer.put("a", {"loss": 1.0}, 1)
    writer.update(Texts("a", params={"units": "64"}))
    writer.put("a", {"loss": 1.0}, 2)
    with pytest.raises(StoreUnavailable, match=r"0 metrics and 1 other"):
        writer.flush()
    writer.put("a", {"loss": 1.0}, 3)
    writer.put("a", {"loss": 1.0}, 4)
    with pytest.raises(StoreUnavailable, match=r"0 metrics and 1 other"):
        writer.close()
    assert client.steps() == [("a", [1]), ("a", [2]), ("a", [3, 4])]


def test_a_store_that_never_answers_does_not_hold_up_the_end(make_writer):
    gate = threading.Event()
    client = FakeClient(gate=gate)
    writer = make_writer(client, clock=time.monotonic, patience_secs=0.2, answer_secs=0.1)
    writer.put("a", {"loss": 1.0}, 1)
    with pytest.raises(StoreUnavailable, match=r"1 metrics .*has not answered for 0.2 seconds"):
        writer.close()
    gate.set()


def test_the_thread_ends_with_the_writer(make_writer):
    writer = make_writer(FakeClient())
    writer.put("a", {"loss": 1.0}, 1)
    writer.close()
    writer._thread.join(timeout=10)
    assert not writer._thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        writer.put("a", {"loss": 1.0}, 2)


def test_the_error_that_ends_the_block_is_not_hidden_by_the_writers(make_writer):
    def search(*, breaks: bool) -> None:
        with make_writer(FakeClient(DELETED)) as writer:
            writer.put("a", {"loss": 1.0}, 1)
            assert not breaks

    with pytest.raises(AssertionError):
        search(breaks=True)
    with pytest.raises(StoreUnavailable):
        search(breaks=False)


def test_passwords_in_an_error_are_masked(make_writer):
    client = FakeClient(MlflowException("http://ann:hunter2@host said no", INVALID_PARAMETER_VALUE))
    writer = make_writer(client)
    writer.put("a", {"loss": 1.0}, 1)
    with pytest.raises(StoreUnavailable) as caught:
        writer.close()
    assert "hunter2" not in str(caught.value)


def test_the_real_store_drops_what_was_half_written(store):
    """The first attempt reaches the store, and its answer is lost."""
    experiment_id = store.client.create_experiment("digits", store.artifact_location)
    run_id = store.client.create_run(experiment_id).info.run_id

    class LosesItsAnswer:
        answered = False

        def log_batch(self, run_id: str, **given: Any) -> None:
            store.client.log_batch(run_id, **given)
            if not self.answered:
                self.answered = True
                raise ConnectionError("reset")

    with MetricWriter(LosesItsAnswer(), sleep=lambda _: None) as writer:  # type: ignore[arg-type]
        writer.put(run_id, {"loss": 1.0, "nan": float("nan")}, 1)
        writer.put(run_id, {"loss": 2.0, "nan": float("nan")}, 2)
    for key in ("loss", "nan"):
        assert [point.step for point in store.client.get_metric_history(run_id, key)] == [1, 2]


def test_an_epoch_of_more_than_a_thousand_metrics_reaches_the_real_store(store):
    experiment_id = store.client.create_experiment("digits", store.artifact_location)
    run_id = store.client.create_run(experiment_id).info.run_id
    with MetricWriter(store.client) as writer:
        writer.put(run_id, {f"m{i}": 1.0 for i in range(1500)}, 1)
    assert len(store.client.get_run(run_id).data.metrics) == 1500
