"""What the pictures show, read from Matplotlib's objects; and that odd studies can be drawn."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure

from pipeline import plots
from pipeline.choice import RULES, Fixed
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.plots import style
from pipeline.plots.strips import within_one_standard_error
from pipeline.results import Evidence, Outcome, StudyResult, TrialResult
from pipeline.spec import StudySpec

LOSS = Objective()
MAXIMIZE = Objective("val_accuracy", "maximize")


def trial(number, learning_rate, mean, *, objective=LOSS, n_folds=3, **fields):
    """Return a trial whose folds lie 0.1 apart about its mean curve, a loss; None: it has none."""
    spread = 0.1 * (np.arange(n_folds) - (n_folds - 1) / 2)[:, np.newaxis]
    curves = training = None
    if mean is not None:
        curves = FoldCurves(objective.as_loss(np.array(mean) + spread), objective)
        training = objective.as_loss(np.array(mean) - 0.5)
    given = {"outcome": Outcome.COMPLETED, "training": training, **fields}
    params = {"learning_rate": learning_rate, "max_epochs": 20}
    return TrialResult(number, params, curves=curves, seconds=1.0, n_updates=1, **given)


def study(*trials, objective=LOSS):
    """Return the answer of a study; the first trial is the best."""
    spec = StudySpec(
        name="named", load_data=lambda: None, build_model=lambda params: params,
        space={"learning_rate": 0.1, "max_epochs": 20}, objective=objective,
    )  # fmt: skip
    best = trials[0]
    choice = spec.rule.choose(best.curves, 20)
    evidence = Evidence((1, 2), None, None, None, None, None, 10)
    return StudyResult(
        spec, "0" * 12, trials, best, choice, evidence, "", 0, 0, None, "", Path("d"), "", ""
    )


@pytest.fixture
def figures(monkeypatch):
    """Return the figures that were saved, in order."""
    made: list[Figure] = []
    save = Figure.savefig

    def kept(figure, *args, **options):
        if figure not in made:
            made.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    return made


def mesh_of(figure) -> Any:
    """Return the map's cells."""
    (mesh,) = (each for each in figure.axes[0].collections if isinstance(each, QuadMesh))
    return mesh


def labels(figure):
    return [text for legend in (*figure.legends, figure.axes[0].get_legend()) if legend
            for text in (each.get_text() for each in legend.get_texts())]  # fmt: skip


MEAN = [3.0, 2.0, 1.0, 2.0, 2.5]


def test_the_curves_show_validation_training_and_the_choice(figures, tmp_path):
    result = study(trial(0, 0.1, MEAN), trial(1, 0.2, [4.0, 3.0]))
    plots.plot_curves(result, tmp_path / "curves.png", equivalent_epochs=(3,))
    (figure,) = figures
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["validation, mean"].get_ydata(), MEAN)
    np.testing.assert_allclose(lines["training, mean"].get_ydata(), np.array(MEAN) - 0.5)
    np.testing.assert_allclose(lines["1 other trial"].get_ydata(), [4.0, 3.0])
    assert (*lines["chosen by rule best"].get_data(),) == ([3], [1.0])
    assert "learning rate 0.1 for 3 epochs" in figure.axes[0].get_title(loc="left")


def test_the_epochs_to_shade_are_the_callers(figures, tmp_path):
    plots.plot_curves(study(trial(0, 0.1, MEAN)), tmp_path / "a.png", equivalent_epochs=(2, 3, 5))
    spans = [(patch.get_x(), patch.get_width()) for patch in figures[0].axes[0].patches]
    assert spans == [(1.5, 1.0), (2.5, 1.0), (4.5, 1.0)]


def test_every_rule_has_a_row_of_its_own(figures, tmp_path):
    result = study(trial(0, 0.1, [2.0, 1.0]))
    plots.plot_curves(result, tmp_path / "a.png", equivalent_epochs=())
    rules = figures[0].axes[1]
    names = [label.get_text() for label in rules.get_yticklabels()]
    assert names == [name for name in RULES if name != Fixed.name]
    assert "no choice on these curves" in [text.get_text() for text in rules.texts]  # grid


def test_no_text_is_cut_and_no_legend_covers_a_curve(figures, tmp_path):
    result = study(trial(0, 0.1, MEAN), trial(1, 0.001, [4.0, 3.0]), trial(2, 1.0, [5.0, 9.0]))
    plots.draw(result, tmp_path)
    for figure in figures:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        for axes in figure.axes:
            for text in (axes.title, axes._left_title, *axes.texts, *axes.get_yticklabels()):
                box = text.get_window_extent(renderer)
                assert figure.bbox.padded(1).contains(box.x0, box.y0), text
                assert figure.bbox.padded(1).contains(box.x1, box.y1), text
        legend = figure.axes[0].get_legend() or figure.legends[0]
        drawn_on = figure.axes[0].get_window_extent(renderer)
        assert not legend.get_window_extent(renderer).overlaps(drawn_on)


