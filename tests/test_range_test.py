"""The learning-rate range test: what a curve proposes, and a study that begins with one."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import search_options
from pipeline.ending import main
from pipeline.errors import BadInput, ExitCode
from pipeline.optimization import read_study
from pipeline.question import pose
from pipeline.range_test import HIGH, LOW, RECORD, bounds_of, measured
from pipeline.search import search
from tests.tiny_study import Heard, bits, tiny, write_study

RATES = np.geomspace(1e-6, 10, 71)  # ten points a decade


def falling(start=1e-3, lowest=1e-1, noise=0.0):
    """Return a loss of 2 that falls to 1 between two rates, and rises from there on."""
    at = np.log10(RATES)
    down = np.clip((at - np.log10(start)) / np.log10(lowest / start), 0.0, 1.0)
    up = np.clip(at - np.log10(lowest), 0.0, None)
    return 2.0 - down + 3.0 * up + noise * np.random.default_rng(0).normal(size=len(RATES))


def test_the_range_goes_from_where_the_loss_begins_to_fall_to_where_it_turns():
    found = bounds_of(RATES, falling())
    # A tenth of the fall lies a tenth of the way, 0.2 decades; the average rounds both corners.
    assert 1e-3 <= found.low <= 2e-3
    assert 5e-2 <= found.high <= 1e-1
    assert found.low <= found.steepest <= found.high
    assert (found.low, found.high) == tuple(float(f"{x:.2g}") for x in (found.low, found.high))


@pytest.mark.parametrize("start", [1e-5, 1e-4, 1e-2])
def test_the_range_moves_with_the_curve(start):
    found = bounds_of(RATES, falling(start, 10 * start, noise=0.01))
    assert start / 2 <= found.low <= 3 * start
    assert 3 * start <= found.high <= 15 * start


@pytest.mark.parametrize(
    "losses",
    [
        np.full(71, 2.0),
        2.0 + np.arange(71),
        2.0 + 0.1 * np.random.default_rng(0).normal(size=71),
        np.array([2.0, 1.0]),
    ],
    ids=["flat", "rising", "noise", "short"],
)
def test_a_loss_that_does_not_fall_proposes_nothing(losses):
    assert bounds_of(RATES[: len(losses)], losses) is None


FIELDS = "dict(refit=Refit(enabled=False), range_test=True)"


def test_a_study_that_begins_with_it_searches_its_range_also_when_it_goes_on(home, monkeypatch):
    heard = Heard()
    result = search(tiny(home, fields=FIELDS), display=heard)
    folder = result.decision_path.parent
    written = json.loads((folder / "range_test.json").read_text())
    low, high = written["bounds"]["low"], written["bounds"]["high"]
    assert (folder / "range_test.png").stat().st_size > 10_000
    assert any(f"search learning rates from {low:g}" in line for line in heard.lines)
    assert (low, high) != (1e-3, 1e-1)
    assert all(low <= trial.params["learning_rate"] <= high for trial in result.trials)
    study = read_study(folder / "journal.log", folder.name, patience_secs=1)
    assert study.user_attrs[RECORD] == written["bounds"]

    monkeypatch.setattr("pipeline.range_test.measured", None)
    again = search(tiny(home, fields=FIELDS[:-1] + ", budget=Budget(n_trials=4))"))
    assert bits(again)[0][:3] == bits(result)[0]
    assert low <= again.trials[3].params["learning_rate"] <= high


def test_it_needs_a_range_to_replace(home):
    with pytest.raises(BadInput, match=r"must have a FloatDistribution .*, got 0\.1"):
        tiny(home, fields="dict(range_test=True, space=dict(learning_rate=0.1, max_epochs=3))")


def test_a_sweep_writes_its_picture_and_its_numbers_and_nothing_else(home):
    question = pose(tiny(home))
    found = measured(question)
    assert sorted(file.name for file in question.folder.iterdir()) == [
        "range_test.json", "range_test.png",
    ]  # fmt: skip
    assert found.sweep.learning_rates[0] == pytest.approx(LOW)
    assert found.sweep.learning_rates[-1] <= HIGH * (1 + 1e-9)
    assert measured(question).sweep.losses.tolist() == found.sweep.losses.tolist()


def test_the_command_prints_the_range_as_json_too_and_searches_nothing(home, capsys):
    options = search_options([str(write_study(home)), "--range-test", "--json"])
    assert main("pipeline.search", options) == ExitCode.SUCCESS
    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == "success"
    assert len(told["range_test"]["losses"]) == len(told["range_test"]["smoothed"]) > 0
    assert Path(told["range_test"]["picture"]).exists()
    assert not list(home.glob("mlruns/studies/*/journal.log"))
