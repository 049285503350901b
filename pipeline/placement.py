"""What a search holds in memory, counted in bytes, and where it goes.

Rows and all folds' states stay on the device where they fit. Where the states do not, each is
brought to the device for its epoch and taken back; where the rows do not, they stay on the host and
the study streams. Moving bytes changes no bit of a result.
"""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 0.7
"""Of a device's memory that may be planned with: gradients, activations and what a compiler sets
aside are not counted, and need the rest."""

STATES_PER_FOLD = 4
"""That exist at once: before an epoch, after it, where the trial was best, and where the best trial
was. (Initial states stay on the host: they are needed once a trial. An epoch that is begun ahead
makes a fifth, on processors, of models whose epochs take no second.)"""

ENGINES = 2
"""That hold rows at once: the search's, and another one that is measured, or the refit's."""


@dataclass(frozen=True)
class Holding:
    """What a search holds, in bytes.

    rows: with labels and weights; of every fold, where each has a preprocessed copy of its own
    state: of one fold: weights, optimizer slots, metrics, seed generators
    n_folds: that have a state each
    n_programs: kept at once
    n_lanes: folds that train at once, each in variables of its own of every program
    """

    rows: int
    state: int
    n_folds: int
    n_programs: int = 1
    n_lanes: int = 1

    @property
    def all_rows(self) -> int:
        """Bytes of the rows of all engines at once."""
        return ENGINES * self.rows

    @property
    def all_states(self) -> int:
        """Bytes of all states that exist at once, and of the programs' variables."""
        return (self.n_folds * STATES_PER_FOLD + self.n_programs * self.n_lanes) * self.state

    @property
    def states_at_work(self) -> int:
        """Bytes of what the device needs in any case.

        Of the folds that train, the states before and after their epoch; and the programs'
        variables.
        """
        return (2 + self.n_programs) * self.n_lanes * self.state


@dataclass(frozen=True)
class Placement:
    """What stays on the device; the rest stays on the host."""

    rows_on_device: bool
    states_on_device: bool


def place(holding: Holding, memory: int | None) -> Placement:
    """Decide what stays on a device with so much memory, in bytes; None is unknown, and enough.

    The states come first to leave it: one copy for each epoch of a fold costs less than one for
    each batch.
    """
    if memory is None:
        return Placement(rows_on_device=True, states_on_device=True)
    room = SHARE * memory
    with_rows = holding.all_rows + holding.states_at_work <= room
    rows = holding.all_rows if with_rows else 0
    return Placement(rows_on_device=with_rows, states_on_device=rows + holding.all_states <= room)


def size(n_bytes: float) -> str:
    """Return a number of bytes in words: "12 MB"."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while n_bytes >= 999.5 and power < len(units) - 1:
        n_bytes, power = n_bytes / 1000, power + 1
    return f"{n_bytes:.3g} {units[power]}"
