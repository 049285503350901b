"""Which studies a project has stored, and which of them may go."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline import tracking
from pipeline.files import unused
from pipeline.study_file import GENERATED, WRITTEN_FILE

RECORD = "decision.json"
"""What stays of a study that goes: small, and the only account of what was once decided."""

LOCK = ("lock", "holder.json")
"""Of whoever is at the study: this program itself, while it removes."""


@dataclass(frozen=True)
class StoredStudy:
    """What a project has of one study.

    folder: may not exist, as the runs may not
    last_used_secs: when it was last searched or answered, since the epoch
    decided: whether there is an answer, and the trials that it came from
    n_bytes: of all files that would go
    written_file: the study's, where that was written for a data file
    """

    name: str
    signature: str
    folder: Path
    logged: tracking.Logged
    last_used_secs: float
    decided: bool
    n_bytes: int
    written_file: Path | None = None

    @property
    def registered(self) -> tuple[str, ...]:
        """The model versions that come from it and keep it."""
        return self.logged.registered


def studies_in(home: Path, store: tracking.Store, *, records_too: bool) -> list[StoredStudy]:
    """Return the studies of a project that have something to remove.

    records_too: count decisions as something to remove
    Raises BadInput and StoreUnavailable as `tracking.logged_studies` does.
    """
    root = home / "mlruns" / "studies"
    logged = {(each.experiment, each.signature): each for each in tracking.logged_studies(store)}
    keys = {**dict.fromkeys(logged), **dict.fromkeys(_folders(root))}
    studies = [
        _stored(root / f"{name}-{signature}", name, signature,
                logged.get((name, signature), tracking.Logged()), records_too=records_too)
        for name, signature in keys
    ]  # fmt: skip
    return [study for study in studies if study is not None]


def folders_in(home: Path) -> dict[tuple[str, str], Path]:
    """Return the studies' folders of a project by (name, signature)."""
    root = home / "mlruns" / "studies"
    return {key: root / "-".join(key) for key in _folders(root)}


def to_go(
    studies: Iterable[StoredStudy],
    *,
    keep: int,
    older_than_secs: float,
    now_secs: float,
) -> tuple[list[StoredStudy], dict[str, str]]:
    """Return the studies that may go, oldest first, and of those that stay all the same, why.

    Of each name the `keep` newest stay, and all that were used within `older_than_secs`. Whatever
    these say, the newest of a name stays, the newest with an answer (a warm start begins from it),
    and every study with a registered model, but for versions that a search registered and that no
    longer have an alias: these go with it.
    """
    by_name = defaultdict(list)
    for study in sorted(studies, key=lambda study: -study.last_used_secs):
        by_name[study.name].append(study)
    going, staying = [], {}
    for newest_first in by_name.values():
        last_answer = next((study for study in newest_first if study.decided), None)
        for study in newest_first[max(keep, 1) :]:
            if now_secs - study.last_used_secs < older_than_secs:
                continue
            if study is last_answer:
                staying[study.folder.name] = "the newest with an answer"
            elif study.registered:
                staying[study.folder.name] = f"{', '.join(study.registered)} comes from it"
            else:
                going.append(study)
    return sorted(going, key=lambda study: study.last_used_secs), staying


def written_files_to_go(
    home: Path,
    staying: Iterable[StoredStudy],
    *,
    keep: int,
    older_than_secs: float,
    now_secs: float,
) -> list[Path]:
    """Return the studies that were written for data files and may go, the longest unused first.

    Those of the studies that stay do, and by name and age the same limits hold for the others, of
    which some were never searched.
    """
    of_those = {study.written_file for study in staying}
    files = (home / GENERATED).glob("*/*.py")
    going = unused(
        files, lambda path: path.name,
        keep=keep, older_than_secs=older_than_secs, now_secs=now_secs,
    )  # fmt: skip
    return [path for path in going if path not in of_those]


def remove(study: StoredStudy, store: tracking.Store, *, records_too: bool) -> None:
    """Remove a study's runs, models and files; the caller holds its lock.

    Raises StoreUnavailable when the store fails; started again, this goes on.
    """
    tracking.remove(store, study.logged)
    for path in _removable(study.folder, records_too=records_too):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _folders(root: Path) -> list[tuple[str, str]]:
    named = (re.fullmatch(r"(.+)-([0-9a-f]{12})", path.name) for path in sorted(root.glob("*")))
    return [(each[1], each[2]) for each in named if each]


def _stored(
    folder: Path, name: str, signature: str, logged: tracking.Logged, *, records_too: bool
) -> StoredStudy | None:
    files = _removable(folder, records_too=records_too)
    if not files and not logged.run_ids:
        return None
    # Not of the folder: a look at its lock would make it new.
    known = [path for path in (folder / "journal.log", folder / RECORD) if path.exists()]
    used = [path.stat().st_mtime for path in known or files]
    return StoredStudy(
        name=name,
        signature=signature,
        folder=folder,
        logged=logged,
        last_used_secs=max([*used, logged.last_used_secs]),
        decided=(folder / RECORD).exists() and bool(_removable(folder, records_too=False)),
        n_bytes=logged.n_bytes + sum(tracking.size_of(path) for path in files),
        written_file=_written_file(folder),
    )


def _written_file(folder: Path) -> Path | None:
    note, home = folder / WRITTEN_FILE, folder.parents[2]
    return home / note.read_text(encoding="utf-8") if note.exists() else None


def _removable(folder: Path, *, records_too: bool) -> list[Path]:
    stays = LOCK if records_too else (*LOCK, RECORD)
    return [path for path in sorted(folder.glob("*")) if path.name not in stays]
