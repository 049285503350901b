"""Several workers at trials that pause, of which any may die: played on a real journal and locks.

Whoever is next to ask, to end its step or to die is drawn; curves are made by hand.
"""

import random
from collections import Counter
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from pipeline.budget import Budget
from pipeline.optimization import Claims, Climbs, enqueue
from pipeline.results import Outcome
from pipeline.strategy import FinishBest, Ladder, Step

HORIZON, N_FOLDS, N_TRIALS = 10, 2, 12
LADDER = Ladder(rungs=(0.1, 0.5, 1))


class Worker:
    """One process: it asks under the lock, and is at a trial until that pauses or ends."""

    def __init__(self, study, spec, strategy, folder) -> None:
        self.climbs = Climbs(study, spec, strategy, N_FOLDS)
        self.claims = Claims(folder)
        self.proposal: Any = None

    def ask(self, left):
        with self.claims.asking():
            left -= self.climbs.underway(self.claims.is_taken)
            step = self.climbs.next_step(is_taken=self.claims.is_taken, left=left)
            if step is not None:
                self.proposal = self.climbs.proposal(step, take=self.claims.take)
        return step

    def die(self):
        """Let its lock go, as the system does: nobody else is told."""
        self.claims._held.pop(self.proposal.number).release()
        self.proposal = None


@pytest.fixture
def crew(make_spec, open_journal, tmp_path):
    """Return a function that makes workers, each with a session of its own."""

    def make(n_workers, strategy=LADDER, **fields):
        fields = {"budget": Budget(n_trials=N_TRIALS)} | fields
        spec = make_spec(sampler=lambda seed: optuna.samplers.RandomSampler(seed=seed), **fields)
        return spec, [
            Worker(open_journal(spec), spec, strategy, tmp_path) for _ in range(n_workers)
        ]

    return make


def end_step(worker, spec, result_of, *, dies=False):
    """Pause or end a worker's trial; one that dies has written the value, and not the end."""
    proposal, strategy = worker.proposal, worker.climbs._strategy
    n_epochs = strategy.n_epochs(proposal.rung, HORIZON)
    means = [random.Random(f"{proposal.number} {n}").random() for n in range(n_epochs)]
    if proposal.rung < len(strategy.rungs):
        proposal.pause(result_of(proposal, spec, means, Outcome.PAUSED))
    elif dies:
        proposal._keep(result_of(proposal, spec, means), proposal.rung - 1)
    else:
        proposal.tell(result_of(proposal, spec, means))
    if dies:
        worker.die()
    else:
        worker.claims.release(proposal.number)
        worker.proposal = None


@pytest.mark.parametrize("strategy", [LADDER, FinishBest()])
@pytest.mark.parametrize("seed", range(3))
def test_no_step_is_lost_or_taken_twice_whoever_dies(strategy, seed, crew, result_of, open_journal):
    chance, budget = random.Random(seed), 85
    spec, workers = crew(3, strategy)
    done: Counter[tuple[int, int]] = Counter()
    spent, n_idle = 0, 0
    while n_idle < 20:
        worker = chance.choice(workers)
        n_idle += 1
        if worker.proposal is None:
            worker.ask(budget - spent)
        else:
            number, rung = worker.proposal.number, worker.proposal.rung
            others = [each.proposal for each in workers if each is not worker and each.proposal]
            assert number not in {each.number for each in others}
            fate = chance.random()
            if fate < 0.2:
                worker.die()
            else:
                dies = fate < 0.3
                end_step(worker, spec, result_of, dies=dies)
                if not dies or rung < len(strategy.rungs):
                    done[number, rung] += 1
                    before = strategy.fold_epochs(rung - 1, HORIZON, N_FOLDS)
                    spent += strategy.fold_epochs(rung, HORIZON, N_FOLDS) - before
        if any(each.proposal for each in workers):
            n_idle = 0
        assert spent <= budget
    assert set(done.values()) == {1}
    trials = open_journal(spec).get_trials()
    ended = {trial.number for trial in trials if trial.state is TrialState.COMPLETE}
    assert ended == {number for number, rung in done if rung == len(strategy.rungs)}
    assert len(ended) >= 1
    at_rest = {trial.number for trial in workers[0].climbs.at_rest()}
    assert ended | at_rest == set(range(len(trials)))


