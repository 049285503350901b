"""The rows of a data file, read as the study that is written for it reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.data import Dataset
from pipeline.data_file.asked import Asked
from pipeline.data_file.columns import is_date
from pipeline.data_file.images import images_in, read_images, shape_for
from pipeline.data_file.reading import class_numbers, plain, read_arrays, read_table
from pipeline.data_file.saved import SavedModel
from pipeline.data_file.target import Target, target_of
from pipeline.errors import BadInput, unknown_name
from pipeline.set_aside import set_test_rows_aside


@dataclass(frozen=True, eq=False)
class Rows:
    """What is in a file, or a folder of images.

    features: a frame of the columns that may be learned from, the array x, or the images
    targets: a frame of them, one value in every row
    target: what they are
    groups: [n_rows] or None
    n_without_target: rows left out since their target is missing
    ordered_by: what the rows were ordered by, "dates" or "numbers"; None where they were not
    told: how images were read, in words
    """

    features: Any
    targets: Any
    target: Target
    groups: np.ndarray | None = None
    n_without_target: int = 0
    ordered_by: Literal["dates", "numbers"] | None = None
    told: str = ""

    @property
    def is_image(self) -> bool:
        """Whether a row is an image."""
        return self.features.ndim > 2

    @property
    def y(self) -> np.ndarray:
        """The targets as the model meets them."""
        if self.target.task == "classification":
            return class_numbers(self.targets.iloc[:, 0], self.target.classes)
        y = self.targets.to_numpy(dtype=int if self.target.task == "labels" else float)
        return y if len(self.target.names) > 1 else y[:, 0]

    def development(self, test_size: float, seed: int) -> np.ndarray:
        """Return the numbers of the rows that are not set aside."""
        from sklearn.model_selection import TimeSeriesSplit

        splitter = None if self.ordered_by is None else TimeSeriesSplit()
        numbered = Dataset(np.arange(len(self.targets))[:, np.newaxis], self.y, groups=self.groups)
        return set_test_rows_aside(numbered, test_size, seed, splitter)[0].x[:, 0]


def rows_of(asked: Asked, project_of: Path, model: SavedModel | None) -> Rows:
    """Read the file or folder. Raises BadInput for what it lacks or cannot be learned from.

    model: the saved model that is searched, if any: images are read in the size that it takes
    """
    if asked.is_images:
        return _of_images(asked, project_of, model)
    return _of_arrays(asked, project_of) if asked.is_arrays else _of_table(asked, project_of)


def _of_table(asked: Asked, project_of: Path) -> Rows:
    import pandas as pd

    table = read_table(asked.file.absolute(), project_of=project_of)
    roles = [*asked.targets, *filter(None, (asked.groups, asked.time)), *asked.drop]
    for name in roles:
        if name not in table.columns:
            raise unknown_name("column", name, map(str, table.columns))
    whole = table.dropna(subset=list(asked.targets))
    if not len(whole):
        raise BadInput(f"target {', '.join(map(repr, asked.targets))} must have values, got none")
    ordered_by: Literal["dates", "numbers"] | None = None
    if asked.time is not None:
        times = whole[asked.time]
        ordered_by = "dates" if is_date(times) else "numbers"
        _refuse_gaps(times, "--time")
        if ordered_by == "numbers" and times.dtype.kind not in "iuf":
            raise BadInput(f"--time must be a column of dates or numbers, got {asked.time!r}")
        try:
            key = pd.to_datetime if ordered_by == "dates" else None
            whole = whole.sort_values(asked.time, key=key, kind="stable")
        except (ValueError, TypeError) as error:
            raise BadInput(f"--time must be a column of dates or numbers: {error}") from error
    groups = None
    if asked.groups is not None:
        _refuse_gaps(whole[asked.groups], "--groups")
        groups = whole[asked.groups].to_numpy()
    targets = whole[list(asked.targets)]
    return Rows(
        features=whole.drop(columns=roles),
        targets=targets,
        target=target_of(targets, asked.task),
        groups=groups,
        n_without_target=len(table) - len(whole),
        ordered_by=ordered_by,
    )


def _of_images(asked: Asked, project_of: Path, model: SavedModel | None) -> Rows:
    import pandas as pd

    found = images_in(asked.file.resolve())
    size, channels = asked.image_size, None
    if model is not None and len(model.input_shape) == 3:
        height, width, channels = model.input_shape
        size = size or (None if height is None or width is None else (height, width))
    shape, told = shape_for(found, size, channels, project_of=project_of)
    x, names = read_images(asked.file.resolve(), shape, project_of=project_of)
    targets = pd.DataFrame({"folder": names.astype(object)})
    return Rows(x, targets, target_of(targets, None), told=told)


def _of_arrays(asked: Asked, project_of: Path) -> Rows:
    import pandas as pd

    arrays = read_arrays(asked.file.absolute(), project_of=project_of)
    x, y = arrays["x"], arrays["y"]
    if x.dtype.kind not in "fiub":
        raise BadInput(f"x must be numbers, got {x.dtype}")
    is_image = x.ndim in (3, 4)
    if not is_image and x.ndim != 2:
        raise BadInput(
            f"x must be rows × features, or images (rows × height × width [× channels]), got shape "
            f"{x.shape}"
        )
    if is_image and min(x.shape[1:3]) < 4:
        raise BadInput(f"images must be 4 × 4 or larger, got shape {x.shape}")
    n_bad = int((~np.isfinite(x) if is_image else np.isinf(x)).sum())
    if n_bad:
        allowed = "finite" if is_image else "finite, or NaN where it is missing"
        raise BadInput(f"x must be {allowed}, got {n_bad} other value(s)")
    if y.ndim > 2:
        raise BadInput(f"y must be [n_rows] or [n_rows, n_targets], got shape {y.shape}")
    columns = y[:, np.newaxis] if y.ndim == 1 else y
    if columns.dtype.kind == "f" and np.isnan(columns).any():
        raise BadInput(f"y must be known in every row, got {int(np.isnan(columns).sum())} NaN")
    names = ["y"] if columns.shape[1] == 1 else [f"y[{i}]" for i in range(columns.shape[1])]
    targets = pd.DataFrame(columns, columns=names).apply(plain)
    groups = None
    if asked.groups is not None:
        if asked.groups not in arrays:
            raise unknown_name("array", asked.groups, arrays)
        groups = arrays[asked.groups]
    return Rows(x, targets, target_of(targets, asked.task), groups)


def _refuse_gaps(values: Any, option: str) -> None:
    if values.isna().any():
        raise BadInput(
            f"{option} must have a value in every row, got {int(values.isna().sum())} missing in "
            f"{str(values.name)!r}"
        )
