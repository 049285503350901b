"""Data files to search, and the studies that are written for them, without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.cli import search_options
from pipeline.data_file.asked import Asked
from pipeline.data_file.writing import study_for
from pipeline.spec import StudySpec
from pipeline.study_file import load_study


def table(n_rows: int = 60, **columns: Any) -> pd.DataFrame:
    """Return numbers, gaps, categories and a class that they tell, with columns changed."""
    random = np.random.default_rng(0)
    size = random.normal(50, 20, n_rows)
    colour = random.choice(["red", "green", "blue"], n_rows).astype(object)
    label = np.where(size + 10 * (colour == "red") > 52, "yes", "no")
    size[::7] = np.nan
    colour[::11] = None
    frame = pd.DataFrame(
        {"size": size, "colour": colour, "count": random.integers(0, 9, n_rows), "label": label}
    )
    return frame.assign(**columns)


def notes(n_rows: int = 60) -> pd.DataFrame:
    """Return texts, one of them missing, and a class that they tell."""
    random = np.random.default_rng(0)
    words = ["good", "great", "fine", "bad", "poor", "weak", "film", "play", "the", "a", "of"]
    said = [" ".join(random.choice(words, random.integers(4, 9))) for _ in range(n_rows)]
    label = ["yes" if sum(text.count(word) for word in words[:3]) > 1 else "no" for text in said]
    return pd.DataFrame(
        {"id": range(n_rows), "said": [None, *(f"{text} {i}" for i, text in enumerate(said[1:]))],
         "label": label}
    )  # fmt: skip


def write(folder: Path, frame: pd.DataFrame, name: str = "data.csv") -> Path:
    path = folder / name
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path


def text_for(data: Path, *arguments: str) -> str:
    """Return the study that the command would write, beside the data."""
    options = search_options([str(data), *arguments])
    asked = Asked.of(options)
    assert asked is not None
    return study_for(asked, options, data.parent / "study.py").text


def spec_for(data: Path, *arguments: str) -> StudySpec:
    """Return the study that the command would search."""
    path = data.parent / "study.py"
    path.write_text(text_for(data, *arguments), encoding="utf-8")
    return load_study(path)
