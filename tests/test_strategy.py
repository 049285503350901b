"""Strategies on trials made by hand: each knows its loss on every rung, and nothing is trained."""

import itertools
import math
import random
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.strategy import FinishBest, Ladder, Standing, Step, places

STRATEGIES = [Ladder(), FinishBest(), Ladder(rungs=(0.1, 0.5, 1), n_finalists=1)]
ONE_FOLD = Ladder(rungs=(1 / 9, 1 / 3, 1))
HORIZON = 64


def play(
    strategy, losses, *, left=math.inf, n_folds=1, n_trials=10**6, n_steps=10**6, standings=None
):
    """Search until the strategy ends it; return standings, steps and what is left.

    losses: (trial, rung) -> loss; infinite for one that diverges on the way there
    standings: of an earlier session
    """
    standings, strategy = {} if standings is None else standings, strategy.of_folds(n_folds)
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


@pytest.mark.parametrize("factor", [1, 2, 3.0])
def test_of_so_many_trials_on_a_rung_one_goes_on_but_to_the_end(factor):
    ladder = Ladder(rungs=(1 / 16, 1 / 4, 1 / 2, 1), reduction_factor=factor)
    standings, _, _ = play(ladder, drawn(1), n_steps=400)
    there = [sum(each.rung >= rung for each in standings.values()) for rung in (1, 2, 3, 4)]
    assert there[3] == 0
    assert all(
        abs(more - factor * fewer) <= factor for more, fewer in itertools.pairwise(there[:3])
    )


@pytest.mark.parametrize("strategy", [*STRATEGIES, ONE_FOLD])
@pytest.mark.parametrize(("n_trials", "n_folds"), [(30, 5), (100, 3), (30, 1)])
def test_what_a_number_of_trials_costs_is_known_but_for_a_step_on_each_rung(
    strategy, n_trials, n_folds
):
    budget = 10**6
    *_, left = play(strategy, drawn(0), left=budget, n_folds=n_folds, n_trials=n_trials)
    expected = strategy.expected_fold_epochs(n_trials, n_folds, HORIZON)
    assert abs(budget - left - expected) <= HORIZON * n_folds


@pytest.mark.parametrize(
    ("strategy", "n_folds", "expected"),
    # A ninth of one fold, a ninth of four in every second, two ninths of five in every fourth.
    [
        (Ladder(), 5, (1 + 10 + 12.5) / 5.5),
        (Ladder(), 1, 1),
        (ONE_FOLD, 5, 1),
        (FinishBest(), 5, 1),
    ],
)
def test_folds_at_once_are_the_mean_over_the_lower_rungs(strategy, n_folds, expected):
    assert strategy.n_folds_at_once(n_folds, 9) == pytest.approx(expected)


def test_the_first_steps_of_a_ladder():
    """Two begin, since half of them goes on; then the best one does."""
    losses = {0: 0.3, 1: 0.1, 2: 0.2}
    ladder = Ladder(rungs=(1 / 16, 1 / 4, 1))
    _, steps, _ = play(ladder, lambda number, rung: losses.get(number, 0.9), n_steps=6)
    assert steps[:3] == [Step(None, 1)] * 2 + [Step(1, 2)]
    assert steps[3:] == [Step(None, 1)] * 2 + [Step(2, 2)]


def test_the_best_paused_one_goes_on_though_it_paused_long_ago():
    standings = [Standing(n, HORIZON, (loss,)) for n, loss in enumerate([0.2, 0.5, 0.5])]
    ask = partial(Ladder(rungs=(1 / 16, 1 / 4, 1)).next_step, n_folds=1, horizon=HORIZON)
    assert ask(standings) == Step(0, 2)
    busy = [replace(standings[0], is_paused=False, is_climbing=True), *standings[1:]]
    assert ask(busy) == Step(None, 1)


