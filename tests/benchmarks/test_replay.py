"""The replay runs every way of searching, and its arithmetic is right. No outcome is expected."""

import json

import numpy as np
import pytest

from tests.benchmarks import replay
from tests.benchmarks.replay_report import Search, by_family, regrets_at, times_of
from tests.benchmarks.replay_surrogate import Surrogate
from tests.benchmarks.replay_tables import CurveTable, tables_in
from tests.benchmarks.replay_ways import WAYS, Replayed
from tests.benchmarks.replay_ways import replay as replayed

N_EPOCHS = 16


def made_up(n=80, *, diverges=0.1):
    """Return a table whose losses fall towards a bowl around learning rate 0.01 and width 0.5."""
    random = np.random.default_rng(0)
    rates, widths = 10 ** random.uniform(-4, 0, n), random.uniform(0, 1, n)
    ends = (np.log10(rates) + 2) ** 2 + (widths - 0.5) ** 2
    losses = ends[:, None] + 1 / np.arange(1, N_EPOCHS + 1)
    losses[random.random(n) < diverges, N_EPOCHS // 2 :] = np.nan
    return CurveTable("made up", "made up", {"learning_rate": rates, "width": widths}, losses)


@pytest.fixture
def folder(tmp_path):
    table = made_up()
    hp = np.stack([*table.points.values(), np.ones(len(table.losses))], axis=1)
    one, two = {"hp": hp, "valid": table.losses}, {"a__hp": hp, "a__valid": table.losses}
    np.savez(tmp_path / "one.npz", **one, hp_names=["learning_rate", "width", "constant"])
    np.savez(tmp_path / "two.npz", **two, b__hp=hp, b__valid=1 + table.losses)
    return tmp_path


def test_tables_are_read_from_a_folder(folder):
    tables = list(tables_in(folder))
    assert [(t.family, t.name) for t in tables] == [
        ("one", "one"), ("two", "two/a"), ("two", "two/b")
    ]  # fmt: skip
    assert list(tables[0].points) == ["learning_rate", "width"]  # what never changes is left out
    is_log = {name: getattr(each, "log", None) for name, each in tables[0].space.items()}
    assert is_log == {"learning_rate": True, "width": False}


def test_regret_counts_from_the_best_to_the_median():
    losses = np.array([[3.0, 1.0], [3.0, 2.0], [5.0, 4.0], [0.0, np.nan], [9.0, 9.0]])
    table = CurveTable("f", "t", {"x": np.arange(5.0)}, losses)
    assert table.values.tolist() == [1.0, 2.0, 4.0, np.inf, 9.0]
    assert [table.regret(value) for value in (1.0, 2.5, 4.0)] == [0.0, 0.5, 1.0]


def test_a_proposal_is_moved_to_the_nearest_configuration_that_is_free():
    table = CurveTable("f", "t", {"x": np.array([1.0, 10.0, 1000.0])}, np.ones((3, 2)))
    free = np.ones(3, dtype=bool)
    assert table.nearest({"x": 50.0}, free) == 1  # by its logarithm
    assert table.nearest({"x": 50.0}, free & (np.arange(3) != 1)) == 2
    assert table.row(table.params(2)) == 2


def test_a_forest_says_what_any_point_of_the_space_gives():
    surrogate = Surrogate(made_up(300, diverges=0))
    good, bad = {"learning_rate": 0.01, "width": 0.5}, {"learning_rate": 1.0, "width": 0.5}
    assert surrogate.curve(good).shape == (N_EPOCHS,)
    assert surrogate.curve(good).min() < 0.3 < surrogate.curve(bad).min()
    assert surrogate.regret(surrogate.curve(good).min()) < 0.1
    assert min(surrogate.held_out()) > 0.9
    done = replayed(WAYS["TPE"], surrogate, seed=0, n_epochs=12 * N_EPOCHS)
    assert len(done.arrivals) == 12


def test_a_point_diverges_where_the_nearest_configuration_does():
    table = made_up(300, diverges=0.3)
    surrogate = Surrogate(table)
    for row in range(30):
        curve = surrogate.curve(table.params(row))
        assert (np.isfinite(curve) == np.isfinite(table.losses[row])).all()


@pytest.mark.parametrize("way", WAYS)
def test_a_way_spends_its_budget_and_no_more(way):
    table = made_up()
    done = replayed(WAYS[way], table, seed=1, n_epochs=6 * N_EPOCHS)
    assert 4 * N_EPOCHS < done.n_epochs <= 6 * N_EPOCHS
    assert done.arrivals
    at, losses = zip(*done.arrivals, strict=True)
    assert list(at) == sorted(at)
    assert at[-1] <= done.n_epochs
    assert set(losses) <= set(table.values[np.isfinite(table.values)])
    again = replayed(WAYS[way], table, seed=1, n_epochs=6 * N_EPOCHS)
    assert again.arrivals == done.arrivals


def test_ways_are_paired_by_their_first_configurations():
    """The first trial is the same one, whatever is done with it."""
    table = made_up(diverges=0)
    for seed in range(3):
        first = {
            replayed(WAYS[way], table, seed, N_EPOCHS).arrivals[0][1] for way in list(WAYS)[:6]
        }
        assert len(first) == 1


def test_a_search_is_as_good_as_its_best_trial_so_far():
    table = CurveTable("f", "t", {"x": np.arange(3.0)}, np.array([[0.0] * 8, [1.0] * 8, [4.0] * 8]))
    done = Replayed(n_trials=3, n_epochs=16, arrivals=[(8, 4.0), (9, 1.0), (16, 0.5)])
    search = Search.of("way", table, 0, 2, done)
    assert [search.at(n / 8) for n in (7, 8, 9, 15, 16)] == [1.0, 1.0, 1.0, 1.0, 0.5]


def test_families_count_alike_however_many_tables_they_have():
    def search(family, table, seed, regret):
        return Search("way", family, table, seed, 1, 1, 0.0, (regret,) * 8)

    searches = [
        search(family, table, seed, regret + seed)
        for family, table, regret in [("f", "a", 1.0), ("f", "b", 3.0), ("g", "c", 10.0)]
        for seed in (0, 1)
    ]
    regrets = regrets_at(searches, "way", 1)
    assert regrets.tolist() == [[1.0, 2.0], [3.0, 4.0], [10.0, 11.0]]
    means = by_family(searches, regrets)
    assert {family: mean.tolist() for family, mean in means.items()} == {
        "": [6.0, 7.0], "f": [2.0, 3.0], "g": [10.0, 11.0]
    }  # fmt: skip


def test_a_way_that_knows_its_budget_is_known_for_its_budgets_alone():
    """What it had after half of a budget is not what it finds with half of it."""

    def search(way, budget, regret):
        return Search(way, "f", "t", 0, budget, 1, 0.0, (regret,) * 8 * budget)

    searches = [search("plain", 2, 0.5), search("knows", 1, 0.3), search("knows", 2, 0.1)]
    assert times_of(searches, "plain") == [n / 8 for n in range(1, 17)]
    assert times_of(searches, "knows") == [1.0, 2.0]
    assert [regrets_at(searches, "knows", n).item() for n in (1, 2)] == [0.3, 0.1]


def test_the_command_prints_writes_and_draws(folder, capsys):
    files = folder / "replay.json", folder / "replay.png"
    arguments = ["--seeds", "2", "--budgets", "2", "3", "--ways", "random", "ladder"]
    assert (
        replay.main([str(folder), *arguments, "--json", str(files[0]), "--png", str(files[1])]) == 0
    )
    searches = [Search(**each) for each in json.loads(files[0].read_text())]
    assert len(searches) == 3 * 2 * (1 + 2)  # the ladder knows its budget, so it is run for each
    printed = capsys.readouterr().out
    for line in ("| random |", "| two/b |", "all families 3"):
        assert line in printed
    assert files[1].read_bytes().startswith(b"\x89PNG")
    few = ["--surrogate", "--tables", "two/a", "--most-epochs", "8", "--ways", "TPE"]
    assert replay.main([str(folder), *few, "--seeds", "2", "--budgets", "2"]) == 0
    printed = capsys.readouterr()
    assert "two/a: rank correlation" in printed.err
    assert "two/b" not in printed.out


def test_a_folder_without_tables_is_said(tmp_path, capsys):
    assert replay.main([str(tmp_path)]) == 1
    assert "no table" in capsys.readouterr().err
