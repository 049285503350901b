"""Data files → tables and arrays, checked. Nothing that is read is ever run or unpickled.

Study files that were written for a data file read it with these functions.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.study_file import located

TABLES = (".csv", ".parquet")
ARRAYS = (".npz",)
DELIMITERS = ",;\t|"


def read_table(path: str | Path, *, project_of: str | Path) -> Any:
    """Return a `.csv` or `.parquet` file as a pandas frame, one row a line, columns by name.

    Columns are numbers, booleans, dates, or texts with NaN where there is none; what a column holds
    besides is refused later, by name. A CSV file is UTF-8, and its delimiter one of , ; | and tab.
    project_of: a study file; a relative path begins at the project that holds it
    Raises BadInput when there is no such file, or it is no table with names and rows.
    """
    file = _with_content(path, project_of)
    frame = _parquet(file) if file.suffix.lower() == ".parquet" else _csv(file)
    if not len(frame):
        raise BadInput(f"{file.name} must have rows, got a header alone")
    return frame.apply(plain) if len(frame.columns) else frame


def read_arrays(path: str | Path, *, project_of: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file, `x` and `y` among them.

    project_of: a study file; a relative path begins at the project that holds it
    Raises BadInput when there is no such file, or it has no x and y of as many rows.
    """
    file = _with_content(path, project_of)
    try:
        with np.load(file, allow_pickle=False) as opened:
            if not isinstance(opened, np.lib.npyio.NpzFile):
                raise BadInput(f"{file.name} must hold arrays by name, as np.savez writes them")
            names = list(opened)
            if missing := [name for name in ("x", "y") if name not in names]:
                raise BadInput(
                    f"{file.name} must have the arrays x and y, got {', '.join(names) or 'none'}; "
                    f"without {' and '.join(missing)}: np.savez(file, x=…, y=…)"
                )
            arrays = {name: opened[name] for name in names}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(
            f"{file.name} must be an .npz file of plain arrays (objects, which only pickle can "
            f"hold, are not read): {_first_line(error)}"
        ) from error
    x, y = arrays["x"], arrays["y"]
    if min(x.ndim, y.ndim) == 0 or len(x) != len(y):
        raise BadInput(
            f"{file.name} must have as many rows in x as in y, got x {x.shape}, y {y.shape}"
        )
    return arrays


def class_numbers(values: Any, classes: Sequence[Any]) -> np.ndarray:
    """Return each value's place in `classes`, [n_rows] int64.

    Raises BadInput for a value that is none of them: the data are no longer those of the study.
    """
    numbers = {each: number for number, each in enumerate(classes)}
    found = [numbers.get(value, -1) for value in np.asarray(values).tolist()]
    if -1 in found:
        row = found.index(-1)
        raise BadInput(
            f"the target must be one of {', '.join(map(repr, classes))}, got "
            f"{np.asarray(values).tolist()[row]!r} in row {row}: write the study anew for this data"
        )
    return np.array(found, dtype=np.int64)


def _with_content(path: str | Path, project_of: str | Path) -> Path:
    file = located(path, project_of, "data")
    if not file.stat().st_size:
        raise BadInput(f"{file.name} must have rows, got an empty file")
    return file


def _parquet(file: Path) -> Any:
    import pandas as pd
    import pyarrow

    try:
        frame = pd.read_parquet(file, engine="pyarrow")
    except (OSError, ValueError, NotImplementedError, pyarrow.ArrowException) as error:
        raise BadInput(f"{file.name} cannot be read as parquet: {_first_line(error)}") from error
    frame.columns = [str(name) for name in frame.columns]
    frame = frame.reset_index(drop=frame.index.name is None)
    _refuse_twice(file, list(frame.columns))
    return frame


def _csv(file: Path) -> Any:
    import pandas as pd

    try:
        delimiter = _delimiter(file)
        _check_lines(file, delimiter)
        frame = pd.read_csv(
            file, sep=delimiter, encoding="utf-8-sig", index_col=False, low_memory=False,
            skip_blank_lines=True,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise BadInput(f"{file.name} must be UTF-8 text: {error}") from error
    except (OSError, ValueError, csv.Error) as error:  # pandas' ParserError is a ValueError
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{file.name} cannot be read as CSV: {_first_line(error)}") from error
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _delimiter(file: Path) -> str:
    """Return the delimiter that is most frequent in the header."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        header = next((line for line in lines if line.strip()), "")
    return max(DELIMITERS, key=header.count)


def _check_lines(file: Path, delimiter: str) -> None:
    """Refuse rows with more or fewer fields than there are names: pandas would fill them up."""
    rows = _rows(file, delimiter)
    _, header = next(rows, (1, []))
    if not header:
        raise BadInput(f"{file.name} must have rows, got blank lines alone")
    if all(_is_number(name) for name in header):
        raise BadInput(
            f"{file.name} must name its columns in its first line, got numbers: "
            f"{delimiter.join(header[:5])!r}"
        )
    _refuse_twice(file, [name for name in header if name])
    for line, row in rows:
        if len(row) != len(header):
            raise BadInput(
                f"{file.name} must have {len(header)} fields in every row, as its header has, got "
                f"{len(row)} in line {line}"
            )


def _rows(file: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields), blank lines left out, as pandas leaves them out."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter=delimiter)
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield reader.line_num, row


def _refuse_twice(file: Path, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(
            f"{file.name} must name each column once, got {', '.join(map(repr, twice))} twice"
        )


def plain(column: Any) -> Any:
    """Return a column as NumPy's numbers, booleans and dates, or as Python texts and NaN."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    present = column.dropna()
    first = present.iloc[0] if len(present) else None
    if isinstance(first, datetime.date):
        return pd.to_datetime(column, errors="coerce")
    if pd.api.types.is_bool_dtype(column) and not column.hasnans:
        return column.astype(bool)
    if pd.api.types.is_numeric_dtype(column):
        plain = getattr(column.dtype, "numpy_dtype", column.dtype)  # of pandas' own kinds of number
        return column.astype(float if column.hasnans else plain)
    if first is None or all(isinstance(each, bool | decimal.Decimal) for each in present):
        return column.astype(float)
    return column.astype(object).where(column.notna(), np.nan)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
