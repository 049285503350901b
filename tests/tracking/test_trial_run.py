"""A trial's epochs, each queued once: a fold that is trained alone, and the others later."""

import numpy as np
import pytest

from pipeline.tracking.records import alone, epoch_metrics, fold_alone
from pipeline.tracking.trial_run import TrialRun

NAMES = ["val_loss"]


class Queue:
    """Keeps what is put."""

    def __init__(self):
        self.put_there = {}

    def put(self, run_id, metrics, step, timestamp_ms=None):
        for key, value in metrics.items():
            assert (key, step) not in self.put_there
            self.put_there[key, step] = value


def whole(n_epochs):
    values = np.array([[1.0], [3.0]]) / n_epochs
    return epoch_metrics(NAMES, values, 0.1)


def first_alone(n_epochs):
    return alone(epoch_metrics(NAMES, np.array([[1.0]]) / n_epochs, 0.1, folds=[0]), 0)


@pytest.fixture
def queue():
    return Queue()


def test_what_a_fold_trained_alone_is_logged_once_and_the_others_with_the_mean_later(queue):
    run = TrialRun("run", queue)
    for n_epochs in (1, 2):
        run.log_epoch(n_epochs, first_alone(n_epochs))
    assert queue.put_there == {
        ("fold_0/val_loss", 1): 1.0, ("fold_0/learning_rate", 1): 0.1,
        ("fold_0/val_loss", 2): 0.5, ("fold_0/learning_rate", 2): 0.1,
    }  # fmt: skip
    for n_epochs in (1, 2, 3):
        run.log_epoch(n_epochs, whole(n_epochs))
    for n_epochs in (1, 2, 3):
        run.log_epoch(n_epochs, whole(n_epochs))
        run.log_epoch(n_epochs, first_alone(n_epochs)) if n_epochs < 3 else None
    logged = {key for key, _ in queue.put_there}
    assert logged == {*whole(1), "fold_0/learning_rate"}
    means = [queue.put_there["val_loss_mean", n] for n in (1, 2, 3)]
    assert means == pytest.approx([2.0, 1.0, 2 / 3])
    assert queue.put_there["fold_0/val_loss", 3] == pytest.approx(1 / 3)


def test_a_run_that_is_opened_again_knows_what_it_has(queue):
    run = TrialRun("run", queue, last_epoch=1, last_alone={0: 2})
    run.log_epoch(1, whole(1))
    run.log_epoch(2, first_alone(2))
    assert not queue.put_there
    run.log_epoch(2, whole(2))
    assert {key for key, _ in queue.put_there} == whole(2).keys() - {"fold_0/val_loss"}


def test_an_epoch_tells_whether_it_is_whole():
    assert fold_alone(whole(1)) is None
    assert fold_alone(first_alone(1)) == 0
    assert fold_alone({"fold_0/val_loss": 1.0}) is None
