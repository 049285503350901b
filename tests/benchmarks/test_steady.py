"""The figures of a long search, on made-up courses; and the search itself, in small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import steady
from tests.benchmarks.steady import Course

SCRIPT = Path(steady.__file__)


def test_the_first_and_the_last_trials_are_compared_without_the_very_first():
    secs = [9.0] + [1.0] * 50 + [7.0] * 50 + [1.1] * 50
    assert Course("xla", secs, [0.0] * 151).slowdown == pytest.approx(1.1)


def test_a_short_search_compares_thirds():
    assert Course("xla", [9.0, 1.0, 5.0, 2.0], [0.0] * 4).slowdown == 2.0


def test_memory_counts_from_when_the_search_has_settled():
    memory = [100.0] * 9 + [200.0, 300.0, 230.0]
    course = Course("plain", [1.0] * 12, memory)
    assert course.growth_mb == 30.0
    said = course.in_words()
    assert "memory grew by 30 MB from trial 10 to 12, 300 MB at most" in said
    assert "engine plain" in said


def test_resident_memory_is_that_of_this_process():
    before = steady.resident_mb()
    held = bytearray(b"x" * (64 * 2**20))
    assert 50 < steady.resident_mb() - before < 100
    del held


def test_the_picture_has_a_column_for_each_search(tmp_path):
    course = Course("xla", [3.0, 0.012, 0.013], [700.0, 720.0, 725.0])
    path = tmp_path / "steady.png"
    steady.draw({"one": course, "many": course}, path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_both_searches_are_followed(tmp_path):
    file = tmp_path / "steady.json"
    numbers = ("--trials", "3", "--architectures", "2", "--epochs", "2", "--engine", "plain")
    done = subprocess.run(
        [sys.executable, SCRIPT, *numbers, "--json", file], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    one, many = json.loads(file.read_text())["searches"].values()
    assert (len(one["memory_mb"]), len(many["memory_mb"])) == (3, 2)
    assert one["engine"] == many["engine"] == "plain"
    assert list(tmp_path.iterdir()) == [file]
