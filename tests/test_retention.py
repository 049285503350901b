"""Which studies may go: by hand, without stores."""

from pathlib import Path

from pipeline.retention import StoredStudy, to_go
from pipeline.tracking import Logged

DAY = 86400.0
NOW = 1000 * DAY


def study(signature, days, *, name="digits", decided=True, registered=()):
    folder = Path(f"{name}-{signature}")
    logged = Logged(registered=registered)
    return StoredStudy(name, signature, folder, logged, NOW - days * DAY, decided, 1)


def going(*studies, keep=1, days=0.0):
    going, staying = to_go(studies, keep=keep, older_than_secs=days * DAY, now_secs=NOW)
    return [study.signature for study in going], staying


def test_the_newest_of_each_name_stay_and_the_oldest_goes_first():
    studies = [study("b", 2), study("d", 9), study("a", 1), study("c", 3)]
    assert going(*studies, study("e", 50, name="other"), keep=2) == (["d", "c"], {})


def test_only_what_is_old_goes():
    assert going(study("a", 1), study("b", 29), study("c", 31), days=30) == (["c"], {})


def test_both_limits_must_let_it_go():
    studies = [study("a", 40), study("b", 50), study("c", 60), study("d", 1)]
    assert going(*studies, keep=3, days=30) == (["c"], {})
    assert going(*studies, keep=1, days=55) == (["c"], {})


def test_the_newest_stays_however_old_it_is():
    assert going(study("a", 400), days=30) == ([], {})


def test_the_newest_with_an_answer_stays():
    """A search that was killed last night must not cost the answer of the night before."""
    studies = [study("a", 1, decided=False), study("b", 2), study("c", 3)]
    assert going(*studies) == (["c"], {"digits-b": "the newest with an answer"})


def test_a_study_with_a_registered_model_stays():
    studies = [study("a", 1), study("b", 2, registered=("digits version 3",)), study("c", 3)]
    assert going(*studies) == (["c"], {"digits-b": "digits version 3 comes from it"})
