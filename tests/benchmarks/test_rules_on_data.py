"""The benchmark of rules runs, and its arithmetic is right. Nothing here depends on its outcome."""

import json
from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from tests.benchmarks import rules_differences as differences
from tests.benchmarks import rules_on_data, rules_studies
from tests.benchmarks.rules_differences import ORACLE, POLICIES, Difference, Pooled, Record
from tests.benchmarks.rules_tables import pooled_tables, tables_of


@pytest.fixture
def command(monkeypatch):
    """Return the command; TensorFlow keeps the threads that earlier tests gave it."""
    monkeypatch.setattr(rules_on_data.training, "set_up", lambda threads: None)
    return rules_on_data.main


@pytest.mark.long
def test_every_rule_and_policy_is_measured_on_real_data(command, monkeypatch, tmp_path, capsys):
    space = {
        "learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "max_epochs": IntDistribution(6, 8),
        "units": 4,
    }
    tiny = replace(rules_studies.STUDIES["breast-cancer"], space=space, engine="plain")
    monkeypatch.setitem(rules_on_data.STUDIES, tiny.name, tiny)
    file = tmp_path / "rules.json"
    arguments = ["--data", tiny.name, "--splits", "2", "--trials", "2", "--json", str(file)]
    assert command(arguments) == 0
    records = [Record(**each) for each in json.loads(file.read_text())]
    assert [(each.data, each.number) for each in records] == [(tiny.name, 0), (tiny.name, 1)]
    for each in records:
        horizon = len(each.curves[0])
        assert np.shape(each.curves) == (5, horizon)
        assert np.shape(each.test_losses) == (5, -(-13 * horizon // 10))
        assert len({tuple(losses) for losses in each.test_losses}) == 5  # five seeds
        assert each.n_fold_rows < each.n_development_rows == 569 - each.n_test_rows
    printed = capsys.readouterr()
    assert tables_of(records) in printed.out
    assert pooled_tables({tiny.name: records}) in printed.out
    assert len(printed.err.splitlines()) == 2  # one line of progress for each split


def test_a_data_set_whose_package_is_missing_is_left_out(command, monkeypatch, capsys):
    monkeypatch.setattr(rules_studies, "PACKAGE", "no-such-package")
    assert command(["--data", "flchain"]) == 1
    assert "flchain is left out: " in capsys.readouterr().err


def record(
    curve: list[float], test_loss: list[float], n_fold_rows: int = 80, batch_size: int = 10
) -> Record:
    """Return a record of five folds that agree, and one seed."""
    return Record(
        data="made up",
        number=0,
        learning_rate=0.01,
        batch_size=batch_size,
        curves=[curve] * 5,
        test_losses=[test_loss],
        n_fold_rows=n_fold_rows,
        n_development_rows=100,
        n_test_rows=50,
    )


def test_a_rule_is_read_from_the_folds_and_scored_on_the_test_rows():
    curve = [0.9, 0.5, 0.4, 0.6, 0.7, 0.8]
    test_loss = [0.9, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    each = record(curve, test_loss)
    assert each.chosen["best"] == 3
    assert each.chosen["fixed 10"] == 6  # cut at the horizon
    assert each.chosen[ORACLE] == 2
    assert differences.losses_of([each], "best") == [0.5]
    assert differences.losses_of([each], ORACLE) == [0.3]


def test_seeds_are_averaged_before_an_epoch_is_read():
    each = Record("made up", 0, 0.01, 10, [[1.0] * 6] * 5, [[1.0, 4.0], [3.0, 0.0]], 8, 10, 5)
    assert each.test_loss.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("policy", "n_fold_rows", "batch_size", "n_epochs"),
    [
        ("epochs", 80, 10, 20),
        ("updates", 80, 10, 16),  # 8 updates an epoch in a fold, 10 in the refit
        ("updates", 80, 100, 20),  # one update an epoch in both
        ("scaled", 80, 10, 25),
    ],
)
def test_a_policy_turns_a_choice_into_the_refits_epochs(policy, n_fold_rows, batch_size, n_epochs):
    each = record([1.0] * 6, [1.0] * 8, n_fold_rows, batch_size)
    assert POLICIES[policy](20, each) == n_epochs


def test_a_refit_of_as_many_updates_is_at_least_an_epoch():
    assert POLICIES["updates"](1, record([1.0] * 6, [1.0] * 8, n_fold_rows=20)) == 1


def test_differences_are_paired_and_their_error_allows_for_shared_rows():
    difference = Difference.of(np.array([1.0, 12.0, 104.0]), np.array([0.0, 10.0, 101.0]), 0.5)
    # 1, 2 and 3: variance 1, whatever the splits' own losses are.
    assert difference.mean == pytest.approx(2.0)
    assert difference.standard_error == pytest.approx((1 / 3) ** 0.5)
    assert difference.corrected_error == pytest.approx((1 / 3 + 0.5) ** 0.5)
    assert (difference.n_better, difference.n_worse) == (0, 3)


def test_equal_losses_are_neither_better_nor_worse():
    difference = Difference.of(np.array([1.0, 2.0, 2.0]), np.array([1.0, 3.0, 1.0]), 0.5)
    assert (difference.n_better, difference.n_worse) == (1, 1)


def test_data_sets_count_the_same_when_pooled():
    small = Difference(2.0, 0.3, 0.6, n_better=0, n_worse=10)
    large = Difference(-1.0, 0.4, 0.8, n_better=10, n_worse=0)
    pooled = Pooled.of([small, large])
    assert pooled.mean == pytest.approx(0.5)
    assert pooled.standard_error == pytest.approx(0.25)
    assert pooled.corrected_error == pytest.approx(0.5)
    assert pooled.between_error == pytest.approx(1.5)
    assert (pooled.n_better, pooled.n_worse) == (1, 1)


def test_pooled_figures_are_shares_of_the_reference_rules_loss():
    curve, test_loss = [0.9, 0.5, 0.4, 0.6, 0.7, 0.8], [0.9, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    records = [record(curve, test_loss), record(curve, test_loss)]
    lines = pooled_tables({"made up": records}).splitlines()
    (oracle,) = [line for line in lines if ORACLE in line]
    assert oracle.split(" | ")[1] == "-40.00"
