"""Snapshots on disk: what comes back, what is refused, and what a full disk costs."""

import io
import json

import numpy as np
import pytest

from pipeline.errors import StoreUnavailable
from pipeline.snapshots import Snapshots
from pipeline.training.snapshot_file import Unreadable, as_bytes, of_bytes
from tests.training.models import advanced, all_curves, case, dense, with_every_state

CASE = case(with_every_state)


@pytest.fixture(scope="module")
def engine():
    return CASE.engine()


@pytest.fixture
def said():
    return []


@pytest.fixture
def snapshots(tmp_path, said):
    return Snapshots(tmp_path / "snapshots", say=said.append)


def test_training_goes_on_from_a_file_as_if_it_had_never_stopped(engine, snapshots):
    through = advanced(CASE.training(engine), 4)
    snapshots.keep("trial_000", advanced(CASE.training(engine), 2), now=True)
    going_on = CASE.training(engine)
    assert snapshots.restore("trial_000", going_on)
    assert going_on.n_epochs == 2
    assert snapshots.trained("trial_000") == (2, going_on.n_fold_epochs)
    np.testing.assert_array_equal(all_curves(advanced(going_on, 2)), all_curves(through))


def test_what_was_not_kept_or_was_dropped_is_not_there(engine, snapshots):
    training = CASE.training(engine)
    assert not snapshots.restore("trial_000", training)
    snapshots.keep("trial_000", advanced(training, 1), now=True)
    snapshots.drop("trial_000")
    snapshots.drop("trial_000")
    assert snapshots.trained("trial_000") == (0, 0)
    assert not snapshots.restore("trial_000", CASE.training(engine))


def test_a_file_that_was_cut_is_dropped_with_a_line(engine, snapshots, said, tmp_path):
    snapshots.keep("trial_000", advanced(CASE.training(engine), 1), now=True)
    path = tmp_path / "snapshots" / "trial_000.npz"
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        training = CASE.training(engine)
        assert not snapshots.restore("trial_000", training)
        assert training.n_epochs == 0
        assert not path.exists()
    assert len(said) == 4
    assert "trial_000.npz is not whole" in said[0]


def test_flipped_bytes_are_noticed(engine):
    content = bytearray(as_bytes(advanced(CASE.training(engine), 1).snapshot(), CASE.params))
    for place in range(200, len(content) - 200, len(content) // 7):
        damaged = content.copy()
        damaged[place] ^= 0xFF
        try:
            snapshot, _ = of_bytes(bytes(damaged))
        except Unreadable:
            continue
        # Between two arrays there are bytes that nobody reads.
        assert snapshot.n_epochs == 1


def test_another_version_is_refused(engine, snapshots, tmp_path):
    snapshots.keep("trial_000", advanced(CASE.training(engine), 1), now=True)
    path = tmp_path / "snapshots" / "trial_000.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    about = json.loads(str(arrays["about"]))
    arrays["about"] = np.array(json.dumps({**about, "version": 2}))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(StoreUnavailable, match="of version 2, this program has 1; continue with"):
        snapshots.restore("trial_000", CASE.training(engine))
    assert path.exists()


def test_another_training_is_not_mistaken_for_this_one(engine, snapshots, said):
    snapshots.keep("trial_000", advanced(CASE.training(engine, learning_rate=0.5), 1), now=True)
    assert not snapshots.restore("trial_000", CASE.training(engine))
    other = case(dense)
    snapshots.keep("trial_001", advanced(other.training(other.engine()), 1), now=True)
    assert not snapshots.restore("trial_001", CASE.training(engine))
    assert all("is of another training" in line for line in said)
    assert len(said) == 2


def test_what_others_may_go_on_with_is_not_written_again(engine, snapshots):
    """At a signal, in a worker that has let a paused trial go."""
    training = advanced(CASE.training(engine), 1)
    snapshots.keep("trial_000", training, now=True)
    advanced(training, 1)
    snapshots.keep_current()
    assert snapshots.trained("trial_000")[0] == 2
    snapshots.let_go()
    advanced(training, 1)
    snapshots.keep_current()
    assert snapshots.trained("trial_000")[0] == 2


def test_a_full_disk_costs_the_snapshot_and_not_the_search(engine, snapshots, said, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    training = advanced(CASE.training(engine), 1)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.snapshots.write_whole", full)
        snapshots.keep("trial_000", training, now=True)
        snapshots.keep("trial_000", training, now=True)
    assert said == ["no snapshot could be written: No space left on device"]
    snapshots.keep("trial_000", training, now=True)
    assert snapshots.trained("trial_000")[0] == 1


def test_it_is_written_when_it_is_time_and_rarely_where_that_is_dear(engine, tmp_path, monkeypatch):
    now, writes = [0.0], []

    def slow(path, content):
        now[0] += 2.0
        writes.append(now[0])

    monkeypatch.setattr("pipeline.snapshots.write_whole", slow)
    snapshots = Snapshots(tmp_path, every_secs=30, clock=lambda: now[0])
    training = advanced(CASE.training(engine), 1)
    for _ in range(1000):
        now[0] += 1.0
        snapshots.keep("trial_000", training)
    # The first after half a minute; then every 200 seconds, as one takes two.
    assert writes[0] == 32
    assert np.diff(writes).min() >= 200
    assert 2 * len(writes) / now[0] < 0.02
    n_before = len(writes)
    snapshots.keep("trial_000", training, now=True)
    assert len(writes) == n_before + 1


def test_types_that_numpy_does_not_know_come_back():
    import tensorflow as tf

    from pipeline.training import Snapshot

    floats = ("bfloat16", "float16", "float32", "float64")
    values = (
        *(tf.constant([1.5, -2.0], dtype) for dtype in floats),
        tf.constant([1, 2], "uint32"),
        tf.constant(True),
    )
    snapshot, params = of_bytes(as_bytes(Snapshot({3: values}, {3: np.ones((1, 2))}, {3: ()}), {}))
    assert params == {}
    assert [value.dtype for value in snapshot.states[3]] == [value.dtype for value in values]
    for ours, theirs in zip(snapshot.states[3], values, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
