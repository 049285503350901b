"""Rows of mapped files and of sparse matrices are the array's, and are not copied to be checked."""

import tracemalloc

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from scipy import sparse

from pipeline import lazy_rows
from pipeline.data import Dataset, load, take_rows, with_validation_set
from pipeline.errors import BadInput
from pipeline.folds import Fold, split
from pipeline.lazy_rows import LazyRows, as_rows, dense, joined, made_dense_later, mapped
from pipeline.preprocessing import model_input, preprocessed
from pipeline.set_aside import set_test_rows_aside

Y = np.arange(12) % 2
X = np.random.default_rng(0).normal(size=(12, 3))


def in_file(path, array) -> np.ndarray:
    np.save(path / "x.npy", array)
    return np.load(path / "x.npy", mmap_mode="r")


arrays = of_numpy.arrays(
    st.sampled_from([np.uint8, np.int64, np.float32, np.float64]),
    of_numpy.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7),
    elements=st.integers(0, 9),
)


@given(arrays, st.data())
def test_lazy_rows_are_the_arrays_rows_however_often_they_are_chosen(array, data):
    """Of the array, of it as a sparse matrix, and of two halves that are joined again."""
    cut = data.draw(st.integers(0, len(array)))
    kinds = [mapped(array), joined(mapped(array[:cut]), array[cut:])]
    if array.ndim == 2:
        kinds.append(made_dense_later(sparse.csr_array(array)))
    some = st.lists(st.integers(0, len(array) - 1), min_size=1, max_size=9)
    for kind in kinds:
        lazy, expected = kind.as_model_takes(), model_input(array)
        for _ in range(2):
            rows = np.array(data.draw(some)) % len(lazy)
            lazy, expected = lazy[rows], expected[rows]
            assert (lazy.shape, lazy.dtype, lazy.nbytes) == (
                expected.shape, expected.dtype, expected.nbytes,
            )  # fmt: skip
            np.testing.assert_array_equal(np.asarray(lazy), expected)
        np.testing.assert_array_equal(np.concatenate([*lazy.blocks()]), expected)


@given(arrays, st.integers(1, 64))
def test_blocks_are_all_rows_in_order(array, n_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_rows, "BLOCK_BYTES", n_bytes)
        blocks = [*mapped(array).blocks()]
    np.testing.assert_array_equal(np.concatenate(blocks), array)
    assert all(len(block) == 1 or block.nbytes <= n_bytes for block in blocks)


@pytest.mark.parametrize(
    "keep",
    [lambda m: m, lambda m: m[:, :2], np.asarray, lambda m: m[::2][::-1], lambda m: m.T.T],
    ids=["whole", "columns", "as an array", "backwards", "transposed twice"],
)
def test_views_of_a_mapped_file_stay_in_it(tmp_path, keep):
    view = keep(in_file(tmp_path, X))
    kept = as_rows("X", view)
    assert isinstance(kept, LazyRows)
    np.testing.assert_array_equal(np.asarray(kept), view)


@pytest.mark.parametrize("copy", [np.array, lambda m: m[[0, 1]], lambda m: m * 2])
def test_what_was_read_of_a_mapped_file_is_an_array(tmp_path, copy):
    assert isinstance(as_rows("X", copy(in_file(tmp_path, X))), np.ndarray)


def test_a_mapped_file_is_the_same_data_as_its_array(tmp_path):
    lazy, array = Dataset(in_file(tmp_path, X), Y), Dataset(X, Y)
    assert lazy.fingerprint == array.fingerprint
    rows = np.array([7, 2, 2])
    assert lazy.take(rows).fingerprint == array.take(rows).fingerprint
    assert isinstance(lazy.take(rows).x, LazyRows)
    joined = with_validation_set(lazy, array)
    assert isinstance(joined.x, LazyRows)
    assert joined.fingerprint == with_validation_set(array, array).fingerprint


def test_nothing_of_a_mapped_file_is_copied_whole_before_training(tmp_path, monkeypatch):
    """Loading, setting rows aside, splitting, fingerprint, the check for NaN: in blocks."""
    monkeypatch.setattr(lazy_rows, "BLOCK_BYTES", 2**20)
    big = in_file(tmp_path, np.ones((2_000, 2_000), np.float64))  # 32 MB
    set_test_rows_aside(Dataset(X, Y), 0.2, seed=0)  # loads scikit-learn
    tracemalloc.start()
    data = load(lambda: (big, np.arange(2_000) % 2))
    development, test = set_test_rows_aside(data, 0.2, seed=0)
    folds = split(development, None, seed=0)
    assert test is not None
    _ = data.fingerprint, test.fingerprint
    x, _ = preprocessed(development, folds[0], None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(x, LazyRows)
    assert x.dtype == np.float32
    assert peak < 8 * 2**20


def test_a_transformer_is_given_the_rows_of_a_mapped_file(tmp_path):
    from sklearn.preprocessing import StandardScaler

    fold = Fold(0, np.arange(8), np.arange(8, 12))
    of_file, _ = preprocessed(Dataset(in_file(tmp_path, X), Y), fold, StandardScaler())
    of_array, _ = preprocessed(Dataset(X, Y), fold, StandardScaler())
    np.testing.assert_array_equal(of_file, of_array)


def test_a_splitter_of_the_users_own_is_given_an_array(tmp_path):
    class Own:
        def split(self, x, y, groups):
            yield np.flatnonzero(x[:, 0] < 0), np.flatnonzero(x[:, 0] >= 0)

    (fold,) = split(Dataset(in_file(tmp_path, X), Y), Own(), seed=0)
    np.testing.assert_array_equal(fold.train, np.flatnonzero(X[:, 0] < 0))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.where(X > 1, np.nan, X), r"X must be finite, got 3 NaN .* first in row 2"),
        (np.where(np.arange(12)[:, None] == 7, 1e300, X), "got 3 NaN or infinite .* in row 7"),
        (X.astype(complex), "X must be numbers, got dtype complex128 .the first value is .*j"),
        (X.astype("U8"), "X must be numbers, got dtype <U8"),
    ],
)
def test_a_mapped_file_of_wrong_values_is_refused(tmp_path, monkeypatch, array, says):
    monkeypatch.setattr(lazy_rows, "BLOCK_BYTES", 40)  # a row or two at once
    with pytest.raises(BadInput, match=says):
        model_input(as_rows("X", in_file(tmp_path, array)))


