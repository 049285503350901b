"""What fits where: bytes in, a decision out."""

from dataclasses import replace

import pytest

from pipeline.placement import SHARE, Holding, Placement, place, size

# Twice the rows, 700; three states of 10 at work, 30; all of four folds, (4 · 4 + 1) · 10 = 170.
HOLDING = Holding(rows=350, state=10, n_folds=4)


def needing(n_bytes):
    """Return the smallest memory of which the share that may be used is so many bytes."""
    memory = int(n_bytes / SHARE)
    return memory if SHARE * memory >= n_bytes else memory + 1


@pytest.mark.parametrize(
    ("n_bytes", "expected"),
    [
        (870, Placement(rows_on_device=True, states_on_device=True)),
        (869, Placement(rows_on_device=True, states_on_device=False)),
        (730, Placement(rows_on_device=True, states_on_device=False)),
        (729, Placement(rows_on_device=False, states_on_device=True)),
        (170, Placement(rows_on_device=False, states_on_device=True)),
        (169, Placement(rows_on_device=False, states_on_device=False)),
        (0, Placement(rows_on_device=False, states_on_device=False)),
    ],
)
def test_states_leave_first_and_rows_when_they_do_not_fit_beside_one_fold(n_bytes, expected):
    assert place(HOLDING, needing(n_bytes)) == expected


def test_a_device_of_unknown_memory_holds_everything():
    assert place(HOLDING, None) == Placement(rows_on_device=True, states_on_device=True)


def test_more_folds_need_more_room_for_states_and_none_for_shared_rows():
    assert place(replace(HOLDING, n_folds=5), needing(870)).states_on_device is False
    assert place(replace(HOLDING, n_folds=50), needing(730)).rows_on_device is True


def test_every_program_that_is_kept_has_variables_on_the_device():
    several = replace(HOLDING, n_programs=8)
    assert place(several, needing(730)).rows_on_device is False
    assert place(several, needing(800)).rows_on_device is True
    assert place(several, needing(939)).states_on_device is False
    assert place(several, needing(940)).states_on_device is True


def test_folds_that_train_at_once_have_states_and_variables_each():
    at_once = replace(HOLDING, n_programs=2, n_lanes=3)
    assert at_once.states_at_work == 3 * (2 + 2) * 10
    assert at_once.all_states == (4 * 4 + 3 * 2) * 10


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234567, "1.23 MB"), (999_600_000, "1 GB"),
     (81e9, "81 GB"), (2.5e12, "2.5 TB")],
)  # fmt: skip
def test_sizes_are_shown_as_people_read_them(n_bytes, text):
    assert size(n_bytes) == text
