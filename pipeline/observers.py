"""Who else is told what a search does, besides a terminal: the log file, and its end's facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.decision import costs
from pipeline.log_file import LOG
from pipeline.progress import Display, Lines
from pipeline.results import TrialResult
from pipeline.spec import StudySpec


class Logged(Lines):
    """The same lines in the log file, where there is one."""

    def say(self, line: str) -> None:
        """Log the line."""
        LOG.info(line)


class Facts(Display):
    """Notes what is worth telling of a search that did not come to its answer.

    facts: the study's run and the costs so far go here
    """

    def __init__(self, facts: dict[str, Any]) -> None:
        self._facts = facts
        self._trials: dict[int, TrialResult] = {}

    def run_opened(self, url: str) -> None:
        """Note the address."""
        self._facts["run_url"] = url

    def search_started(
        self, spec: StudySpec, n_folds: int, trials: tuple[TrialResult, ...]
    ) -> None:
        """Note what earlier sessions trained."""
        self._trials = {trial.number: trial for trial in trials}
        self._facts["costs"] = costs(trials)

    def trial_ended(self, result: TrialResult) -> None:
        """Note what this one has cost."""
        self._trials[result.number] = result  # it may have paused before
        self._facts["costs"] = costs(list(self._trials.values()))

    def left_behind(self, what: str) -> None:
        """Note it."""
        self._facts["unsent"] = what


class Several(Display):
    """Tells several displays the same."""

    def __init__(self, *displays: Display) -> None:
        self._displays = displays

    def say(self, line: str) -> None:
        """Let each show the line."""
        for display in self._displays:
            display.say(line)

    def run_opened(self, url: str) -> None:
        """Tell each the address."""
        for display in self._displays:
            display.run_opened(url)

    def search_started(
        self, spec: StudySpec, n_folds: int, trials: tuple[TrialResult, ...]
    ) -> None:
        """Tell each the size."""
        for display in self._displays:
            display.search_started(spec, n_folds, trials)

    def trial_started(self, number: int, params: Mapping[str, Any]) -> None:
        """Tell each the trial."""
        for display in self._displays:
            display.trial_started(number, params)

    def epoch_ended(self, number: int, n_epochs: int, mean: float) -> None:
        """Tell each the mean."""
        for display in self._displays:
            display.epoch_ended(number, n_epochs, mean)

    def trial_ended(self, result: TrialResult) -> None:
        """Tell each the result."""
        for display in self._displays:
            display.trial_ended(result)

    def left_behind(self, what: str) -> None:
        """Tell each what was left."""
        for display in self._displays:
            display.left_behind(what)

    def close(self) -> None:
        """Close each."""
        for display in self._displays:
            display.close()
