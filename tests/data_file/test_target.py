"""What is predicted, found out from its own values."""

import numpy as np
import pandas as pd
import pytest

from pipeline.data_file.reading import plain
from pipeline.data_file.target import centres_and_scales, target_of
from pipeline.errors import BadInput

RANDOM = np.random.default_rng(0)


def found(values, task=None):
    return target_of(pd.DataFrame({"it": values}).apply(plain), task)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"] * 10, "classification", ("a", "b")),
        ([True, False] * 10, "classification", (False, True)),
        ([1.0, 0.0] * 10, "classification", (0, 1)),
        (list(range(5)) * 10, "classification", (0, 1, 2, 3, 4)),
        (list(range(30)) * 10, "regression", ()),
        (list(range(15)) * 4, "regression", ()),
        (RANDOM.normal(size=20), "regression", ()),
    ],
)
def test_the_task_is_told_by_the_values(values, task, classes):
    target = found(values)
    assert (target.task, target.classes) == (task, classes)
    assert "--task overrides" in target.decision


def test_the_user_has_the_last_word():
    assert found(list(range(5)) * 10, "regression").task == "regression"
    assert found(list(range(30)) * 10, "classification").classes == tuple(range(30))


@pytest.mark.parametrize(
    ("values", "task", "says"),
    [
        ([3] * 10, None, "must have different values, got 3 in all 10 rows"),
        (["a"] * 10, None, "must have different values, got 'a' in all 10 rows"),
        ([2.5] * 10, None, "must have different values"),
        (["a", "b"] * 5, "regression", "--task regression must have a target of numbers"),
        ([0.5, 1.5] * 5, "classification", "--task classification must have classes, got numbers"),
        (
            [f"id {i}" for i in range(20)],
            None,
            "got 20 different values in 20 rows: is it an ident",
        ),
        (["a"] * 9 + ["b"] * 9 + ["c"], None, "two rows or more of each class.* got one of 'c'"),
        ([1.0, np.inf] * 5, None, "must be finite"),
        (
            pd.date_range("2024", periods=5),
            None,
            "must be numbers, booleans or texts, got datetime",
        ),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(values, task, says):
    with pytest.raises(BadInput, match=says):
        found(values, task)


def several(task=None, **columns):
    return target_of(pd.DataFrame(columns).apply(plain), task)


def test_several_targets_are_numbers_or_answers_of_yes_or_no():
    a, b = [0, 1, 1, 0], [1, 1, 0, 1]
    assert several(a=a, b=b).task == "labels"
    assert several("regression", a=a, b=b).task == "regression"
    assert several(a=a, b=[1.5, 2.5, 3.5, 4.5]).task == "regression"


@pytest.mark.parametrize(
    ("columns", "task", "says"),
    [
        ({"a": ["x", "y"], "b": [1, 2]}, None, "got texts in 'a'"),
        ({"a": [1, 2], "b": [1, 2]}, "classification", "one target, or several that are all 0 or"),
        ({"a": [0, 1], "b": [1, 0]}, None, r"make one column .* y\.argmax"),
        ({"a": [1, 1], "b": [1, 0]}, None, "target 'a' must have different values"),
    ],
)
def test_targets_that_do_not_go_together_are_refused(columns, task, says):
    with pytest.raises(BadInput, match=says):
        several(task, **columns)


def test_centre_and_scale_are_as_exact_as_they_must_be():
    """A year's mean rounded to three digits would be decades off."""
    (centre,), (scale,) = centres_and_scales(pd.DataFrame({"year": 2000 + RANDOM.normal(size=500)}))
    assert centre == pytest.approx(2000, abs=0.2)
    assert scale == pytest.approx(1, abs=0.1)