def test_finalists_are_finished_when_the_rest_of_the_budget_is_theirs():
    """What they take is there: two thirds of a training each. A new one has its ninth besides."""
    standings = [Standing(n, 9, (0.5, 0.1 * n)) for n in range(4)]
    ask = partial(replace(ONE_FOLD, n_finalists=2).next_step, standings, n_folds=1, horizon=9)
    assert ask(left=13) == Step(None, 1)
    assert ask(left=12) == Step(0, 3)
    standings[0] = Standing(0, 9, (0.5, 0.0, 0.9), is_paused=False)
    assert ask(left=6) == Step(1, 3)  # and not 2, which is better than 0 is in the end
    standings[1] = Standing(1, 9, (0.5, 0.1, 0.9), is_paused=False)
    assert ask(left=6) is None


def test_finalists_wait_for_what_others_train_below_them():
    """It may get ahead of them."""
    ladder = replace(ONE_FOLD, n_finalists=2)
    ask = partial(ladder.next_step, n_folds=1, horizon=9, can_begin=False)
    paused = [Standing(n, 9, (0.5, 0.1 * n)) for n in range(2)]
    below = Standing(2, 9, (0.4,), is_paused=False, is_climbing=True)
    assert ask([*paused, below]) is None
    assert ask([*paused, replace(below, losses=(0.4, 0.0), is_climbing=False)]) is not None
    at_its_end = replace(paused[0], is_paused=False, is_climbing=True)
    assert ask([at_its_end, paused[1]]) == Step(1, 3)


def test_half_of_a_budget_is_not_kept_back():
    """A finalist takes two thirds of a training: half of a budget of 2⅔ has room for two."""
    standings = [Standing(n, 9, (0.5, 0.1 * n)) for n in range(4)]  # 12 epochs
    ask = partial(ONE_FOLD.next_step, standings, n_folds=1, horizon=9)
    assert ask(left=11) == Step(None, 1)  # 6 are kept back of 23
    assert ask(left=12) == Step(0, 3)  # 12 of 24
    assert ask(left=23) == Step(None, 1)  # 12 of 35
    assert ask(left=24) == Step(None, 1)  # 18 of 36


def test_what_finalists_leave_is_for_one_that_may_get_ahead_of_them():
    """If it could be finished."""
    ended = [Standing(n, 9, (0.5, 0.1, 0.1), is_paused=False) for n in range(2)]
    ask = partial(replace(ONE_FOLD, n_finalists=2).next_step, n_folds=1, horizon=9)
    assert ask(ended, left=7) == Step(None, 1)
    assert ask(ended, left=6) is None
    ahead = [*ended, Standing(2, 9, (0.4, 0.0))]
    assert ask(ahead, left=6) == Step(2, 3)


def test_what_ended_on_its_way_is_no_finalist():
    """As all that are paused do when a search is over; it may go on with a larger budget."""
    ended = Standing(0, 9, (0.5, 0.1), is_paused=False)
    failed = Standing(1, 9, (0.5, 0.1), is_paused=False, has_failed=True)
    climbing = Standing(2, 9, (0.5, 0.3), is_paused=False, is_climbing=True)
    three = replace(ONE_FOLD, n_finalists=3)
    standings = [ended, failed, climbing, Standing(3, 9, (0.5, 0.2)), Standing(4, 9, (0.3,))]
    assert [each.number for each in three.finalists(standings)] == [3, 2, 4]


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
    ladder = replace(ONE_FOLD, n_finalists=1)
    assert [ladder.fold_epochs(rung, 9, 5) for rung in range(4)] == [0, 1, 3, 45]
    one = [Standing(0, 9, (0.5, 0.1))]
    assert ladder.next_step(one, n_folds=5, horizon=9, left=43) == Step(None, 1)
    assert ladder.next_step(one, n_folds=5, horizon=9, left=42) == Step(0, 3)


def test_or_from_a_rung_on_that_is_there_twice():
    ladder = Ladder(rungs=(1 / 9, 1 / 3, 1 / 3, 1))
    assert [ladder.fold_epochs(rung, 9, 5) for rung in range(5)] == [0, 1, 3, 15, 45]
    assert [ladder.is_of_all_folds(rung) for rung in (1, 2, 3, 4)] == [False, False, True, True]
    seen = [Standing(n, 9, (0.5, 0.1 * n)) for n in range(13)]
    assert ladder.next_step(seen, n_folds=5, horizon=9) == Step(0, 3)
    assert ladder.rung_of(3, 9, has_all_folds=False) == 2
    assert ladder.rung_of(3, 9, has_all_folds=True) == 3
    assert ladder.of_folds(5) is ladder
    assert ladder.of_folds(1) == ONE_FOLD


