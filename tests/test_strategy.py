"""Strategies on trials made by hand: each knows its loss on every rung, and nothing is trained."""

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.strategy import FinishBest, Ladder, Standing, Step, places

STRATEGIES = [Ladder(), FinishBest(), Ladder(rungs=(0.1, 0.5, 1), n_finalists=1)]
HORIZON = 64


def play(strategy, losses, *, left=math.inf, n_folds=1, n_trials=10**6, n_steps=10**6):
    """Search until the strategy ends it; return standings, steps and what is left.

    losses: (trial, rung) -> loss; infinite for one that diverges on the way there
    """
    standings: dict[int, Standing] = {}
    steps: list[Step] = []
    while len(steps) < n_steps:
        step = strategy.next_step(
            list(standings.values()),
            n_folds=n_folds,
            horizon=HORIZON,
            can_begin=len(standings) < n_trials,
            left=left,
        )
        if step is None:
            break
        steps.append(step)
        number = len(standings) if step.number is None else step.number
        before = standings.get(number, Standing(number, HORIZON))
        assert before.is_paused
        assert step.rung == before.rung + 1
        costs = (strategy.fold_epochs(rung, HORIZON, n_folds) for rung in (step.rung, before.rung))
        left -= next(costs) - next(costs)
        loss = losses(number, step.rung)
        if math.isinf(loss):
            standings[number] = replace(before, has_failed=True, is_paused=False)
            continue
        is_over = step.rung == len(strategy.rungs)
        standings[number] = replace(before, losses=(*before.losses, loss), is_paused=not is_over)
    return standings, steps, left


def drawn(seed):
    """Return losses that differ from trial to trial, and change places on the way."""
    return lambda number, rung: random.Random(f"{seed} {number} {rung}").random()


def test_the_ladder_spends_as_much_on_each_rung():
    ladder = Ladder()
    standings, _, _ = play(ladder, drawn(1), n_steps=400)
    spent = [
        sum(each.rung >= rung for each in standings.values())
        * (ladder.n_epochs(rung, HORIZON) - ladder.n_epochs(rung - 1, HORIZON))
        for rung in (1, 2, 3)
    ]
    assert max(spent) - min(spent) <= HORIZON
    assert [each.rung for each in standings.values()].count(3) > 5


def test_the_first_steps_of_a_ladder():
    """Three begin, since a quarter less a sixteenth is three sixteenths; then the best goes on."""
    losses = {0: 0.3, 1: 0.1, 2: 0.2}
    _, steps, _ = play(Ladder(), lambda number, rung: losses.get(number, 0.9), n_steps=5)
    assert steps[:4] == [Step(None, 1)] * 3 + [Step(1, 2)]
    assert steps[4] == Step(None, 1)


def test_the_best_paused_one_goes_on_though_it_paused_long_ago():
    standings = [Standing(n, HORIZON, (loss,)) for n, loss in enumerate([0.2, 0.5, 0.5, 0.5])]
    assert Ladder().next_step(standings, n_folds=1, horizon=HORIZON) == Step(0, 2)
    busy = [replace(standings[0], is_paused=False, is_climbing=True), *standings[1:]]
    assert Ladder().next_step(busy, n_folds=1, horizon=HORIZON) == Step(None, 1)


def test_deeper_rungs_decide_wherever_they_are_known():
    def ended(number, *losses, **fields):
        return Standing(number, HORIZON, losses, is_paused=False, **fields)

    standings = [
        ended(0, 0.1, 0.2, 0.9),  # looked best at first, and was worst in the end
        ended(1, 0.4, 0.3, 0.5),
        Standing(2, HORIZON, (0.2, 0.4)),
        Standing(3, HORIZON, (0.3,)),
        Standing(4, HORIZON, (0.5,)),
        Standing(5, HORIZON, is_paused=False, is_climbing=True),  # new: nothing is known of it
        ended(6, 0.0, has_failed=True),
        ended(7, has_failed=True),
    ]
    assert places(standings) == {1: 0, 0: 1, 3: 2, 2: 3, 4: 4, 6: 5, 7: 6}


