"""What is no table, or no arrays, is refused in one sentence."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest

from pipeline.data_file.reading import class_numbers, read_arrays, read_table
from pipeline.errors import BadInput
from tests.data_file.tables import table, write


def read(tmp_path, content: bytes | str, name: str = "data.csv"):
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(name, project_of=tmp_path / "study.py")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "data.csv must have rows, got an empty file"),
        ("\n\n", "must have rows, got blank lines alone"),
        ("a,b\n", "must have rows, got a header alone"),
        ("a,b\n1,2\n\n1,2,3\n", "must have 2 fields in every row, .* got 3 in line 4"),
        ("a,b\n1,2\n1\n", "must have 2 fields in every row, .* got 1 in line 3"),
        ("a,b,a\n1,2,3\n", "must name each column once, got 'a' twice"),
        ("1,2\n3,4\n", "must name its columns in its first line, got numbers"),
        (b"a,b\n\xff\xfe,2\n", "must be UTF-8 text"),
        ('a,b\n"1,2\n', "must have 2 fields|cannot be read as CSV"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, says):
    with pytest.raises(BadInput, match=says):
        read(tmp_path, content)


def test_a_missing_file_names_where_it_was_looked_for(tmp_path):
    with pytest.raises(BadInput, match=r"'none\.csv' does not exist \(looked for .*none\.csv\)"):
        read_table("none.csv", project_of=tmp_path / "study.py")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_says_which_delimiter(tmp_path, delimiter):
    text = f"\ufeffa{delimiter}b\n1{delimiter}x y\n".replace("\n", "\r\n")
    frame = read(tmp_path, text)
    assert frame.to_dict("list") == {"a": [1], "b": ["x y"]}


def test_parquet_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"data\.parquet cannot be read as parquet: "):
        read(tmp_path, b"PAR1 but not really", "data.parquet")


def test_parquet_is_read_as_csv_is(tmp_path):
    places = [write(tmp_path, table(), name) for name in ("data.csv", "data.parquet")]
    csv, parquet = (read_table(place, project_of=tmp_path / "study.py") for place in places)
    pd.testing.assert_frame_equal(csv, parquet)


def test_kinds_of_number_that_only_parquet_has_become_plain(tmp_path):
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "whole": pd.array([1, 2, 3], dtype="Int8"),
            "switch": pd.array([True, None, False], dtype="boolean"),
            "price": [decimal.Decimal("1.5"), None, decimal.Decimal(2)],
            "day": [datetime.date(2020, 1, 1), None, datetime.date(2020, 1, 2)],
            "kind": pd.Categorical(["a", None, "b"]),
        }
    )
    read = read_table(write(tmp_path, frame, "data.parquet"), project_of=tmp_path / "study.py")
    kinds = {name: dtype.kind for name, dtype in read.dtypes.items()}
    assert kinds == {
        "nullable": "f", "whole": "i", "switch": "f", "price": "f", "day": "M", "kind": "O"
    }  # fmt: skip
    assert read["switch"].tolist()[::2] == [1.0, 0.0]


def arrays(tmp_path, **named):
    np.savez(tmp_path / "data.npz", **named)
    return read_arrays("data.npz", project_of=tmp_path / "study.py")


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"images": np.zeros(3)}, "must have the arrays x and y, got images; without x and y"),
        ({"x": np.zeros(3)}, "without y"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, r"as many rows .* got x \(3, 2\), y \(2,\)"),
        ({"x": np.zeros(()), "y": np.zeros(2)}, "as many rows in x as in y"),
        ({"x": np.zeros((2, 1)), "y": np.array(["a", {}], dtype=object)}, "plain arrays .objects,"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(tmp_path, named, says):
    with pytest.raises(BadInput, match=says):
        arrays(tmp_path, **named)


@pytest.mark.parametrize("content", [b"not a zip", b"PK\x03\x04 torn"])
def test_a_torn_npz_is_refused(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(BadInput, match=r"data\.npz must be an \.npz file"):
        read_arrays("data.npz", project_of=tmp_path / "study.py")


def test_a_pickle_is_not_run(tmp_path):
    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "was_run"), "w"))

    with pytest.raises(BadInput, match="objects, which only pickle can hold, are not read"):
        arrays(tmp_path, x=np.zeros((2, 1)), y=np.array([Runs(), Runs()], dtype=object))
    (tmp_path / "data.npz").write_bytes(b"")
    assert not (tmp_path / "was_run").exists()


def test_a_class_that_the_study_does_not_know_is_named():
    assert class_numbers(["b", "a"], ["a", "b"]).tolist() == [1, 0]
    assert class_numbers(np.array([1.0, 0.0]), [0, 1]).tolist() == [1, 0]
    with pytest.raises(BadInput, match="one of 'a', 'b', got 'c' in row 1"):
        class_numbers(["a", "c"], ["a", "b"])
