"""A trial that is the beginning of an earlier one is not trained again."""

import pytest

from pipeline import evaluation
from pipeline.results import Outcome
from pipeline.search import search
from tests.tiny_study import client, runs_of, tiny

HORIZONS = """dict(
    space=dict(learning_rate=CategoricalDistribution([0.01, 0.1]),
               max_epochs=CategoricalDistribution([3, 6])),
    sampler=lambda seed: __import__("optuna").samplers.RandomSampler(seed),
    splitter=KFold(2, shuffle=True), budget=Budget(n_trials=10),
    refit=Refit(enabled=False){more})"""


@pytest.fixture
def trained(monkeypatch):
    """Return the numbers of the trials that are trained."""
    numbers, train = [], evaluation.train

    def noting(proposal, session, log, name):
        numbers.append(proposal.number)
        return train(proposal, session, log, name)

    monkeypatch.setattr(evaluation, "train", noting)
    return numbers


def epochs_of(home, run, name):
    """Return what a run's metric was after each epoch; nothing of what is said at its end."""
    history = client(home).get_metric_history(run.info.run_id, name)
    return [each.value for each in sorted(history, key=lambda each: each.step) if each.step]


def told(result):
    return [
        (t.params, t.outcome, t.value, t.curves.values.tolist(), t.training.tolist())
        for t in result.trials
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    "more",
    [
        pytest.param("", id="whole"),
        pytest.param(", early_stopping=EarlyStopping(1)", id="stopping"),
    ],
)
def test_it_ends_as_if_it_had_been_trained(more, home, tmp_path_factory, trained, monkeypatch):
    fields = HORIZONS.format(more=more)
    result = search(tiny(home, fields=fields))
    pairs = [(t, result.trials[t.prefix_of]) for t in result.trials if t.prefix_of is not None]
    for trial, longer in pairs:
        assert longer.number < trial.number
        assert longer.params["learning_rate"] == trial.params["learning_rate"]
        assert longer.curves.n_epochs >= trial.curves.n_epochs
        assert (trial.n_fold_epochs, trial.n_updates) == (0, 0)
        assert f"first of trial {longer.number}, and were not trained again" in trial.reason
    assert len(pairs) >= 3
    assert trained == [trial.number for trial in result.trials if trial.prefix_of is None]
    assert result.best.prefix_of is None
    _, children = runs_of(home)
    by_number = {int(run.data.tags["trial"]): run for run in children}
    for trial, longer in pairs:
        logged = by_number[trial.number].data.metrics
        for name in by_number[longer.number].data.metrics:
            epochs = [epochs_of(home, by_number[t.number], name) for t in (trial, longer)]
            assert epochs[0] == epochs[1][: len(epochs[0])]
            assert len(epochs[0]) in (0, trial.curves.n_epochs)
        assert {"fold_1/loss", "val_accuracy_mean", "val_accuracy_standard_error"} <= logged.keys()
        assert logged["val_loss_mean"] == pytest.approx(trial.curves.mean[-1])
        assert logged["learning_rate"] == trial.params["learning_rate"]
        assert logged["fold_epochs"] == 0

    monkeypatch.setattr(evaluation, "longer_trial", lambda proposal, session: None)
    whole = search(tiny(tmp_path_factory.mktemp("trained"), fields=fields))
    assert told(result) == told(whole)
    assert result.choice == whole.choice
    assert result.evidence.equivalent_trials == whole.evidence.equivalent_trials


@pytest.mark.parametrize(
    ("more", "builder"),
    [
        pytest.param(", schedule=Cosine()", "", marks=pytest.mark.long),
        (
            "",
            """
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
    decay = 0.1 / params["max_epochs"]
    model.compile(keras.optimizers.AdamW(params["learning_rate"], weight_decay=decay),
        loss="binary_crossentropy")
    return model
""",
        ),
    ],
    ids=["annealed", "made of max_epochs"],
)
def test_a_trial_that_hangs_on_its_horizon_is_trained(more, builder, home):
    fields = HORIZONS.format(more=more).replace("n_trials=10", "n_trials=6")
    result = search(tiny(home, fields=fields, builder=builder))
    pairs = [(t, result.trials[t.prefix_of]) for t in result.trials if t.prefix_of is not None]
    # Only a trial of the very same horizon may be repeated.
    assert all(longer.params == trial.params for trial, longer in pairs)
    assert not pairs or not more
    assert Outcome.FAILED not in {t.outcome for t in result.trials}
