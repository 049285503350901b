"""Pictures of a search: the best trial's learning curves, and learning rate against epochs."""

from __future__ import annotations

from pathlib import Path

from pipeline.plots.learning_curves import plot_curves
from pipeline.plots.map import plot_map
from pipeline.plots.range_test import plot_range
from pipeline.results import StudyResult


def draw(result: StudyResult, folder: Path) -> list[Path]:
    """Draw `curves.png` and, where several learning rates were tried, `map.png` into a folder."""
    epochs = result.evidence.equivalent_epochs
    pictures = [
        plot_curves(result, folder / "curves.png", equivalent_epochs=epochs),
        plot_map(result, folder / "map.png"),
    ]
    return [picture for picture in pictures if picture is not None]


__all__ = ["draw", "plot_curves", "plot_map", "plot_range"]
