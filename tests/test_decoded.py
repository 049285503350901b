"""Files are decoded once, kept, and checked before anything is trained."""

import functools
import os
import threading

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from pipeline import decoded
from pipeline.data import Dataset
from pipeline.decoded import CACHE, read_files, remove, to_go
from pipeline.errors import AnotherRunActive, BadInput, StoreUnavailable
from pipeline.lazy_rows import LazyRows
from pipeline.study_file import source_of

MODULE = (
    "import numpy as np\nSCALE = {scale}\ndef decode(path):\n    return np.load(path) * SCALE\n"
)
CALLS: list[str] = []


def decode(path):
    CALLS.append(path.name)
    return np.load(path)


@pytest.fixture
def project(tmp_path):
    CALLS.clear()
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", np.full((2, 3), number / 2))
        os.utime(tmp_path / f"{number}.npy", (1, 1))  # as a copied folder may have them
    return tmp_path


def files(project):
    return sorted(path.name for path in project.glob("*.npy"))


def read(project, paths=None, function=decode):
    names = files(project) if paths is None else paths
    return read_files(names, function, project_of=project / "study.py")


def test_files_become_one_mapped_array_in_their_order(project):
    rows = read(project, ["3.npy", "0.npy"])
    np.testing.assert_array_equal(rows, [np.full((2, 3), 1.5), np.zeros((2, 3))])
    assert rows.dtype == np.float32
    assert isinstance(Dataset(rows, [0, 1]).x, LazyRows)


@settings(max_examples=15, deadline=None)
@given(
    of_numpy.arrays(
        st.sampled_from([np.bool_, np.uint8, np.int64, np.float16, np.float64]),
        of_numpy.array_shapes(max_dims=3, max_side=3),
        elements=st.integers(0, 1),
    ),
    st.integers(1, 4),
)
def test_whatever_numbers_a_file_holds_are_kept(tmp_path_factory, array, n_files):
    project = tmp_path_factory.mktemp("numbers")
    for number in range(n_files):
        np.save(project / f"{number}.npy", array)
    rows = read(project)
    np.testing.assert_array_equal(rows, [array] * n_files)
    assert rows.dtype == (np.float32 if array.dtype.kind == "f" else array.dtype)


def test_a_second_run_decodes_nothing(project):
    first = read(project)
    CALLS.clear()
    np.testing.assert_array_equal(read(project), first)
    assert CALLS == []
    assert len([*(project / CACHE).glob("study-decode-*.npy")]) == 1


@pytest.mark.parametrize("change", ["content", "time", "order", "code", "argument"])
def test_what_has_changed_is_decoded_again(project, change):
    source = project / "decoding.py"

    def function(scale=1):
        source.write_text(MODULE.format(scale=scale))
        names: dict = {}
        exec(compile(source.read_text(), str(source), "exec"), names)
        return names["decode"]

    before = read(project, function=function())
    paths, changed = files(project), function(2 if change == "code" else 1)
    if change == "content":
        np.save(project / "0.npy", np.ones((2, 3)))
    elif change == "time":
        os.utime(project / "0.npy", (0, 0))
    elif change == "order":
        paths = paths[::-1]
    elif change == "argument":
        changed = functools.partial(np.load, mmap_mode="r")
    after = read(project, paths, changed)
    assert len([*(project / CACHE).glob("*.npy")]) == 2
    assert (change in ("time", "argument")) == np.array_equal(before, after)


def test_several_processes_at_once_decode_once(project, monkeypatch):
    """They are threads here; the lock is the kernel's, and tells them apart all the same."""
    known = source_of(decode)  # Python 3.11's parser is not for several threads
    monkeypatch.setattr("pipeline.decoded.source_of", lambda function: known)
    found: list[np.ndarray] = []
    readers = [threading.Thread(target=lambda: found.append(read(project))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(found) == 4
    assert len(CALLS) == 6 + 1  # the first one says of which shape they are


def ragged(path):
    return np.zeros(2 if path.name == "4.npy" else 3)


def of_two_kinds(path):
    return np.zeros(2, np.int64 if path.name == "4.npy" else np.float32)


def broken(path):
    return np.load(path) / 0


def unreadable(path):
    raise OSError(f"truncated after {path.stat().st_size} bytes")


def text(path):
    return path.name


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (ragged, r"1 of 6 file\(s\) cannot be decoded: \S*4\.npy .float32 of shape .2,., where 0"),
        (of_two_kinds, r"1 of 6 .*4\.npy .int64 of shape .2,., where 0\.npy has float32 of .2,."),
        (broken, r"6 of 6 file\(s\) .*0\.npy \(6 NaN or infinite .*4\.npy.* and 1 more"),
        (unreadable, r"0\.npy \(OSError: truncated after \d+ bytes\).* and 1 more"),
        (text, r"0\.npy \(numbers are needed, got <U5\)"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_cannot_be_decoded_is_named_and_nothing_is_kept(project, function, says):
    with pytest.raises(BadInput, match=says):
        read(project, function=function)
    assert [path.name for path in (project / CACHE).iterdir()] in ([], [decoded.LOCK])


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ([], "there must be files to read, got none"),
        ("0.npy", r"paths must be a list of files, got '0\.npy' alone"),
        (["0.npy", "7.npy"], r"1 of 2 file\(s\) cannot be read: \S*7\.npy .FileNotFoundError"),
    ],
)
def test_paths_must_be_files(project, paths, says):
    with pytest.raises(BadInput, match=says):
        read(project, paths)


def test_any_callable_decodes_and_nothing_else(project):
    class Decoder:
        def __call__(self, path):
            return np.load(path)

    for function in (Decoder(), lambda path: np.load(path), functools.partial(decode)):
        assert read(project, function=function).shape == (6, 2, 3)
    with pytest.raises(BadInput, match=r"decode must be a function: path -> array, got 'load'"):
        read(project, function="load")


def test_a_full_disk_ends_before_decoding(project, monkeypatch):
    def full(*of):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded.os, "posix_fallocate", full)
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        read(project)
    assert CALLS == ["0.npy"]
    assert [path.name for path in (project / CACHE).iterdir()] == [decoded.LOCK]


def test_what_has_been_used_last_stays_in_the_cache(project):
    """Of each study's name and function; what a killed process left goes as the arrays do."""
    for size in (1, 2, 3):
        read(project, [f"{number}.npy" for number in range(size)])
    read_files(["0.npy"], decode, project_of=project / "other.py")
    read(project, ["0.npy"], np.load)
    (oldest, middle, newest), (other,), (loaded,) = (
        sorted((project / CACHE).glob(f"{name}-*.npy"), key=lambda path: path.stat().st_size)
        for name in ("study-decode", "other", "study-load")
    )
    left = newest.with_suffix(".npy.tmp")
    left.write_bytes(b"half")
    for age, path in enumerate((left, newest, middle, oldest, other, loaded)):
        os.utime(path, (1e6 - age, 1e6 - age))

    def gone(**limits):
        of = {"keep": 1, "older_than_secs": 0.0, "now_secs": 1e6, **limits}
        return to_go(project, **of)

    assert gone() == [left, oldest, middle]
    assert gone(keep=2) == [left, oldest]
    assert gone(older_than_secs=2.5) == [oldest]
    with FileLock(project / CACHE / decoded.LOCK), pytest.raises(AnotherRunActive):
        remove(gone())
    remove(gone())
    kept = {path.name for path in (project / CACHE).glob("*.npy*")}
    assert kept == {newest.name, other.name, loaded.name}
