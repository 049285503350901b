"""The benchmark runs and its ways do the same work. Nothing here depends on how fast they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import speed

SCRIPT = Path(speed.__file__)


@pytest.mark.long
def test_the_ways_are_timed_on_the_same_work(tmp_path):
    file = tmp_path / "speed.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--recipe-trials", "1", "--trials", "1", "--json", file],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"\n{label}" in done.stdout for label in speed.LABELS.values())
    assert "all ways did the same work" in done.stdout
    ways = json.loads(file.read_text())["ways"]
    assert {name: way["n_logged"] for name, way in ways.items()} == {
        "recipe": 100, "xla": 200, "plain": 200, "limit": 0
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [file]  # stores went elsewhere


def ways_that_agree() -> dict[str, speed.Timed]:
    fold = speed.Piece(0.001, 20, 900, 0.1, seconds=8.0)
    trial = speed.Piece(0.001, 100, 4500, 0.11, seconds=1.0)
    return {
        "recipe": speed.Timed(fold, [fold] * 4, n_logged=100),
        "xla": speed.Timed(trial, [trial], n_logged=200),
        "plain": speed.Timed(trial, [trial], n_logged=200),
        "limit": speed.Timed(trial, [trial]),
    }


def test_the_rate_is_the_recipes_seconds_over_ours():
    line = speed.table(ways_that_agree()).splitlines()[2]
    assert line.split()[-6:-3] == ["100.0", "40.0", "10.00"]


def test_ways_that_agree_have_no_disagreement():
    assert speed.disagreements(ways_that_agree()) == []


@pytest.mark.parametrize(
    ("piece", "n_logged", "said"),
    [
        (speed.Piece(0.001, 100, 4400, 0.11), 200, "8800 updates, expected 9000"),
        (speed.Piece(0.001, 100, 4500, 0.2), 200, "validation loss 0.2000"),
        (speed.Piece(0.001, 100, 4500, 0.11), 199, "199 of 200 fold-epochs logged"),
    ],
)
def test_a_way_that_does_less_is_named(piece, n_logged, said):
    ways = ways_that_agree() | {"xla": speed.Timed(piece, [piece], n_logged=n_logged)}
    (found,) = speed.disagreements(ways)
    assert found.startswith("this program, XLA: ")
    assert said in found
