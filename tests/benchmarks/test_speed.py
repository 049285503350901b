"""The benchmark runs and its ways do the same work. Nothing here depends on how fast they are."""

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline import Objective
from pipeline.curves import FoldCurves
from pipeline.results import Outcome, TrialResult
from tests.benchmarks import speed, speed_table, speed_turns, speed_ways
from tests.benchmarks.speed_program import Together
from tests.benchmarks.speed_turns import Job, Piece, Runner, Skipped, Timed, Turns, Whole, Work
from tests.benchmarks.speed_ways import WAYS, Way

SCRIPT = Path(speed.__file__)
WORK = Work(n_folds=5, n_epochs=20, updates_per_fold_epoch=45)


@pytest.mark.long
def test_the_ways_are_timed_on_the_same_work(tmp_path):
    file = tmp_path / "speed.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--recipe-trials", "1", "--trials", "2", "--json", file],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all ways did the same work" in done.stdout
    written = json.loads(file.read_text())
    assert {*written["ways"], *written["skipped"]} == set(speed_ways.MODELS["mlp"].ways)
    assert set(written["skipped"]) <= {"keras-tuner", "scikeras"}
    wholes = {name: way["whole"] for name, way in written["ways"].items()}
    assert wholes["xla"]["n_logged"] == wholes["xla"]["n_fold_epochs"] == 300
    assert wholes["recipe"]["n_logged"] == 100
    assert wholes["workers"]["n_logged"] >= 300
    assert list(tmp_path.iterdir()) == [file]  # stores went elsewhere


def ways_that_agree() -> dict[str, Timed]:
    fold = Piece(0, 0.001, 20, 0.1, seconds=8.0)
    first = Piece(0, 0.001, 100, 0.11, seconds=9.0)
    second = Piece(1, 0.002, 100, 0.3, training_secs=0.9, seconds=1.0)
    return {
        "recipe": Timed(fold, [fold] * 4, Whole(100, 4500, 100, 0.5)),
        "xla": Timed(first, [second], Whole(200, 9000, 200, 2.0)),
        "limit": Timed(first, [second], Whole(200, 9000, 0, 0.0)),
    }


def test_the_ratio_is_the_first_ways_seconds_over_anothers():
    line = speed_table.table(ways_that_agree(), {}, 2).splitlines()[2]
    assert line.split()[3:6] == ["100.0", "40.0", "10.00"]


def test_a_way_that_was_skipped_has_its_reason_and_no_number():
    lines = speed_table.table(ways_that_agree(), {"scikeras": "not installed"}, 2).splitlines()
    assert lines[-1] == "scikeras, GridSearchCV  skipped: not installed"


def test_the_workers_are_counted_in_the_table():
    ways = ways_that_agree()
    ways["workers"] = ways["xla"]
    assert "this program, 3 workers " in speed_table.table(ways, {}, 3)


def test_start_up_is_what_the_first_piece_took_beyond_a_usual_one():
    assert ways_that_agree()["xla"].start_up_secs == pytest.approx(8.0)


def test_what_was_left_to_train_is_not_part_of_the_ending():
    way = ways_that_agree()["xla"]
    assert way.ending_secs == 2.0
    way.whole = Whole(300, 13500, 300, 2.0)  # one more trial, of a second
    assert way.ending_secs == pytest.approx(1.0)


def test_time_outside_training_is_known_where_the_way_tells():
    ways = ways_that_agree()
    assert ways["xla"].share_outside == pytest.approx(0.1)
    assert ways["recipe"].share_outside is None


def test_logging_is_compared_pair_by_pair():
    ways = ways_that_agree()
    first = ways["xla"].first
    # The machine is twice as slow in every second pair.
    slow = [1.0, 2.0] * 4
    for name, factor in (("xla", 1.1), ("unlogged", 1.0)):
        pieces = [Piece(1, 0.001, 100, 0.1, seconds=factor * secs) for secs in slow]
        ways[name] = Timed(first, pieces)
    cost = speed_table.cost_of_logging(ways, "xla")
    assert cost == {key: pytest.approx(0.1) for key in ("median", "from", "to")}
    assert speed_table.in_words(cost).startswith("logging adds 10.0 % ")
    assert speed_table.in_words(speed_table.cost_of_logging(ways_that_agree(), "xla")) == ""


def test_ways_that_agree_have_no_disagreement():
    assert speed_table.disagreements(ways_that_agree(), WORK) == []


@pytest.mark.parametrize(
    ("loss", "whole", "said"),
    [
        (0.11, Whole(200, 8900, 200, 0.0), "8900 updates, expected 9000"),
        (0.2, Whole(200, 9000, 200, 0.0), "validation loss 0.2000"),
        (0.11, Whole(200, 9000, 199, 0.0), "199 of 200 fold-epochs logged"),
        (0.11, None, "never came to its end"),
    ],
)
def test_a_way_that_does_less_is_named(loss, whole, said):
    first = Piece(0, 0.001, 100, loss)
    ways = ways_that_agree() | {"xla": Timed(first, [first], whole)}
    (found,) = speed_table.disagreements(ways, WORK)
    assert found.startswith("this program, XLA: ")
    assert said in found


def test_a_way_that_logs_nothing_need_not_have_logged():
    ways = ways_that_agree()
    ways["keras-tuner"] = Timed(ways["recipe"].first, [], Whole(100, 4500, 0, 0.0))
    assert speed_table.disagreements(ways, WORK) == []


@pytest.mark.parametrize("model", speed_ways.MODELS)
def test_a_trial_of_each_model_is_counted_from_its_study(model):
    work = Work.of(speed_turns.study_of(model))
    assert work == {
        "mlp": WORK, "cnn": WORK, "wide": Work(n_folds=5, n_epochs=2, updates_per_fold_epoch=63)
    }[model]  # fmt: skip


