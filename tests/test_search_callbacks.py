"""Whole searches with the user's callbacks and augmentation."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.dry_run import cost_of
from pipeline.errors import BadInput, Interrupted
from pipeline.search import search
from pipeline.wording import advice
from tests.tiny_study import Heard, StopAt, bits, client, runs_of, tiny

KERAS = "__import__('keras').callbacks"
HOLDS_NOTHING = f"{KERAS}.LearningRateScheduler(lambda epoch, rate: rate * 0.9)"
MAY_HOLD = f"{KERAS}.LambdaCallback(on_epoch_end=lambda epoch, logs: None)"
SPACE = (
    "space={'learning_rate': FloatDistribution(1e-3, 1e-1, log=True), 'max_epochs': 3}, "
    "budget=Budget(n_trials=2)"
)


def fields(*callbacks: str, more: str = "") -> str:
    noise = "x + np.random.default_rng(seed).normal(0, 0.1, x.shape)"
    made = f"callbacks=lambda: [{', '.join(callbacks)}]"
    augment = f"augment=lambda x, y, seed: ({noise}, y)"
    return f"dict(engine='auto', {made}, {augment}, {SPACE}{more})"


def test_a_search_with_callbacks_streams_says_why_and_logs_the_rates_that_they_set(home):
    told = home / "told"
    begin, end = (f"lambda logs: open({str(told)!r}, 'a').write('{each}')" for each in "be")
    tells = f"{KERAS}.LambdaCallback(on_train_begin={begin}, on_train_end={end})"
    display = Heard()
    result = search(tiny(home, fields=fields(HOLDS_NOTHING, tells)), display=display)
    # Two trials, the best one for its end and its models, each with three folds; the refit.
    assert told.read_text().count("e") == told.read_text().count("b") >= 4 * 3 + 1
    reason = "no compiled epoch can call Python: callbacks and augment"
    assert f"engine stream: {reason}" in display.lines
    decision = json.loads(result.decision_path.read_text())
    assert decision["engine"]["mode"] == "stream"
    assert decision["engine"]["reason"] == reason
    assert advice(result).endswith("epochs, with the study's callbacks and augment")
    parent, (first, *_) = runs_of(home)
    assert parent.data.params["engine.mode"] == "stream"
    assert parent.data.params["callbacks"] == parent.data.params["augment"] == "<function <lambda>>"
    logged = client(home).get_metric_history(first.info.run_id, "learning_rate")
    rates = [metric.value for metric in sorted(logged, key=lambda metric: metric.step)]
    rate = result.trials[0].params["learning_rate"]
    assert rates[:3] == pytest.approx([rate * 0.9**n for n in (1, 2, 3)], rel=1e-6)
    assert result.refit is not None


@pytest.mark.long
@pytest.mark.parametrize(
    ("callback", "goes_on"),
    [(HOLDS_NOTHING, True), (MAY_HOLD, False)],
    ids=["goes on", "anew"],
)
def test_a_search_that_is_stopped_comes_to_the_same_bits(home, tmp_path_factory, callback, goes_on):
    of = fields(callback, HOLDS_NOTHING, more=", refit=Refit(enabled=False)")
    through = Heard()
    result = search(tiny(home, fields=of), display=through)
    told = [line for line in through.lines if "no snapshot holds" in line]
    assert len(told) == (not goes_on)
    other = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Interrupted):
        search(tiny(other, fields=of), display=StopAt(1, 2))
    display = Heard()
    assert bits(search(tiny(other, fields=of), display=display)) == bits(result)
    said = any("goes on after epoch 2, from its snapshot" in line for line in display.lines)
    assert said == goes_on
    logged = client(other).get_metric_history(runs_of(other)[1][1].info.run_id, "val_loss_mean")
    steps = [metric.step for metric in logged]
    assert len(steps) == len(set(steps))


@pytest.mark.long
def test_files_that_are_decoded_into_a_mapped_file_are_augmented_as_an_array_is(home):
    rows = np.random.default_rng(0).normal(3.0, 2.0, (60, 3))
    for number, row in enumerate(rows):
        np.save(home / f"{number}.npy", row)
    decoded = "read_files([f'{i}.npy' for i in range(60)], np.load, project_of=__file__)"
    loaded = f"np.stack([np.load(f'{home}/{{i}}.npy') for i in range(60)]).astype('float32')"
    results = [
        search(
            tiny(
                home,
                name=name,
                fields=fields(
                    MAY_HOLD,
                    more=", preprocess=None, refit=Refit(enabled=False), "
                    f"load_data=lambda: ({x}, load_data()[1])",
                ),
            )
        )
        for name, x in (("decoded", decoded), ("loaded", loaded))
    ]
    assert bits(results[0]) == bits(results[1])


def test_a_dry_run_calls_them_and_tells_what_they_cost(home):
    cost = cost_of(tiny(home, fields=fields(MAY_HOLD)), tracking_uri=None, storage=None)
    assert cost["engine"] == "stream (no compiled epoch can call Python: callbacks and augment)"
    assert "no snapshot holds what LambdaCallback may keep" in cost["mind"]


@pytest.mark.parametrize(
    ("callback", "says"),
    [
        (f"{KERAS}.EarlyStopping()", "callbacks must be without EarlyStopping"),
        (f"{KERAS}.LambdaCallback(on_epoch_end=lambda e, l: 1 / 0)", "ZeroDivisionError in on_ep"),
    ],
)
def test_what_is_wrong_with_them_is_told_before_the_first_trial(home, callback, says):
    with pytest.raises(BadInput, match=says):
        search(tiny(home, fields=fields(callback)))


@pytest.mark.long
def test_trials_pause_and_go_on_with_callbacks_that_hold_nothing(home, tmp_path_factory):
    of = fields(
        HOLDS_NOTHING,
        more=", pruner=None, strategy=Ladder(rungs=(0.5, 1), n_finalists=1)",
    )
    through = search(tiny(home, fields=of.replace("'max_epochs': 3", "'max_epochs': 4")))
    assert any(trial.curves.values.shape == (3, 4) for trial in through.trials)
    with pytest.raises(BadInput, match="strategy must be None with callbacks"):
        search(tiny(home, fields=of.replace(HOLDS_NOTHING, MAY_HOLD)))


@pytest.mark.long
def test_a_range_test_and_a_confirmation_have_them_too(home):
    spec = tiny(home, fields=fields(MAY_HOLD, more=", range_test=True, keep_checkpoints='all'"))
    result = search(spec, confirm=1)
    assert result.confirmation is not None
    assert result.refit is not None
