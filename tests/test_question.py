"""What a study keeps of the threads that it began with."""

from typing import Any

import pytest

from pipeline.question import Question
from tests.test_spec import spec


def question_with(record, tmp_path, **fields):
    no_rows: Any = None
    question = Question(spec(**fields), no_rows, None, no_rows, "", "signature", "", tmp_path)
    question.folder.mkdir(parents=True)
    if record is not None:
        (question.folder / "threads").write_text(record)
    return question


@pytest.mark.parametrize(
    ("record", "threads", "operation_threads"),
    [
        (None, None, None),
        ("0", None, None),  # before threads of operations were recorded: as many
        ("2", 2, None),
        ("0 1", None, 1),
        ("4 2", 4, 2),
        ("0 0", None, None),
    ],
)
def test_a_study_keeps_the_threads_that_it_began_with(record, threads, operation_threads, tmp_path):
    question = question_with(record, tmp_path)
    assert question.is_new is (record is None)
    assert (question.threads_for(None), question.operation_threads) == (threads, operation_threads)


def test_threads_that_are_set_are_obeyed(tmp_path):
    question = question_with("4 2", tmp_path, threads=8, operation_threads=3)
    assert (question.threads_for(None), question.operation_threads) == (8, 3)
