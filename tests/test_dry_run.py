"""What a dry run says of where workers train: on GPUs that are made up."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline import dry_run
from pipeline.placement import Holding
from pipeline.training.devices import Device

MB = 2**20
HOLDING = Holding(rows=100 * MB, state=10 * MB, n_folds=2)
# Twice the rows; of two folds four states each and the program's variables.
ENOUGH = int((200 + 90) * MB / 0.7) + 2


@pytest.fixture
def placement(monkeypatch):
    """Return a function that places workers on so many GPUs."""

    def placed(n_workers, n_gpus, *, memory=ENOUGH, need=None, **engine) -> list[dict[str, Any]]:
        monkeypatch.setattr(dry_run.training, "GPUS", ["gpu"] * n_gpus)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(dry_run.training, "gpu_capacity_mb", lambda at: 960 * at.gpu_share)
        made = SimpleNamespace(
            rows_on_device=True, devices=(Device("GPU:0", memory),),
            lanes=SimpleNamespace(n_each=1), holding=lambda program: HOLDING,
        )  # fmt: skip
        vars(made).update(engine)
        spec = SimpleNamespace(device_memory_mb=need)
        question = SimpleNamespace(spec=spec, folds=range(5))
        found: list[dict[str, Any]] = dry_run._placement(
            cast(Any, made), cast(Any, None), cast(Any, question), n_workers, 3
        )
        return found

    return placed


def columns(table, *names):
    return [tuple(row[name] for name in names) for row in table]


def test_each_worker_has_a_line_with_its_devices_and_how_many_folds_they_train_at_once(placement):
    names = ("worker", "on", "share", "folds at once", "threads")
    assert columns(placement(1, 8), *names) == [(1, "GPU 0,1,2,3,4,5,6,7", 1.0, 5, 3)]
    assert columns(placement(2, 5), *names) == [
        (1, "GPU 0,1,2", 1.0, 3, 3),
        (2, "GPU 3,4", 1.0, 2, 3),
    ]
    assert columns(placement(3, 2), *names) == [
        (1, "GPU 0", 0.33, 1, 3),
        (2, "GPU 1", 1.0, 1, 3),
        (3, "GPU 0", 0.33, 1, 3),
    ]
    on_cores = SimpleNamespace(n_each=4)
    assert columns(placement(1, 0, lanes=on_cores), *names) == [(1, "CPU", 1.0, 4, 3)]


def test_what_stays_there_is_counted_for_the_folds_that_a_device_trains(placement):
    names = ("rows", "states")
    assert columns(placement(1, 4), *names) == [("stay there", "stay there")]
    assert columns(placement(1, 1), *names) == [("stay there", "come and go")]
    assert columns(placement(1, 4, memory=MB), *names) == [("do not fit", "come and go")]
    streams = placement(1, 4, rows_on_device=False)
    assert columns(streams, *names, "folds at once") == [("batch by batch", "stay there", 1)]
    # A third of 960 MB, and what is free of the other.
    assert columns(placement(3, 2), *names) == [
        ("do not fit", "stay there"),
        ("stay there", "come and go"),
        ("do not fit", "stay there"),
    ]


def test_what_a_trial_may_take_is_told_where_the_study_asks_for_it(placement):
    assert "MB for a trial" not in placement(1, 1)[0]
    table = placement(3, 2, need=lambda params: 1.0)
    assert columns(table, "MB for a trial") == [(320,), (960,), (320,)]


def test_a_table_is_printed_in_columns_beside_its_name():
    rows = {"study": "tiny", "placement": [{"worker": 1, "on": "GPU 0"}, {"worker": 12, "on": "x"}]}
    assert dry_run.page(rows).splitlines() == [
        "study      tiny",
        "placement  worker  on",
        "           1       GPU 0",
        "           12      x",
    ]
