"""A trial's run opens while its first epochs train, and nothing is logged before its time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import StoreUnavailable
from pipeline.trial_log import TrialLog


class Store:
    """A session and a proposal, as far as a log asks them; the run opens when it may.

    events: what was done, in order
    """

    def __init__(self, note: str | None = None, error: Exception | None = None) -> None:
        self.may_open = threading.Event()
        self.events: list[Any] = []
        self.note = {} if note is None else {"mlflow_run": note}
        self.number, self.params = 7, {"learning_rate": 0.1}
        self.beside = ThreadPoolExecutor(1)
        self.run = self
        self._error = error

    def open_run(self, number, params, run_id):
        self.may_open.wait(10)
        if self._error:
            raise self._error
        return SimpleNamespace(run_id=run_id or "new")

    def write_note(self, key, value):
        self.events.append((key, value))

    def log_epochs(self, run, lockstep, counts):
        self.events += [(run.run_id, n_epochs) for n_epochs in counts]


def log_in(store: Any) -> TrialLog:
    return TrialLog(store, store)


def trained(n_epochs: int) -> Any:
    return SimpleNamespace(n_epochs=n_epochs)


def test_epochs_wait_for_the_run_and_its_note_and_are_logged_once():
    store = Store()
    log = log_in(store)
    log.log(trained(1))
    log.log(trained(2))
    assert store.events == []
    store.may_open.set()
    assert log.opened().run_id == "new"
    log.log(trained(3))
    log.opened()
    assert store.events == [("mlflow_run", "new"), ("new", 1), ("new", 2), ("new", 3)]


def test_a_run_that_is_continued_is_not_noted_again():
    store = Store(note="old")
    store.may_open.set()
    log = log_in(store)
    log.log(trained(2))
    log.opened()
    assert store.events == [("old", 1), ("old", 2)]


def test_a_run_that_cannot_be_opened_is_told_at_the_next_epoch():
    store = Store(error=StoreUnavailable("deleted"))
    log = log_in(store)
    log.log(trained(1))
    store.may_open.set()
    store.beside.shutdown()
    with pytest.raises(StoreUnavailable, match="deleted"):
        log.log(trained(2))