def test_a_diverging_trial_flattens_no_other(figures, tmp_path):
    result = study(trial(0, 0.1, MEAN), trial(1, 0.2, [1e9] * 3))
    plots.draw(result, tmp_path)
    curves, chart = figures
    assert curves.axes[0].get_ylim()[1] < 10
    low, _ = mesh_of(chart).get_clim()
    assert low == pytest.approx(1.0)
    assert style.scale([np.array([0.0] * 90 + [1.0] * 9 + [1e9])], Objective())[1] <= 1.0


def test_the_map_has_a_strip_a_trial_with_blanks_where_nothing_was_trained(figures, tmp_path):
    plots.plot_map(study(trial(0, 0.1, MEAN), trial(1, 0.001, [4.0, 3.0])), tmp_path / "map.png")
    mesh = mesh_of(figures[0])
    cells = np.ma.filled(mesh.get_array(), np.nan)
    nan = np.nan
    np.testing.assert_allclose(cells, np.transpose([[4.0, 3.0, nan, nan, nan], MEAN]))
    edges = mesh.get_coordinates()[0, :, 0]
    assert edges[1] == pytest.approx(0.01)  # the geometric mean of 0.001 and 0.1
    assert edges[0] < 0.001
    assert edges[2] > 0.1


def test_a_winner_that_was_trained_on_alone_does_not_squeeze_the_others(figures, tmp_path):
    long = trial(0, 0.1, [3.0, 2.0, 1.0, *[2.0] * 97])
    plots.plot_map(study(long, trial(1, 0.001, [4.0] * 8)), tmp_path / "map.png")
    assert figures[0].axes[0].get_ylim() == (0.5, 8.5)


def test_what_is_outlined_is_the_callers(figures, tmp_path):
    result = study(trial(0, 0.1, MEAN), trial(1, 0.001, [4.0, 3.0]))
    plots.plot_map(
        result, tmp_path / "map.png",
        equivalent=lambda each: (np.arange(each.curves.n_epochs) == 1) & (each.number == 1),
    )  # fmt: skip
    lines = [c for c in figures[0].axes[0].collections if isinstance(c, LineCollection)]
    corners = {tuple(point) for segment in lines[0].get_segments() for point in segment}
    assert {y for _, y in corners} == {1.5, 2.5}
    assert len(corners) == 4


def test_epochs_are_compared_fold_by_fold_with_the_winners_best():
    winner, other = trial(0, 0.1, MEAN), trial(1, 0.2, [2.0, 1.0, 0.9])
    assert within_one_standard_error(winner)(winner).tolist() == [False, False, True, False, False]
    assert within_one_standard_error(winner)(other).tolist() == [False, True, True]
    noisy = FoldCurves(np.array([[0.9], [1.2], [1.3]]), Objective())  # 0, 0.2, 0.2 worse
    near = dataclasses.replace(other, curves=noisy, training=None)
    assert within_one_standard_error(winner)(near).tolist() == [False]  # 0.133 > 0.067
    elsewhere = FoldCurves(np.full((3, 2), 0.1), Objective(), (3, 4, 5))
    apart = dataclasses.replace(other, curves=elsewhere, training=None)
    assert within_one_standard_error(winner)(apart).tolist() == [False, False]


def test_of_trials_with_one_learning_rate_the_best_is_shown(figures, tmp_path):
    result = study(trial(0, 0.1, MEAN), trial(1, 0.1, [9.0]), trial(2, 0.2, [8.0]))
    plots.plot_map(result, tmp_path / "map.png")
    np.testing.assert_allclose(mesh_of(figures[0]).get_array()[:, 0], MEAN)


def test_with_one_learning_rate_there_is_no_map(tmp_path):
    result = study(trial(0, 0.1, MEAN), trial(1, 0.1, [9.0]))
    assert plots.plot_map(result, tmp_path / "map.png") is None
    curves = ["curves.png", "curves_small.png"]
    assert [path.name for path in plots.draw(result, tmp_path)] == curves
    assert sorted(path.name for path in tmp_path.iterdir()) == curves


@pytest.mark.parametrize(
    ("objective", "n_folds", "mean"),
    [
        (Objective(), 3, MEAN),
        (MAXIMIZE, 3, MEAN),
        (Objective(), 1, MEAN),
        (Objective(), 1, [1.0]),
        (Objective(), 2, [1.0]),
        (Objective(), 3, [1.0, 1.0, 1.0]),
        (MAXIMIZE, 1, [0.0]),
    ],
)
def test_odd_studies_can_be_drawn(objective, n_folds, mean, figures, tmp_path):
    def make(*args, **fields):
        return trial(*args, objective=objective, n_folds=n_folds, **fields)

    trials = [
        make(0, 0.1, mean),
        make(1, 0.3, [5.0, 6.0], outcome=Outcome.PRUNED),
        make(2, 9.0, None, outcome=Outcome.FAILED, diverged=True),
        make(3, 5.0, [7.0], outcome=Outcome.FAILED),
    ]
    pictures = plots.draw(study(*trials, objective=objective), tmp_path)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    assert [path.name for path in pictures] == ["curves.png", "curves_small.png", "map.png"]
    assert {"pruned", "failed", "a trial's best epoch"} <= set(labels(figures[1]))
    has_band = any(isinstance(each, PolyCollection) for each in figures[0].axes[0].collections)
    assert has_band == (n_folds > 1)