def test_every_way_gets_pieces_of_the_same_work():
    recipe, program, fit = (WAYS[name].n_pieces(WORK, 3, 7) for name in ("recipe", "xla", "fit"))
    assert (recipe, program, fit) == (14, 7, 700)
    assert speed.lengths(7, 3) == [3, 2, 2]


# Turns.


def two_pieces(connection, start, file):
    """Train two pieces, with a process that goes on all the time."""
    turns = Turns(connection, start)
    child = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            f"import time\nfor i in range(3000):\n open({str(file)!r}, 'a').write('.')\n"
            " time.sleep(0.01)",
        ]
    )
    while not file.exists():
        time.sleep(0.01)
    for number in range(2):
        turns.count(10, 20)
        turns.hand_over(Piece(number, 0.1, 10, 0.5))
    child.kill()
    turns.end()


def cannot_run(connection, start):
    Turns(connection, start).skip("no such module")


@pytest.fixture
def runner(tmp_path):
    started = Runner(two_pieces, tmp_path / "written")
    yield started
    started.kill()


def grows(file: Path) -> bool:
    before = file.stat().st_size
    time.sleep(0.3)
    return file.stat().st_size > before


def test_who_has_no_turn_is_stopped_with_all_that_it_has_started(runner, tmp_path):
    file = tmp_path / "written"
    time.sleep(0.1)  # a write that was under way
    assert not grows(file)
    runner.train(1)
    assert not grows(file)
    runner.end()
    assert [piece.trial for piece in runner.timed.pieces] == [0, 1]
    assert (runner.timed.whole.n_fold_epochs, runner.timed.whole.n_updates) == (20, 40)


def test_a_way_that_is_over_early_is_asked_for_no_more(runner):
    runner.train(5)
    assert len(runner.timed.pieces) == 2
    runner.train(1)
    runner.end()
    assert runner.timed.whole.n_updates == 40


def test_none_outlives_the_measurement(tmp_path):
    file = tmp_path / "written"
    started = Runner(two_pieces, file)
    started.kill()
    time.sleep(0.1)
    assert not grows(file)
    assert speed_turns.children(started._process.pid or 0) == []


@pytest.mark.parametrize("goes_on", [False, True])
def test_who_trains_on_while_a_piece_is_handed_over_has_no_time_for_nothing(goes_on):
    ours, theirs = multiprocessing.Pipe()
    turns = Turns(theirs, time.time())
    turns.goes_on = goes_on
    for answer in ("your turn", "go on", "end"):
        threading.Timer(0.2, ours.send, (answer,)).start()
        turns.hand_over(Piece(0, 0.1, 10, 0.5))
    first, after_pause, in_a_turn = (ours.recv().seconds for _ in range(3))
    assert max(first, after_pause) < 0.15
    assert (in_a_turn > 0.15) == goes_on


def test_a_way_that_cannot_be_run_says_why():
    assert Runner(cannot_run).skipped == "no such module"


def broken(turns, job):
    raise ImportError("No module named 'peer'")


def test_only_another_tool_may_fail_to_run(monkeypatch):
    ours, theirs = multiprocessing.Pipe()
    job = Job("mlp", Path(), n_trials=1)
    monkeypatch.setitem(WAYS, "peer", Way("a peer", broken, "fold", extra="peer"))
    speed_ways.run(theirs, 0.0, "peer", job)
    assert ours.recv() == Skipped("ImportError: No module named 'peer'")
    monkeypatch.setitem(WAYS, "own", Way("our own", broken, "fold"))
    with pytest.raises(ImportError):
        speed_ways.run(theirs, 0.0, "own", job)


# Several workers.


class NotedTurns(Turns):
    def __init__(self):
        self.pieces, self.counted = [], 0

    def count(self, n_fold_epochs, n_updates):
        self.counted += n_fold_epochs

    def hand_over(self, piece):
        self.pieces.append(piece)


def result(number: int) -> TrialResult:
    curves = FoldCurves(np.full((5, 20), 0.1), Objective("val_loss"))
    params = {"learning_rate": 0.001, "max_epochs": 20}
    return TrialResult(number, params, Outcome.COMPLETED, curves, seconds=1.0, n_updates=4500)


def test_workers_hand_over_when_all_have_compiled_and_a_trials_epochs_are_trained():
    turns = NotedTurns()
    display = Together(turns, WORK, 2)
    display.trial_started(0, {})
    display.epoch_ended(0, 12, 0.1)
    display.trial_ended(result(0))
    display.trial_started(2, {})
    display.epoch_ended(2, 3, 0.1)
    assert turns.pieces == []  # the other worker still compiles
    display.trial_started(1, {})
    assert turns.pieces == []
    display.epoch_ended(1, 1, 0.1)
    (first,) = turns.pieces
    assert (first.trial, first.n_fold_epochs) == (0, 5 * (20 + 3 + 1))


def test_what_workers_train_is_counted_once():
    turns = NotedTurns()
    display = Together(turns, WORK, 2)
    for number in (0, 1, 2, 3, 4, 5):
        display.trial_started(number, {})
    for number in (0, 1, 2, 3):
        display.epoch_ended(number, 7, 0.1)
        display.trial_ended(result(number))
    for n_epochs in range(1, 21):
        for number in (4, 5):
            display.epoch_ended(number, n_epochs, 0.1)
    display.trial_ended(result(4))
    display.trial_ended(result(5))
    assert sum(piece.n_fold_epochs for piece in turns.pieces) + display._n_fold_epochs == 600
    assert turns.counted == 600
    assert min(piece.n_fold_epochs for piece in turns.pieces) >= 100
