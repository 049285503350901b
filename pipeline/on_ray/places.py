"""Where Ray may place workers: what each of them needs, and how many there is room for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import BadInput

LOCAL = "local"
"""Ray's word for a cluster that is started on this machine, for this process."""

PARTS = 10_000
"""Of a resource: Ray counts no smaller ones."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster.

    identifier: Ray's; resources: all that it has, by Ray's names
    """

    name: str
    identifier: str
    resources: Mapping[str, float]

    def n_places(self, needs: Mapping[str, float]) -> int:
        """Return how many workers with such needs it has room for."""
        return min((self._times(name, need) for name, need in needs.items()), default=0)

    def _times(self, name: str, need: float) -> int:
        has, need_parts = self.resources.get(name, 0.0), round(need * PARTS)
        if name == "GPU" and need_parts < PARTS:  # a share is of one GPU
            return int(has) * (PARTS // need_parts)
        return round(has * PARTS) // need_parts


@dataclass(frozen=True)
class Placement:
    """How the workers of a search are to be placed.

    address: of the cluster, LOCAL for one that is started for the search
    needs: of each worker, by Ray's names of resources
    """

    address: str
    nodes: tuple[Node, ...]
    n_workers: int
    needs: Mapping[str, float]

    @property
    def n_places(self) -> int:
        """How many workers there is room for, where nobody else uses the cluster."""
        return sum(node.n_places(self.needs) for node in self.nodes)

    @property
    def n_on_a_node(self) -> int:
        """How many workers one node may have."""
        return min(self.n_workers, max(node.n_places(self.needs) for node in self.nodes))

    @property
    def n_cpus(self) -> int:
        """CPUs of each worker."""
        return max(1, int(self.needs.get("CPU", 1)))

    @property
    def n_gpus(self) -> int | None:
        """GPUs that each worker has, whole or one in part; None is all that it sees: none."""
        return math.ceil(self.needs.get("GPU", 0)) or None

    @property
    def gpu_share(self) -> float:
        """Each worker's share of its GPU's memory, where the process that answers has one too."""
        share = self.needs.get("GPU", 1.0)
        return 1 / (PARTS // round(share * PARTS) + 1) if share < 1 else 1.0

    def __str__(self) -> str:
        each = ", ".join(f"{name} {need:g}" for name, need in self.needs.items())
        where = "started on this machine" if self.address == LOCAL else f"at {self.address}"
        nodes = f"{len(self.nodes)} node(s) with room for {self.n_places}"
        return f"{self.n_workers} worker(s) on Ray {where}, {nodes}, each with {each}"


def placed(
    address: str,
    nodes: Sequence[Node],
    n_workers: int | Literal["auto"],
    *,
    most_cpus: int,
    n_trials: int,
    needs: Mapping[str, float] | None = None,
) -> Placement:
    """Return what each worker needs, and how many there are to be.

    n_workers: "auto" is as many as there is room for, and no more than `n_trials`
    most_cpus: that one worker keeps busy. It gets as many of them as leave room for all workers
    needs: that were given; None is CPUs, and equal shares of the GPUs where there are any
    Raises BadInput when no node has room for a worker.
    """
    given = needs is not None
    if needs is None:
        n_gpus = sum(int(node.resources.get("GPU", 0)) for node in nodes)
        n = max(1, n_gpus) if n_workers == "auto" else n_workers
        for gpus, n_cpus in itertools.product(_gpus(n_gpus, n), range(most_cpus, 0, -1)):
            needs = {"CPU": float(n_cpus), **gpus}
            if sum(node.n_places(needs) for node in nodes) >= n:
                break
    assert needs is not None
    n_places = sum(node.n_places(needs) for node in nodes)
    if not n_places:
        text = "--ray-resources must fit" if given else "a worker's resources must fit"
        raise BadInput(f"{text} on a node of Ray's cluster, got {_listed(needs)}: {_all_of(nodes)}")
    n = min(n_places, n_trials) if n_workers == "auto" else n_workers
    return Placement(address, tuple(nodes), n, needs)


def _gpus(n_gpus: int, n: int) -> list[dict[str, float]]:
    """Return what each of n workers may have of GPUs, most first: several, or a share of one."""
    if not n_gpus:
        return [{}]
    if n <= n_gpus:
        return [{"GPU": float(each)} for each in range(n_gpus // n, 0, -1)]
    return [{"GPU": (PARTS // math.ceil(n / n_gpus)) / PARTS}]


def _listed(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={amount:g}" for name, amount in resources.items())


def _all_of(nodes: Sequence[Node]) -> str:
    """Return what the nodes have, without what Ray counts for itself."""
    return "; ".join(
        f"{node.name} has "
        + _listed({k: v for k, v in node.resources.items() if k.isidentifier() and v < 1e6})
        for node in nodes
    )
