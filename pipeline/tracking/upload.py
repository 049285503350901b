"""What studies could not send, sent later, without a search: python -m pipeline.maintain upload."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import json_text, write_whole
from pipeline.tracking.store import Store
from pipeline.tracking.unsent import WORKERS, Unsent
from pipeline.tracking.writer import MetricWriter


@dataclass(frozen=True)
class Sent:
    """What became of a study's updates.

    n_updates: that were waiting
    left_behind: what is still waiting, or was refused, and why, in words; "" when all went
    """

    n_updates: int
    left_behind: str


def waiting_for(folder: Path) -> set[str]:
    """Return the addresses of the stores for which a study's folder keeps updates.

    Passwords in them are masked. Raises StoreUnavailable for a file that cannot be read.
    """
    return set().union(*(Unsent(each, "").addresses for each in _folders(folder)))


def readdress(folder: Path, store: Store) -> int:
    """Let what waits for the database of a project that was moved wait for it where it is now.

    Returns how many files were rewritten. The caller holds the study's lock.
    """
    n_rewritten = 0
    for path in (each / "unsent.jsonl" for each in _folders(folder)):
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = text.splitlines(keepends=True)
        rewritten = "".join(_readdressed(line, store.address) for line in lines)
        if rewritten != text:
            write_whole(path, rewritten.encode())
            n_rewritten += 1
    return n_rewritten


def send_unsent(folder: Path, store: Store, *, patience_secs: float) -> Sent:
    """Send what a study's folder keeps for this store; the caller holds the study's lock.

    patience_secs: how long a store that is locked or away is tried again
    """
    unsent = Unsent(folder, store.address)
    with MetricWriter(store.client, unsent=unsent, patience_secs=patience_secs) as writer:
        pass  # all that was left is queued; closing sends it, and keeps what does not go
    return Sent(writer.n_left, writer.left_behind)


def _folders(folder: Path) -> list[Path]:
    return [folder, *folder.glob(f"{WORKERS}/*")]


def _readdressed(line: str, address: str) -> str:
    """Return a line with this address in place of a project's database that is gone."""
    try:
        plain = json.loads(line)
    except ValueError:  # said by whoever wants to send it
        return line
    found = re.fullmatch(r"sqlite:///(/.*/mlruns/mlflow\.db)", plain.get("store", ""))
    if "kind" in plain or found is None or Path(found[1]).exists():
        return line
    return f"{json_text({**plain, 'store': address})}\n"
