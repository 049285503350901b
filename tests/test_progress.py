import io
import re

import numpy as np
import pytest
from rich.console import Console

from pipeline import progress
from pipeline.budget import Budget
from pipeline.curves import FoldCurves
from pipeline.objective import Objective
from pipeline.progress import Display, Lines, Terminal, display_for, duration, trial_line
from pipeline.results import Outcome, TrialResult
from pipeline.spec import StudySpec

SPEC = StudySpec(
    name="named",
    load_data=lambda: None,
    build_model=lambda params: params,
    space={"learning_rate": 0.1, "max_epochs": 8},
    budget=Budget(n_trials=10),
)
PARAMS = {"learning_rate": 0.0123456, "max_epochs": 8, "batch_size": 32, "units": 64, "l2": 1e-5}


def trial(number=4, best=0.25, outcome=Outcome.COMPLETED, reason=""):
    curves = FoldCurves(np.array([[1.0, best - 0.01, 2.0], [1.0, best + 0.01, 2.0]]), Objective())
    return TrialResult(number, PARAMS, outcome, curves, 1.25, 30, reason)


def failed(reason):
    return TrialResult(7, PARAMS, Outcome.FAILED, None, 0.5, 0, reason)


@pytest.mark.parametrize("outcome", Outcome)
def test_a_trials_line_says_how_it_ended(outcome):
    line = trial_line(trial(outcome=outcome), is_best=False)
    assert line.startswith(f"trial   4  {outcome.label}")
    for part in (
        "val_loss 0.25 ± 0.01",
        "best after 2 of 3 epochs (max 8)",
        "lr 0.0123",
        "units 64",
        "l2 1e-05",
        "1.2 s",
    ):
        assert part in line
    assert "batch_size" not in line
    assert "best so far" not in line
    assert "\n" not in line


def test_a_failures_line_says_why():
    assert "ValueError: units" in trial_line(failed("ValueError: units"), is_best=False)
    diverged = trial(outcome=Outcome.FAILED, reason="diverged: the loss is not finite")
    assert trial_line(diverged, is_best=False).endswith("diverged: the loss is not finite")


def test_the_best_so_far_is_marked():
    assert trial_line(trial(), is_best=True).endswith("← best so far")


def test_lines_go_to_standard_error_one_a_trial(capsys):
    lines = Lines()
    lines.say("hello [/x]")
    lines.search_started(SPEC, 2, (trial(0, 0.5),))
    for result in (trial(1, 0.6), trial(2, 0.4), trial(3, 0.4), trial(4, 0.1, Outcome.PRUNED)):
        lines.trial_started(result.number, PARAMS)
        lines.epoch_ended(result.number, 1, 1.0)
        lines.trial_ended(result)
    lines.close()
    out, err = capsys.readouterr()
    shown = err.splitlines()
    assert out == ""
    assert shown[0] == "hello [/x]"
    assert [int(line.split()[1]) for line in shown[1:]] == [1, 2, 3, 4]
    assert ["best so far" in line for line in shown[1:]] == [False, True, False, False]


def test_another_search_begins_without_the_best_of_the_one_before(capsys):
    lines = Lines()
    for best in (0.25, 0.5):
        lines.search_started(SPEC, 2, ())
        lines.trial_ended(trial(best=best))
    written = capsys.readouterr().err.splitlines()
    assert all(line.endswith("← best so far") for line in written)


def test_silence_is_silent(capsys):
    silent = Display()
    silent.say("x")
    silent.search_started(SPEC, 2, ())
    silent.trial_started(0, PARAMS)
    silent.epoch_ended(0, 1, 1.0)
    silent.trial_ended(trial())
    silent.close()
    assert capsys.readouterr() == ("", "")


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    display = Terminal(Console(force_terminal=True, file=io.StringIO(), width=120))
    yield display
    display.close()


def shown(terminal: Terminal) -> str:
    """Return what the live part looks like now, without colours."""
    console = Console(file=io.StringIO(), width=120)
    console.print(terminal._render())
    return console.file.getvalue()  # type: ignore[attr-defined]


def written(terminal: Terminal) -> str:
    return terminal._console.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_shows_the_trial_and_the_search(terminal, clock):
    terminal.search_started(SPEC, 5, (trial(0, 0.5),))
    terminal.trial_started(1, PARAMS)
    assert "nan" not in shown(terminal)
    assert "… left" in shown(terminal)
    clock.now += 10
    terminal.trial_ended(trial(1, 0.3))  # 6 fold-epochs
    terminal.trial_started(2, PARAMS)
    terminal.trial_ended(trial(2, 0.2, Outcome.PRUNED))  # 6 more
    terminal.trial_started(3, PARAMS)
    terminal.epoch_ended(3, 4, 0.875)  # 4 epochs of 5 folds
    terminal.trial_started(4, PARAMS)  # another worker's
    clock.now += 6
    first, second, third = shown(terminal).splitlines()
    for part in ("trial 3", "epoch 4/8 × 5 folds", "mean val_loss 0.8750"):
        assert part in first
    for part in ("trial 4", "epoch 0/8 × 5 folds", "mean val_loss …"):
        assert part in second
    for part in ("3/10", "best 0.3000 (trial 1)", "1 pruned", "2 fold-epochs/s", "56 s left"):
        assert part in third


def test_without_a_value_there_is_no_best(terminal):
    terminal.search_started(SPEC, 5, ())
    terminal.trial_ended(trial(0, 0.1, Outcome.PRUNED))
    assert "no best yet" in shown(terminal)


def test_a_terminal_is_left_clean(terminal):
    terminal.search_started(SPEC, 5, ())
    terminal.trial_started(0, PARAMS)
    terminal.trial_ended(trial(0))
    terminal.close()
    terminal.close()
    text = written(terminal)
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor, hidden and back
    assert text.rstrip().endswith("\x1b[2K")  # the live part's lines are erased
    assert "trial   0  completed" in text
    before = len(text)
    terminal.say("after")
    assert written(terminal)[before:] == "after\n"


def test_closing_what_never_began_writes_nothing(terminal):
    terminal.close()
    assert written(terminal) == ""


@pytest.mark.parametrize(
    "text", ["[/job:localhost/device:CPU:0] failed", "[bold]x[/bold]", ":warning: [red]", "a\\[b"]
)
def test_an_error_is_shown_as_it_is(text, terminal):
    """TensorFlow writes devices in brackets, which rich takes for the end of a style."""
    terminal.search_started(SPEC, 5, ())
    terminal.say(text)
    terminal.trial_ended(failed(text))
    assert re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written(terminal)).count(text) == 2


def test_a_display_suits_its_stream():
    assert type(display_for(io.StringIO())) is Lines

    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert type(display_for(Tty())) is Terminal


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_a_duration_is_shown_in_words(seconds, text):
    assert duration(seconds) == text