def test_each_gets_a_trial_of_its_own_and_what_the_others_train_counts(crew, result_of):
    spec, (one, two, three) = crew(3)
    assert [each.ask(85) for each in (one, two, three)] == [Step(None, 1)] * 3
    assert [each.proposal.number for each in (one, two, three)] == [0, 1, 2]
    for worker in (one, two):
        end_step(worker, spec, result_of)
    with two.claims.asking():
        assert two.climbs.underway(two.claims.is_taken) == 1  # of trial 2
    # Three have begun and none has gone on: one does, and then another one begins.
    assert one.ask(85).rung == 2
    taken = one.proposal.number
    assert two.ask(85) == Step(None, 1)
    end_step(two, spec, result_of)
    with two.claims.asking():
        assert two.climbs.underway(two.claims.is_taken) == 1 + 4
    assert two.ask(85).number != taken


def test_what_is_left_is_shared(crew, result_of):
    """Of 25 fold-epochs one trial can be finished: 20, after one each of those that begin."""
    spec, (one, two) = crew(2, FinishBest(n_finalists=1, rungs=(0.1, 1.0)))
    while (step := one.ask(25 - len(one.climbs.paused()))).rung == 1:
        end_step(one, spec, result_of)
    n_begun = len(one.climbs.paused())
    assert step.rung == 2
    assert n_begun + 19 <= 25
    assert two.ask(25 - n_begun) is None  # and waits: the other one may yet fail


def test_one_whose_worker_died_goes_on_before_all_others(crew, result_of):
    spec, (one, two) = crew(2)
    for _ in range(5):
        one.ask(85)
        end_step(one, spec, result_of)
    step = one.ask(85)
    assert step.rung == 2
    one.die()
    assert step.number not in {each.number for each in two.climbs.at_rest()}
    assert step.number in {each.number for each in two.climbs.paused()}  # as it was on its rung
    assert two.ask(85) == step


def test_a_trial_that_was_told_its_value_and_not_its_end_ends_again(crew, result_of):
    """Its process died between the two writes."""
    spec, (one, two) = crew(2, FinishBest(n_finalists=1), budget=Budget(n_trials=1))
    one.ask(85)
    end_step(one, spec, result_of)
    assert one.ask(85) == Step(0, 2)
    end_step(one, spec, result_of, dies=True)
    assert two.ask(85) == Step(0, 2)
    end_step(two, spec, result_of)
    assert two.ask(85) is None
    assert [trial.outcome for trial in two.climbs.paused()] == []


def test_one_that_is_interrupted_keeps_what_it_was_on_its_rung(crew, result_of):
    spec, (one, two) = crew(2, FinishBest(), budget=Budget(n_trials=1))
    one.ask(85)
    end_step(one, spec, result_of)
    paused = one.climbs.paused_result(0)
    assert one.ask(85) == Step(0, 2)
    one.proposal.tell(result_of(one.proposal, spec, [0.5] * 4, Outcome.INTERRUPTED))
    one.die()
    found = two.climbs.paused_result(0)
    assert found is not None
    assert found.curves.values.tolist() == paused.curves.values.tolist()
    assert two.ask(85) == Step(0, 2)


def test_a_strategy_with_fewer_rungs_goes_on_with_what_is_there(crew, result_of, open_journal):
    spec, (one,) = crew(1, Ladder(rungs=(0.1, 0.3, 0.5, 1)), budget=Budget(n_trials=4))
    while one.ask(85).rung < 3:
        end_step(one, spec, result_of)
    end_step(one, spec, result_of)
    fewer = Worker(open_journal(spec), spec, FinishBest(), one.claims._folder)
    steps = []
    while (step := fewer.ask(200)) is not None:
        steps.append(step)
        end_step(fewer, spec, result_of)
    assert {step.rung for step in steps} <= {1, 2}
    assert sum(step.rung == 2 for step in steps) == 3


def test_enqueued_trials_are_begun_once(crew, open_journal):
    spec, workers = crew(3)
    enqueue(open_journal(spec), [{"learning_rate": rate, "momentum": 0.5} for rate in (0.01, 0.02)])
    for worker in workers:
        worker.ask(85)
    rates = [worker.proposal.params["learning_rate"] for worker in workers]
    assert rates[:2] == [0.01, 0.02]
    assert [worker.proposal.number for worker in workers] == [0, 1, 2]
