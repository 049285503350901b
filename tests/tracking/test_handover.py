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
    assert [path.name for path in there.rglob("*")] == ["snapshots"]


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


def test_nodes_that_share_a_folder_send_nothing(open_study, tmp_path):
    for handover in (Handover(None, tmp_path), Handover(open_study(), tmp_path)):
        given(handover, tmp_path / "state", "5")
        handover.take_back(tmp_path / "state")
        handover.take_back_all("snapshots")
        handover.fetch(tmp_path / "other")
        assert not handover.is_needed
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["state"]
