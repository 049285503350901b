"""The right edge: the best trial trained on, its end closed, left open, or cut by the budget."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from pipeline.budget import Budget
from pipeline.errors import BadInput, Interrupted
from pipeline.progress import Display
from pipeline.search import search
from tests.tiny_study import Heard, StopAt, bits, client, runs_of, tiny

# Labels that say nothing about the rows: every epoch overfits more than the one before.
NO_SIGNAL = """, load_data=lambda: (np.random.default_rng(0).normal(size=(60, 8)),
    np.random.default_rng(1).integers(0, 2, 60))"""
WIDE = """
    model = keras.Sequential([
        keras.Input((8,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(params["learning_rate"]), "binary_crossentropy")
    return model
"""
ONE = "budget=Budget(n_trials=1)"
SLOW = f"dict(space=dict(learning_rate=1e-4, max_epochs=4), {ONE})"


def overfitting(home, more=""):
    space = "space=dict(learning_rate=0.02, max_epochs=30)"
    return tiny(home, fields=f"dict({space}{NO_SIGNAL}, {ONE}, {more})", builder=WIDE)


def test_a_curve_that_turned_is_trained_until_its_end_is_worse_than_its_best(home):
    result = search(overfitting(home, "early_stopping=EarlyStopping(patience=2)"))
    n_before, n_epochs = result.trials[0].curves.n_epochs, result.best.curves.n_epochs
    assert n_before < 30 <= n_epochs < 90
    assert not result.open_end
    assert n_epochs not in result.evidence.equivalent_epochs
    # Training on is the same as never having stopped.
    through = search(overfitting(home))
    assert through.best.curves.values.tolist() == result.best.curves.values.tolist()
    assert result.n_extra_fold_epochs == 3 * (n_epochs - n_before)


@pytest.mark.long
def test_a_curve_that_still_falls_is_trained_to_three_times_its_horizon_and_left_open(home):
    result = search(tiny(home, fields=SLOW))
    assert result.trials[0].curves.n_epochs == 4
    assert result.best.curves.n_epochs == result.choice.n_epochs == 12
    assert result.open_end == "the best epoch is the last one trained, 12"
    values = json.loads(result.decision_path.read_text())
    assert values["determined"] is False
    assert values["horizon"] == 12
    _, (run,) = runs_of(home)
    logged = client(home).get_metric_history(run.info.run_id, "val_loss_mean")
    assert [metric.step for metric in logged] == list(range(1, 13))
    assert run.info.status == "FINISHED"


@pytest.mark.long
def test_the_budgets_time_leaves_the_end_open_and_more_of_it_settles_it(home, monkeypatch):
    passed = 0.0

    class AnHourATrial(Display):
        def trial_ended(self, result):
            nonlocal passed
            passed += 3600.0

    monkeypatch.setattr("pipeline.spending.time.monotonic", lambda: passed)
    space = "space=dict(learning_rate=0.02, max_epochs=30)"
    fields = (
        f"dict({space}{NO_SIGNAL}, early_stopping=EarlyStopping(patience=1), budget=Budget({{}}))"
    )
    short = tiny(home, fields=fields.format("1, 1800.0"), builder=WIDE)
    cut = search(short, display=AnHourATrial())
    assert cut.best.curves.n_epochs == cut.trials[0].curves.n_epochs
    assert cut.open_end.endswith("and the budget is spent")
    settled = search(tiny(home, fields=fields.format("1"), builder=WIDE))
    assert settled.best.curves.n_epochs >= 30
    assert not settled.open_end


@pytest.mark.parametrize(
    "most", [pytest.param("max_fold_epochs=24", marks=pytest.mark.long), "max_updates=72"]
)  # 8 epochs of 3 folds
def test_the_winners_epochs_are_of_the_budget_in_every_session(home, most):
    fields = SLOW.replace("n_trials=1", f"n_trials=1, {most}")
    for _ in range(2):
        result = search(tiny(home, fields=fields))
        assert result.best.curves.n_epochs == 8
        assert result.open_end.endswith("and the budget is spent")


@pytest.mark.long
def test_all_longer_schedules_together_keep_to_the_budget(home):
    # 2 + 4 epochs of 3 folds in the search, 6 for the first longer one: the next has 3 of its 9.
    result = search(replace(annealed(home, 0.003), budget=Budget(2, max_fold_epochs=45)))
    assert result.best.params["max_epochs"] == 6
    assert result.open_end.endswith("and the budget is spent")


def test_what_was_settled_is_read_and_not_trained_again(home, monkeypatch):
    first = search(tiny(home, fields=SLOW))
    monkeypatch.setattr("pipeline.winner._advance", None)
    again = search(tiny(home, fields=SLOW))
    assert bits(again) == bits(first)
    assert again.open_end == first.open_end
    assert again.evidence == first.evidence


@pytest.mark.long
def test_a_rule_that_was_changed_may_need_more_of_the_curve(home):
    space = "space=dict(learning_rate=0.02, max_epochs=CategoricalDistribution([4, 20]))"
    fields = f"dict({space}{NO_SIGNAL}, budget=Budget(n_trials=2), rule={{}})"
    search(tiny(home, fields=fields.format("BestOfMean()"), builder=WIDE))
    result = search(tiny(home, fields=fields.format("Fixed(20)"), builder=WIDE))
    assert result.choice.n_epochs == 20
    assert result.best.curves.n_epochs >= 20


def test_a_divergence_ends_the_curve_before_it(home):
    explodes = """type("Explodes", (Constant,), {"learning_rates":
        lambda self, initial, epochs, horizon: np.where(epochs < 5, initial, 1e30)})()"""
    builder = """
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(params["learning_rate"]), loss="mse")
    return model
"""
    fields = f"dict(schedule={explodes}, space=dict(learning_rate=0.01, max_epochs=3), {ONE})"
    result = search(tiny(home, fields=fields, builder=builder))
    assert result.best.curves.n_epochs == 5
    assert np.isfinite(result.best.curves.values).all()
    assert result.choice.n_epochs == 5
    assert not result.open_end


ANNEALED = """dict(schedule=Cosine(), preprocess=None,
    space=dict(learning_rate={rate}, max_epochs=CategoricalDistribution({horizons})),
    sampler=lambda seed: __import__('optuna').samplers.GridSampler({{"max_epochs": {horizons}}}),
    early_stopping=EarlyStopping(patience=1), budget=Budget(n_trials=2){more})"""


def annealed(home, rate, horizons="[2, 4]", more="", **changes):
    return tiny(home, fields=ANNEALED.format(rate=rate, horizons=horizons, more=more), **changes)


def test_an_annealed_trial_counts_at_its_end_and_longer_ones_are_trained_afresh(home):
    heard = Heard()
    result = search(annealed(home, 0.003), display=heard)
    assert [trial.best_n_epochs for trial in result.trials] == [
        trial.params["max_epochs"] for trial in result.trials
    ]  # none was stopped early
    assert any("a schedule of 6 is trained afresh" in line for line in heard.lines)
    assert result.best.params["max_epochs"] == result.choice.n_epochs == result.choice.horizon == 12
    assert result.choice.rule == "whole-schedule"
    assert "12 epochs, lies at the upper end" in result.open_end
    _, children = runs_of(home)
    longer = [run.info.run_name for run in children if "," in run.info.run_name]
    assert [name.split(", ")[1] for name in longer] == ["12 epochs", "6 epochs", "9 epochs"]
    assert len(children) == 2 + len(longer)
    again = search(annealed(home, 0.003))
    assert again.best.curves.values.tolist() == result.best.curves.values.tolist()
    assert len(runs_of(home)[1]) == len(children)


def test_a_longer_schedule_that_is_no_better_settles_it(home):
    spec = annealed(home, 0.05, "[4, 12]", NO_SIGNAL, builder=WIDE)
    result = search(spec)
    assert not result.open_end
    assert result.best.params["max_epochs"] == 4


def test_a_fixed_horizon_is_what_was_asked_for(home):
    fields = f"dict(schedule=Cosine(), space=dict(learning_rate=0.003, max_epochs=4), {ONE})"
    result = search(tiny(home, fields=fields))
    assert result.choice.n_epochs == result.best.curves.n_epochs == 4
    assert not result.open_end


def test_an_earlier_epoch_of_a_schedule_is_chosen_where_that_is_allowed(home):
    spec = annealed(
        home, 0.05, "[4, 12]", ", choose_within_schedule=True" + NO_SIGNAL, builder=WIDE
    )
    result = search(spec)
    assert result.best.any_epoch
    assert result.choice.n_epochs == result.best.curves.best_n_epochs


def test_a_schedule_that_may_be_cut_is_not_trained_past_its_horizon(home):
    result = search(annealed(home, 0.003, more=", choose_within_schedule=True"))
    assert result.best.curves.n_epochs == result.best.params["max_epochs"] == 4
    assert result.open_end == "the best epoch is the last one trained, 4"  # of the longest searched


def test_a_count_beyond_the_space_is_refused_before_training(home):
    with pytest.raises(BadInput, match="n_epochs must have been trained, got 40"):
        search(tiny(home, fields=f"dict(rule=Fixed(40), {ONE})"))


class StopAtLine(Display):
    """Sends this process a signal when a line says this."""

    def __init__(self, text):
        self.text = text

    def say(self, line):
        if self.text in line:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.long
def test_a_signal_before_its_first_epoch_interrupts(home):
    with pytest.raises(Interrupted):  # what was kept of the best trial goes with this session
        search(tiny(home, fields=SLOW), display=StopAt(0, 4))
    with pytest.raises(Interrupted):
        search(tiny(home, fields=SLOW), display=StopAtLine("goes on, unstopped"))
    assert search(tiny(home, fields=SLOW)).best.curves.n_epochs == 12


@pytest.mark.long
def test_a_signal_before_the_first_epoch_of_a_longer_schedule_interrupts(home):
    with pytest.raises(Interrupted):
        search(annealed(home, 0.003), display=StopAtLine("6 is trained afresh"))
    assert search(annealed(home, 0.003)).choice.n_epochs == 12


def test_what_the_answer_took_is_counted_in_its_costs_and_in_the_next_sessions_budget(home):
    fields = "dict(space=dict(learning_rate=1e-4, max_epochs=4), budget=Budget({}))"
    result = search(tiny(home, fields=fields.format("1")))
    # 4 epochs of 3 folds in the search, 8 more of the winner, 3 updates each.
    costs = json.loads(result.decision_path.read_text())
    assert (costs["fold_epochs"], costs["updates"]) == (3 * 12, 3 * 12 * 3)
    run = runs_of(home)[0].data
    assert (run.metrics["fold_epochs"], run.metrics["updates"]) == (3 * 12, 3 * 12 * 3)
    # A second trial would fit beside the first, but not beside its extension as well.
    more = search(tiny(home, fields=fields.format("2, max_fold_epochs=40")))
    assert len(more.trials) == 1
    assert more.budget_over == "max_fold_epochs=40"


def test_snapshots_of_winners_and_refits_that_were_superseded_go(home):
    search(tiny(home, fields=SLOW))
    (folder,) = home.glob("mlruns/studies/*")
    (folder / "snapshots").mkdir(exist_ok=True)
    for name in ("winner_007.npz", "winner_007.npz.tmp", "refit_007_4_epochs.npz", "trial_001.npz"):
        (folder / "snapshots" / name).touch()
    search(tiny(home, fields=SLOW))
    assert [path.name for path in (folder / "snapshots").iterdir()] == ["trial_001.npz"]
