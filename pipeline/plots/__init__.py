"""Pictures of a search: the best trial's learning curves, and learning rate against epochs."""

from __future__ import annotations

from pathlib import Path

from pipeline.plots.learning_curves import plot_curves
from pipeline.plots.map import plot_map
from pipeline.plots.range_test import plot_range
from pipeline.results import StudyResult

SMALL_CURVES = "curves_small.png"
"""As wide as a column of text: MLflow shows pictures in descriptions as large as they are."""


def draw(result: StudyResult, folder: Path) -> list[Path]:
    """Draw the curves in two sizes and, where several learning rates were tried, the map.

    folder: gets `curves.png`, `curves_small.png` and `map.png`
    """
    epochs, small = result.evidence.equivalent_epochs, folder / SMALL_CURVES
    pictures = [
        plot_curves(result, folder / "curves.png", equivalent_epochs=epochs, small=small),
        small,
        plot_map(result, folder / "map.png"),
    ]
    return [picture for picture in pictures if picture is not None]


__all__ = ["SMALL_CURVES", "draw", "plot_curves", "plot_map", "plot_range"]
