"""A finite `tf.data.Dataset` is read once into the arrays that it was made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import Dataset, load
from pipeline.errors import BadInput

X = np.arange(24, dtype=np.float32).reshape(8, 3)
Y = np.arange(8) % 2
SLICES = tf.data.Dataset.from_tensor_slices
ROWS = SLICES((X, Y))


@settings(max_examples=20, deadline=None)
@given(
    batch_size=st.none() | st.integers(1, 9),
    weighted=st.booleans(),
    named=st.booleans(),
    one_hot=st.booleans(),
)
def test_rows_and_batches_of_them_are_the_arrays(batch_size, weighted, named, one_hot):
    x = {"a": X, "b": Y} if named else X
    y = np.eye(2, dtype=np.int64)[Y] if one_hot else Y
    weight = np.linspace(0, 1, 8, dtype=np.float32) if weighted else None
    dataset = SLICES((x, y) if weight is None else (x, y, weight))
    dataset = dataset if batch_size is None else dataset.batch(batch_size)
    for each in (dataset, dataset.prefetch(2), dataset.map(lambda *row: row)):

        def load_data(each=each):
            return each

        loaded = load(load_data)
        assert loaded.fingerprint == Dataset(x, y, sample_weight=weight).fingerprint


def test_a_dataset_of_unknown_length_is_read_to_its_end():
    some = ROWS.filter(lambda x, y: y == 1)
    assert int(some.cardinality()) == tf.data.UNKNOWN_CARDINALITY
    np.testing.assert_array_equal(load(lambda: some).x, X[1::2])


def test_two_are_a_training_and_a_validation_set():
    data = load(lambda: (ROWS.batch(3), ROWS.take(2).batch(3)))
    assert data.validation_rows is not None
    assert data.validation_rows.tolist() == [8, 9]
    np.testing.assert_array_equal(data.x[8:], X[:2])


@pytest.mark.parametrize("batch_size", [None, 3])
def test_texts_are_objects(batch_size):
    rows = SLICES((["a", "abc"] * 4, Y))
    data = load(lambda: rows if batch_size is None else rows.batch(batch_size))
    assert data.x.dtype == object
    assert data.x.tolist() == [b"a", b"abc"] * 4


def failing(x, y):
    tf.debugging.assert_less(x[0], 20.0, message="too large")
    return x, y


UNUSABLE = {
    "infinite": (ROWS.repeat(), r"must be finite, got an infinite one: leave \.repeat\(\) out"),
    "empty": (ROWS.take(0), "must have rows, got none"),
    "no labels": (SLICES(X), r"elements \(x, y\) or .*, got TensorSpec.shape=.3,"),
    "four parts": (SLICES((X, Y, Y, Y)), r"elements \(x, y\) or \(x, y, sample_weight\), got \("),
    "two deep": (SLICES(({"a": {"b": X}}, Y)), "dense tensors, .* one level deep"),
    "ragged": (
        SLICES((tf.ragged.constant([[1], [2, 3]]), [0, 1])),
        r"must have dense tensors, got Ragged.*\.to_tensor",
    ),
    "sparse": (SLICES((tf.sparse.eye(8), Y)), "dense tensors, got SparseTensorSpec.*SciPy's"),
    "of unknown rank": (
        tf.data.Dataset.from_generator(
            lambda: iter([(X[0], 0)]), output_types=(tf.float32, tf.int64)
        ),
        "must say how many dimensions",
    ),
    "of two lengths": (
        tf.data.Dataset.from_generator(
            lambda: iter([([1.0], 0), ([1.0, 2.0], 1)]),
            output_signature=(tf.TensorSpec([None]), tf.TensorSpec([], tf.int64)),
        ),
        r"rows of one shape, got \(1,\) and \(2,\): pad or resize",
    ),
    "padded to two lengths": (
        ROWS.map(lambda x, y: (x[: y + 1], y)).padded_batch(3).take(1).concatenate(
            ROWS.map(lambda x, y: (x[:1], y)).padded_batch(3)
        ),
        r"rows of one shape, got \(1,\) and \(2,\)",
    ),
    "one-hot, of no fixed length": (
        tf.data.Dataset.from_generator(
            lambda: iter([([1.0, 2.0], [0, 1, 0])]),
            output_signature=(tf.TensorSpec([None]), tf.TensorSpec([3], tf.int64)),
        ),
        r"as many rows in each part of a batch, got shapes \(2,\), \(3,\)",
    ),
    "shuffled": (ROWS.shuffle(8), r"the same rows in the same order .* leave \.shuffle\(\)"),
    "augmented": (
        ROWS.map(lambda x, y: (x + tf.random.normal(x.shape), y)),
        "the same rows in the same order .* random augmentation out",
    ),
    "failing": (ROWS.map(failing), "raised InvalidArgumentError: .*too large"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_rows_is_refused_with_advice(name):
    dataset, says = UNUSABLE[name]
    with pytest.raises(BadInput, match=f"the tf.data.Dataset from load_data.* {says}"):
        load(lambda: dataset)


@pytest.mark.parametrize("dataset", [ROWS.batch(4), ROWS.repeat(9).filter(lambda x, y: True)])
def test_what_does_not_fit_in_memory_is_refused_before_it_is_all_read(dataset, monkeypatch):
    free_mb = 100 / 2**20  # 5 rows and a bit, at 20 bytes
    monkeypatch.setattr("pipeline.tf_data.free_memory_mb", lambda: free_mb / 0.4)
    read = []

    def counted(x, y):
        read.append(1)
        return x, y

    watched = dataset.map(lambda x, y: tf.py_function(counted, [x, y], [tf.float32, tf.int64]))
    watched = watched.map(
        lambda x, y: tuple(
            tf.ensure_shape(part, spec.shape)
            for part, spec in zip((x, y), dataset.element_spec, strict=True)
        )
    )
    with pytest.raises(BadInput, match=r"must fit in 40% of the free memory, 100 B, .* got 1\d\d"):
        load(lambda: watched)
    assert len(read) < 40


def test_threads_are_set_before_a_loader_runs_tensorflow():
    """They cannot be afterwards; the second worker's are not TensorFlow's own number."""
    code = """
import keras, numpy as np, tensorflow as tf
from pipeline import StudySpec
from pipeline.machine import Share
from pipeline.question import pose

def load_data():
    x = tf.random.stateless_normal([40, 2], [1, 2])
    return tf.data.Dataset.from_tensor_slices((x, tf.cast(x[:, 0] > 0, tf.int32))).batch(7)

def build_model(params):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    return model

spec = StudySpec(
    load_data=load_data, build_model=build_model, space={"learning_rate": 0.1, "max_epochs": 2}
)
rows = pose(spec, share=Share(threads=1)).rows
print(rows, tf.config.threading.get_intra_op_parallelism_threads())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "40 rows, 5 fold(s) of 32 training rows 1", done.stderr
