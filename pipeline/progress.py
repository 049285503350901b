"""What a search shows while it runs: a live display in a terminal, one plain line a trial in a log.

The search tells a `Display` what happens; how it looks is decided here.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.results import Outcome, TrialResult
from pipeline.spec import StudySpec
from pipeline.wording import with_error

REFRESHES_PER_SECOND = 4


class Display:
    """Told what happens, in this order. By itself it shows nothing: for notebooks and tests."""

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def run_opened(self, url: str) -> None:
        """Take the address of the study's run."""

    def search_started(
        self, spec: StudySpec, n_folds: int, trials: tuple[TrialResult, ...]
    ) -> None:
        """Take the search's size and the trials of earlier sessions."""

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None:
        """Take the trial that begins."""

    def epoch_ended(self, number: int, n_epochs: int, mean: float) -> None:
        """Take a trial's mean after an epoch of all folds."""

    def trial_ended(self, result: TrialResult) -> None:
        """Take a trial's result."""

    def left_behind(self, what: str) -> None:
        """Take what could not be sent to the tracking store, in words."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Lines(Display):
    """One plain line a trial, on standard error: for logs."""

    def __init__(self) -> None:
        self._spec: StudySpec | None = None
        self._best: TrialResult | None = None

    def say(self, line: str) -> None:
        """Write the line."""
        print(line, file=sys.stderr, flush=True)

    def search_started(
        self, spec: StudySpec, n_folds: int, trials: tuple[TrialResult, ...]
    ) -> None:
        """Remember the best so far."""
        self._spec, self._best = spec, None
        for trial in trials:
            self._keep_best(trial)

    def trial_ended(self, result: TrialResult) -> None:
        """Write the trial's line."""
        self._keep_best(result)
        self.say(trial_line(result, is_best=result is self._best))

    def left_behind(self, what: str) -> None:
        """Write it."""
        self.say(what)

    def _keep_best(self, trial: TrialResult) -> None:
        if trial.value is None or self._spec is None:
            return
        best = self._best
        if best is None or self._spec.objective.better(trial.value, best.value or 0.0):
            self._best = trial


@dataclass
class _Running:
    """A trial that is being trained."""

    horizon: int
    n_epochs: int = 0
    mean: float = math.nan


class Terminal(Lines):
    """Trial lines that scroll by, and below them what is running and the search's pace."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._live: Live | None = None
        self._n_folds = 1
        self._before: set[int] = set()
        self._done: dict[int, TrialResult] = {}
        self._running: dict[int, _Running] = {}
        self._start = time.monotonic()

    def say(self, line: str) -> None:
        """Write the line above the live part."""
        self._console.print(Text(line))  # as text: an error may hold [/what/rich/takes/for/markup]

    def search_started(
        self, spec: StudySpec, n_folds: int, trials: tuple[TrialResult, ...]
    ) -> None:
        """Begin the live part."""
        super().search_started(spec, n_folds, trials)
        self._n_folds, self._done = n_folds, {}
        self._before = {trial.number for trial in trials}
        self._start = time.monotonic()
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
        )
        self._live.start()

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None:
        """Show a new running trial; there may be others."""
        self._running[number] = _Running(int(params["max_epochs"]))

    def epoch_ended(self, number: int, n_epochs: int, mean: float) -> None:
        """Move a running trial on."""
        running = self._running[number]
        running.n_epochs, running.mean = n_epochs, mean

    def trial_ended(self, result: TrialResult) -> None:
        """Write the trial's line and count it."""
        self._done[result.number] = result  # it may have paused before
        self._running.pop(result.number, None)
        super().trial_ended(result)

    def close(self) -> None:
        """Take the live part away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> Table:
        spec = self._spec
        assert spec is not None
        metric = spec.objective.metric
        table = Table.grid(padding=(0, 2))
        for number, trial in list(self._running.items()):
            table.add_row(
                f"trial {number}",
                ProgressBar(total=trial.horizon, completed=trial.n_epochs, width=24),
                f"epoch {trial.n_epochs}/{trial.horizon} × {self._n_folds} folds",
                Text(f"mean {metric} " + (f"{trial.mean:.4f}" if trial.n_epochs else "…")),
            )
        n_done = len(self._before | self._done.keys())
        best = self._best
        best_text = "no best yet"
        if best is not None and best.value is not None:
            best_text = f"best {best.value:.4f} (trial {best.number})"
        table.add_row(
            f"{n_done}/{spec.budget.n_trials}",
            ProgressBar(total=spec.budget.n_trials, completed=n_done, width=24),
            Text(best_text, style="green"),
            self._pace(n_done, spec.budget.n_trials),
        )
        return table

    def _pace(self, n_done: int, n_trials: int) -> str:
        seconds = max(time.monotonic() - self._start, 1e-9)
        n_fold_epochs = sum(t.n_fold_epochs for t in self._done.values())
        n_fold_epochs += self._n_folds * sum(t.n_epochs for t in list(self._running.values()))
        pruned = sum(trial.outcome is Outcome.PRUNED for trial in self._done.values())
        left = "…"
        if self._done:
            left = duration(seconds / len(self._done) * (n_trials - n_done))
        return f"{pruned} pruned · {n_fold_epochs / seconds:.0f} fold-epochs/s · {left} left"


def display_for(stream: Any = None, *, quiet: bool = False) -> Display:
    """Return the display that suits standard error: live in a terminal, lines elsewhere."""
    if quiet:
        return Display()
    console = Console(file=stream or sys.stderr)
    return Terminal(console) if console.is_terminal else Lines()


def trial_line(result: TrialResult, *, is_best: bool) -> str:
    """Return a trial's line: number, outcome, value, epochs, learning rate, seconds."""
    curves = result.curves
    parts = [f"trial {result.number:>3}", f"{result.outcome.label:<13}"]
    if curves is None:
        parts.append(result.reason)
    else:
        best = result.best_n_epochs or curves.best_n_epochs
        score = with_error(curves.mean_after(best), curves.standard_error_after(best))
        parts.append(f"{curves.objective.metric} {score}")
        parts.append(f"best after {best} of {curves.n_epochs} epochs (max {result.horizon})")
    parts.append(f"lr {result.params['learning_rate']:.3g}")
    others = {
        k: v
        for k, v in result.params.items()
        if k not in ("learning_rate", "max_epochs", "batch_size")
    }
    parts += [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in others.items()]
    parts.append(f"{result.seconds:.1f} s")
    if result.outcome is Outcome.FAILED and curves is not None:
        parts.append(result.reason)
    return "  ".join(parts) + ("  ← best so far" if is_best else "")


def duration(seconds: float) -> str:
    """Return "1 h 05 min", "3 min 20 s" or "12 s"."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
    if seconds >= 60:
        return f"{seconds // 60} min {seconds % 60:02} s"
    return f"{seconds} s"