def test_a_short_horizon_has_rungs_of_whole_epochs():
    assert [Ladder(rungs=(1 / 9, 1 / 4, 1)).n_epochs(rung, 3) for rung in range(4)] == [0, 1, 1, 3]


def test_the_simple_one_finishes_the_best_of_all():
    losses = drawn(3)
    standings, steps, _ = play(FinishBest(), losses, n_trials=12)
    assert steps[:12] == [Step(None, 1)] * 12
    best = sorted(range(12), key=lambda number: losses(number, 1))[:3]
    assert sorted(n for n, each in standings.items() if each.rung == 2) == sorted(best)


def test_without_another_trial_a_ladder_ends_with_its_finalists():
    """Or it would go on until all that paused are trained to their end."""
    ladder = ONE_FOLD
    standings, _, left = play(ladder, drawn(4), n_trials=12, left=100 * HORIZON)
    assert len(standings) == 12
    arrived = {number for number, each in standings.items() if each.rung == 3}
    assert arrived == {each.number for each in ladder.finalists(standings.values())}
    assert len(arrived) == ladder.n_finalists
    assert left > 90 * HORIZON


def test_trials_that_may_begin_later_are_finished_if_they_are_better():
    """A study that goes on with more trials has finalists that have ended already."""

    def losses(number, rung):
        return 1 / (1 + number)

    ladder = ONE_FOLD
    standings, _, _ = play(ladder, losses, n_trials=6)
    play(ladder, losses, n_trials=12, standings=standings)
    arrived = {number for number, each in standings.items() if each.rung == 3}
    assert len(arrived) == 2 * ladder.n_finalists
    assert arrived > {each.number for each in ladder.finalists(standings.values())}


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9), trainings=st.floats(0.5, 12), n_folds=st.sampled_from([1, 5]))
def test_a_budget_is_not_overspent_and_the_finalists_arrive(strategy, seed, trainings, n_folds):
    standings, _, left = play(
        strategy, drawn(seed), left=trainings * n_folds * HORIZON, n_folds=n_folds
    )
    last = len(strategy.of_folds(n_folds).rungs)
    arrived = [each for each in standings.values() if each.rung == last]
    assert arrived  # whatever the budget
    assert left >= 0 or len(arrived) == 1
    if trainings >= 2 * strategy.n_finalists:  # half of it has room for them
        assert left >= 0
        assert len(arrived) >= strategy.n_finalists


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_trials_that_diverge_go_no_further_and_the_others_arrive(strategy):
    def losses(number, rung):
        return math.inf if number % 2 else 1 / (number + rung)

    standings, _, _ = play(strategy, losses, left=8 * HORIZON)
    assert all(each.rung == 0 for number, each in standings.items() if number % 2)
    last = len(strategy.of_folds(1).rungs)
    assert any(each.rung == last for each in standings.values())


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
def test_a_step_depends_on_where_the_trials_stand_alone(strategy):
    """Not on the order in which they are told, so a restart changes nothing."""
    standings, _, _ = play(strategy, drawn(5), n_steps=4)
    steps = {
        strategy.next_step(list(order), n_folds=1, horizon=HORIZON, left=3 * HORIZON)
        for order in itertools.permutations(standings.values())
    }
    assert len(steps) == 1


@pytest.mark.parametrize(
    "rungs",
    [
        *((), (1,), (1, 0.5), (0.5, 1, 1), (0, 1), (0.5, 2), [0.5, 1]),
        *((0.2, 0.2, 0.5, 0.5, 1), (0.5, 0.5, 0.5, 1)),
    ],
)
def test_rungs_must_rise_to_one(rungs):
    with pytest.raises(BadInput, match="rungs must be two shares > 0 or more that rise to 1, one"):
        Ladder(rungs=rungs)


@pytest.mark.parametrize("field", [{"fold": -1}, {"n_finalists": 0}, {"reduction_factor": 0.5}])
def test_other_fields_are_checked(field):
    with pytest.raises(BadInput, match=next(iter(field))):
        Ladder(**field)
