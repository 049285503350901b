"""Files that one node gives and another one fetches; the artifacts lie in a folder here."""

from pathlib import Path

import pytest

from pipeline.tracking import Handover
from pipeline.tracking.store import Store


@pytest.fixture
def nodes(open_study, monkeypatch, tmp_path):
    """Return two nodes' handovers, and their folders."""
    monkeypatch.setattr(Store, "is_server", property(lambda store: True))
    run, found = open_study(), []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append((Handover(run, tmp_path / name), tmp_path / name))
    return found


def given(handover, path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    handover.give(path)
    handover.flush()


def test_what_one_node_gives_another_fetches_to_the_same_place(nodes):
    (one, here), (two, there) = nodes
    given(one, here / "snapshots" / "trial_000.npz", "state")
    given(one, here / "decision.json", "{}")
    for name in ("snapshots/trial_000.npz", "decision.json"):
        two.fetch(there / name)
        assert (there / name).read_text() == (here / name).read_text()
    assert [path.name for path in (there / "snapshots").iterdir()] == ["trial_000.npz"]


def test_what_is_there_is_replaced_by_what_is_better(nodes):
    (one, here), (two, there) = nodes
    given(one, here / "state", "5")
    (there / "state").write_text("7")

    def is_further(file: Path) -> bool:
        return int(file.read_text()) > int((there / "state").read_text())

    two.fetch(there / "state", is_better=is_further)
    assert (there / "state").read_text() == "7"
    given(one, here / "state", "9")
    two.fetch(there / "state", is_better=is_further)
    assert (there / "state").read_text() == "9"


def test_what_nobody_gave_or_was_taken_back_is_not_there(nodes):
    (one, here), (two, there) = nodes
    two.fetch(there / "none")
    given(one, here / "state", "5")
    one.take_back(here / "state")
    given(one, here / "snapshots" / "other", "5")
    two.take_back_all("snapshots")
    two.flush()
    one.flush()
    two.fetch(there / "state")
    two.fetch(there / "snapshots" / "other")
    assert not list(there.rglob("*"))


def test_a_file_that_was_dropped_before_its_turn_is_not_sent(nodes):
    said: list[str] = []
    (one, here), (two, there) = nodes
    one._say = said.append
    one.give(here / "state")
    one.flush()
    two.fetch(there / "state")
    assert not (there / "state").exists()
    assert not said


def test_a_store_that_does_not_take_a_file_is_told_and_ends_nothing(nodes, monkeypatch):
    said: list[str] = []
    (one, here), _ = nodes
    one._say = said.append
    monkeypatch.setattr(Handover, "_repository", lambda handover: 1 / 0)
    given(one, here / "state", "5")
    assert said == ["state could not be given to other nodes: division by zero"]


class Away:
    """MLflow's repository of files, which refuses connections for some calls."""

    def __init__(self, repository, n_refused):
        self._repository, self.n_refused = repository, n_refused

    def __getattr__(self, name):
        if self.n_refused:
            self.n_refused -= 1
            raise ConnectionRefusedError("Connection refused")
        return getattr(self._repository, name)


def test_what_was_given_while_the_store_was_away_arrives_when_it_is_back(nodes, monkeypatch):
    said: list[str] = []
    (one, here), (two, there) = nodes
    away = Away(one._repository(), n_refused=1000)
    monkeypatch.setattr(one, "_repository", lambda: away)
    monkeypatch.setattr(one._writer, "_patience_secs", 0.0)
    one._say = said.append
    given(one, here / "state", "5")
    given(one, here / "state", "6")
    assert said == ["files for other nodes wait here: Connection refused"]
    n_asked = 1000 - away.n_refused
    assert n_asked < 5  # not once more for each time that it was given
    away.n_refused = 0
    one.flush()
    two.fetch(there / "state")
    assert (there / "state").read_text() == "6"


def test_a_store_that_is_away_for_a_moment_is_waited_for(nodes, monkeypatch):
    (one, here), (two, there) = nodes
    given(one, here / "state", "5")
    away = Away(two._repository(), n_refused=2)
    monkeypatch.setattr(two, "_repository", lambda: away)
    two.fetch(there / "state")
    assert (there / "state").read_text() == "5"


def test_a_store_that_stays_away_is_told_and_ends_nothing(nodes, monkeypatch):
    said: list[str] = []
    _, (two, there) = nodes
    monkeypatch.setattr(two, "_repository", lambda: Away(None, n_refused=1000))
    two._say, two._patience_secs = said.append, 0.0
    two.fetch(there / "state")
    two.fetch(there / "state")
    assert said == ["files of other nodes could not be fetched: Connection refused"]


def test_nodes_that_share_a_folder_send_nothing(open_study, tmp_path):
    for handover in (Handover(None, tmp_path), Handover(open_study(), tmp_path)):
        given(handover, tmp_path / "state", "5")
        handover.take_back(tmp_path / "state")
        handover.take_back_all("snapshots")
        handover.fetch(tmp_path / "other")
        assert not handover.is_needed
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["state"]