def test_places_are_by_the_loss_where_all_came_as_far():
    standings = [Standing(n, HORIZON, (1.0, loss)) for n, loss in enumerate([0.3, 0.1, 0.2, 0.1])]
    assert places(standings) == {1: 0, 3: 1, 2: 2, 0: 3}


def test_all_folds_are_counted_on_the_last_rung_only():
    """One trial on all folds costs as much as 76 first rungs of one."""
    ladder = Ladder()
    assert [ladder.fold_epochs(rung, HORIZON, 5) for rung in range(4)] == [0, 4, 16, 320]
    standings, _, _ = play(ladder, drawn(2), n_folds=5, n_steps=110)
    assert [each.rung for each in standings.values()].count(3) == 1


def test_a_short_horizon_has_rungs_of_whole_epochs():
    assert [Ladder().n_epochs(rung, 3) for rung in range(4)] == [0, 1, 1, 3]


def test_the_simple_one_finishes_the_best_of_all():
    losses = drawn(3)
    standings, steps, _ = play(FinishBest(), losses, n_trials=12)
    assert steps[:12] == [Step(None, 1)] * 12
    best = sorted(range(12), key=lambda number: losses(number, 1))[:3]
    assert sorted(n for n, each in standings.items() if each.rung == 2) == sorted(best)


def test_without_another_trial_a_ladder_ends_with_its_finalists():
    """Or it would go on until all that paused are trained to their end."""
    ladder = Ladder()
    standings, _, left = play(ladder, drawn(4), n_trials=6, left=100 * HORIZON)
    assert len(standings) == 6
    assert [each.rung for each in standings.values()].count(3) == ladder.n_finalists
    assert left > 90 * HORIZON


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9), trainings=st.floats(0.5, 12), n_folds=st.sampled_from([1, 5]))
def test_a_budget_is_not_overspent_and_the_finalists_arrive(strategy, seed, trainings, n_folds):
    standings, _, left = play(
        strategy, drawn(seed), left=trainings * n_folds * HORIZON, n_folds=n_folds
    )
    arrived = [each for each in standings.values() if each.rung == len(strategy.rungs)]
    assert arrived  # whatever the budget
    assert left >= 0 or len(arrived) == 1
    if trainings >= strategy.n_finalists + 1:
        assert left >= 0
        assert len(arrived) >= strategy.n_finalists


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_trials_that_diverge_go_no_further_and_the_others_arrive(strategy):
    def losses(number, rung):
        return math.inf if number % 2 else 1 / (number + rung)

    standings, _, _ = play(strategy, losses, left=8 * HORIZON)
    assert all(each.rung == 0 for number, each in standings.items() if number % 2)
    assert any(each.rung == len(strategy.rungs) for each in standings.values())


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_a_step_depends_on_where_the_trials_stand_alone(strategy):
    """Not on the order in which they are told, so a restart changes nothing."""
    standings, _, _ = play(strategy, drawn(5), n_steps=4)
    steps = {
        strategy.next_step(list(order), n_folds=1, horizon=HORIZON, left=3 * HORIZON)
        for order in itertools.permutations(standings.values())
    }
    assert len(steps) == 1


@pytest.mark.parametrize("rungs", [(), (0.5,), (1, 0.5), (0.5, 0.5, 1), (0, 1), (0.5, 2), [0.5, 1]])
def test_rungs_must_rise_to_one(rungs):
    with pytest.raises(BadInput, match="rungs must be shares > 0 that rise to 1"):
        Ladder(rungs=rungs)


@pytest.mark.parametrize("field", [{"fold": -1}, {"n_finalists": 0}])
def test_other_fields_are_checked(field):
    with pytest.raises(BadInput, match=next(iter(field))):
        Ladder(**field)