# --- sparse matrices ---


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "lil", "dok"])
def test_every_sparse_format_is_the_same_data(kind):
    few = np.where(X > 0, X, 0)
    wide = sparse.csr_array(few)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    prints = {Dataset(each, Y).fingerprint for each in (wide, sparse.csr_array(few).asformat(kind))}
    assert len(prints) == 1
    assert Dataset(sparse.csr_array(-few), Y).fingerprint not in prints


def test_duplicate_entries_are_added_and_the_users_matrix_is_left_alone():
    twice = sparse.csr_array((np.ones(3), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    kept = as_rows("X", twice)
    assert kept.toarray().tolist() == [[0, 2], [1, 0]]
    assert twice.nnz == 3


def test_a_transformer_is_given_the_sparse_rows_and_may_return_such():
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = sparse.csr_matrix(np.random.default_rng(0).integers(0, 3, (12, 5)))
    fold = Fold(0, np.arange(8), np.arange(8, 12))
    x, fitted = preprocessed(Dataset(counts, Y), fold, TfidfTransformer())
    expected = TfidfTransformer().fit(counts[:8]).transform(counts).toarray()
    assert isinstance(x, LazyRows)
    np.testing.assert_array_equal(np.asarray(x), expected.astype(np.float32))
    np.testing.assert_array_equal(fitted.idf_, TfidfTransformer().fit(counts[:8]).idf_)


def test_sparse_rows_are_taken_and_joined_sparse():
    few = sparse.csr_array(np.where(X > 0, X, 0))
    taken = take_rows(few, np.array([3, 0]))
    assert sparse.issparse(taken)
    joined = with_validation_set(Dataset(few, Y), Dataset(few[:2], Y[:2]))
    np.testing.assert_array_equal(dense(joined.x)[12:], few[:2].toarray())
    with pytest.raises(BadInput, match="sparse in both the training and the validation set or"):
        with_validation_set(Dataset(few, Y), Dataset(X, Y))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_sparse_matrix_must_be_finite(value):
    matrix = sparse.lil_array(np.tri(12))
    matrix[7, 3] = value
    with pytest.raises(BadInput, match=r"X must be finite, got 1 NaN .* the first in row 7"):
        model_input(Dataset(matrix, Y).x)


def test_a_sparse_part_stands_beside_others():
    data = Dataset({"words": sparse.csr_array(X), "table": X}, Y).take(np.array([2, 0]))
    x, _ = preprocessed(data, Fold(0, np.array([0]), np.array([1])), None)
    np.testing.assert_array_equal(np.asarray(x["words"]), x["table"])


# --- frames of other libraries ---


def frames():
    polars = pytest.importorskip("polars")
    table = {"a": [1.5, None, 2.0], "b": ["u", "v", "u"], "c": [1, 2, 3]}
    return [pd.DataFrame(table), polars.DataFrame(table), pyarrow.table(table)], polars


def test_every_librarys_frame_is_the_same_data():
    """Numbers, gaps and texts, by their names, as `preprocess` gets them."""
    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder

    kinds, _ = frames()
    several = [Dataset(frame, [0, 1, 0]) for frame in kinds]
    assert len({data.fingerprint for data in several}) == 1
    preprocess = make_column_transformer((OneHotEncoder(), ["b"]), ("passthrough", ["c"]))
    for data in several:
        x, _ = preprocessed(data, Fold(0, np.array([0, 1]), np.array([2])), preprocess)
        assert x.tolist() == [[1, 0, 1], [0, 1, 2], [1, 0, 3]]


@pytest.mark.parametrize(
    "of_pandas", [{}, {"dtype": "Int64"}, {"dtype": "int64[pyarrow]"}, {"index": [9, 5, 7]}]
)
def test_a_column_of_any_library_is_labels(of_pandas):
    _, polars = frames()
    for column in (pd.Series([0, 1, 0], **of_pandas), polars.Series([0, 1, 0])):
        data = Dataset(X[:3], column)
        assert (data.y.tolist(), data.y.dtype.kind) == ([0, 1, 0], "i")


def test_labels_with_gaps_are_refused_whatever_the_library():
    _, polars = frames()
    for column in (pd.Series([0, 1, None], dtype="Int64"), polars.Series([0, 1, None])):
        with pytest.raises(BadInput, match="y must be"):
            Dataset(X[:3], column)


def test_several_columns_of_labels_are_parts_or_a_matrix():
    _, polars = frames()
    column = polars.Series([0, 1, 0])
    assert isinstance(Dataset(X[:3], (column, column)).y, tuple)
    assert Dataset(X[:3], polars.DataFrame({"a": column, "b": column})).y.shape == (3, 2)
