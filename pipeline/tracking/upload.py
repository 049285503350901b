"""What studies could not send, sent later, without a search: python -m pipeline.maintain upload."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    folders = [folder, *folder.glob(f"{WORKERS}/*")]
    return set().union(*(Unsent(each, "").addresses for each in folders))


def send_unsent(folder: Path, store: Store, *, patience_secs: float) -> Sent:
    """Send what a study's folder keeps for this store; the caller holds the study's lock.

    patience_secs: how long a store that is locked or away is tried again
    """
    unsent = Unsent(folder, store.address)
    with MetricWriter(store.client, unsent=unsent, patience_secs=patience_secs) as writer:
        pass  # all that was left is queued; closing sends it, and keeps what does not go
    return Sent(writer.n_left, writer.left_behind)
