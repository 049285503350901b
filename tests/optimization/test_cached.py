"""What is read of a database: as Optuna reads it, and no more than is looked at."""

import math
from collections import Counter

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import event

from pipeline.errors import StoreUnavailable
from pipeline.optimization import next_proposal, open_study
from pipeline.results import Outcome

ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens a study in a database, as each worker does."""

    def open_it(spec):
        return open_study(f"sqlite:///{tmp_path / 'study.db'}", "study", spec)

    return open_it


@pytest.fixture
def counted():
    """Return a function that counts how often a study's tables are read from now on."""

    def count(study):
        reads: Counter[str] = Counter()

        def seen(connection, cursor, statement, *more):
            if statement.startswith("SELECT"):
                reads[statement.split("FROM")[1].split()[0]] += 1

        event.listen(study._storage._backend.engine, "before_cursor_execute", seen)
        return reads

    return count


def test_trials_are_those_that_optuna_reads(make_spec, opened):
    study = opened(make_spec())
    space = {
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "kind": CategoricalDistribution((None, "a", 2.5, True)),
        "layers": IntDistribution(1, 9, step=2),
    }
    study.add_trials(
        [
            create_trial(
                state=TrialState.COMPLETE,
                value=value,
                params={"layers": 3, "rate": 0.1, "kind": kind},
                distributions=space,
                intermediate_values={3: math.inf, 1: -math.inf, 2: 0.1 + 0.2},
                user_attrs={"result": {"curves": [[1.5, None]]}, "ä": "ö"},
                system_attrs={"rung": 0.5},
            )
            for value, kind in ((0.3, None), (math.inf, True), (-math.inf, 2.5))
        ]
    )
    study.enqueue_trial({"rate": 0.5})
    for _ in range(2):
        study.ask(space)
    study.tell(3, state=TrialState.PRUNED)
    study.ask()
    optuna.create_study(study_name="other", storage=study._storage).ask()
    backend, study_id = study._storage._backend, study._study_id
    for states in (None, ENDED, (TrialState.RUNNING,)):
        for among, greater_than in ((set(), -1), ({1, 4, 5}, 4), ({2, 99}, 3), (set(), 99)):
            wanted = RDBStorage._get_trials(backend, study_id, states, among, greater_than)
            assert backend._get_trials(study_id, states, among, greater_than) == wanted
    assert len(backend._get_trials(study_id, None, set(), -1)) == 6
    with pytest.raises(StoreUnavailable):
        backend._get_trials(99, None, set(), -1)


def test_a_value_that_is_no_number_is_read_as_one(make_spec, opened):
    study = opened(make_spec())
    study.ask().report(math.nan, 1)
    (trial,) = study.get_trials()
    assert math.isnan(trial.intermediate_values[1])


def test_whoever_asks_for_ended_trials_reads_each_once_and_no_other(
    make_spec, opened, counted, result_of
):
    spec = make_spec()
    mine, others = opened(spec), opened(spec)
    at_work = next_proposal(others, spec)
    trials = [others.ask() for _ in range(4)]
    others.tell(trials[1], 0.5)
    assert [trial.number for trial in mine.get_trials(states=ENDED)] == [2]
    reads = counted(mine)
    assert [trial.number for trial in mine.get_trials(states=ENDED)] == [2]
    assert reads == {"trials": 1}
    others.tell(trials[0], state=TrialState.FAIL)  # one of before it
    others.tell(trials[3], 0.1)
    reads.clear()
    assert [trial.number for trial in mine.get_trials(states=ENDED)] == [1, 2, 4]
    assert reads["trial_intermediate_values"] == 1
    assert [trial.number for trial in mine.get_trials(states=(TrialState.COMPLETE,))] == [2, 4]
    at_work.tell(result_of(at_work, spec, [0.25], Outcome.COMPLETED))
    others.tell(trials[2], 0.2)
    assert [trial.number for trial in mine.get_trials(deepcopy=False)] == [0, 1, 2, 3, 4]
    assert [trial.value for trial in mine.get_trials(states=ENDED)] == [0.25, None, 0.5, 0.2, 0.1]
    assert mine.get_trials() == others.get_trials()


def test_all_trials_are_read_once_in_a_block_and_those_that_it_begins_are_seen(
    make_spec, opened, counted
):
    spec = make_spec()
    mine, others = opened(spec), opened(spec)
    others.ask()
    reads = counted(mine)
    with mine._storage.reading_once():
        for _ in range(3):
            assert len(mine.get_trials(deepcopy=False)) == 1
        others.ask()
        assert len(mine.get_trials(deepcopy=False)) == 1
        assert reads["trial_intermediate_values"] == 1
        begun = mine.ask()
        assert begun.number == 2
        assert mine.get_trials(deepcopy=False)[-1].number == 2
        mine.tell(begun, 0.5)
        assert [each.state for each in mine.get_trials()] == [
            TrialState.RUNNING, TrialState.RUNNING, TrialState.COMPLETE
        ]  # fmt: skip
    others.ask()
    assert len(mine.get_trials()) == 4


def test_who_asks_reads_what_was_reported_of_ended_trials_alone(make_spec, opened):
    spec = make_spec()
    mine, others = opened(spec), opened(spec)
    begun, ended = others.ask(), others.ask()
    for trial in (begun, ended):
        trial.report(0.5, 1)
    others.tell(ended, state=TrialState.PRUNED)

    def means():
        return [each.intermediate_values for each in mine.get_trials(deepcopy=False)]

    with mine._storage.reading_once():
        assert means() == [{}, {1: 0.5}]
    assert means() == [{1: 0.5}, {1: 0.5}]
    begun.report(0.25, 2)
    with mine._storage.reading_once():
        assert means() == [{}, {1: 0.5}]
    others.tell(begun, 0.25)
    with mine._storage.reading_once():
        assert means() == [{1: 0.5, 2: 0.25}, {1: 0.5}]
