"""How many workers a search has, where they are, and what a supervisor asks of each.

They are child processes (`child.py`), or actors of a Ray cluster (`on_ray/`).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline import optimization, training
from pipeline.addresses import storage_of, tracking_uri_of
from pipeline.cli import arguments_of
from pipeline.errors import BadInput, PipelineError, StoreUnavailable, StudyFailed
from pipeline.folds import expected_n_folds
from pipeline.machine import Share, n_cores, n_workers_for
from pipeline.on_ray.places import LOCAL, Node, Placement, placed
from pipeline.spec import StudySpec
from pipeline.study_file import find_study, source_of


@dataclass(frozen=True)
class Crew:
    """How many workers there are to be, and what each is told of the study.

    arguments: of `python -m pipeline.worker`: the study file, and the changes of its fields
    folder: which relative paths among them are relative to
    placement: of actors in a Ray cluster; None: they are children of this process
    """

    n_workers: int
    arguments: Sequence[str]
    folder: Path
    placement: Placement | None = None

    @classmethod
    def of(cls, options: argparse.Namespace, spec: StudySpec, folder: Path) -> Crew:
        """Return the crew that the command line asks for.

        Raises BadInput and StoreUnavailable where a Ray cluster cannot take it.
        """
        if options.ray is not None:
            return cls._on_ray(options, spec, folder)
        n = options.workers
        if n == "auto":
            at_once: float = expected_n_folds(spec.splitter)
            if strategy := spec.pausing:
                at_once = strategy.n_folds_at_once(int(at_once), spec.longest_horizon)
            n = n_workers_for(len(training.GPUS), spec.threads, at_once, spec.budget.n_trials)
        return cls(n, arguments_of(options), folder)

    @classmethod
    def _on_ray(cls, options: argparse.Namespace, spec: StudySpec, folder: Path) -> Crew:
        try:
            from pipeline.on_ray.survey import surveyed
        except ImportError as error:
            raise BadInput(
                f"--ray needs Ray, which cannot be imported: {error}; pip install "
                "'epoch-pipeline[ray]'"
            ) from error
        address = options.ray or os.environ.get("RAY_ADDRESS") or LOCAL
        with chdir(folder):  # as when the study was loaded
            study = find_study(options.study)
        storage, uri = storage_of(options.storage), tracking_uri_of(options.tracking_uri)
        if address == LOCAL:
            has = {"CPU": float(n_cores()), "GPU": float(len(training.GPUS))}
            nodes = [Node("this machine", "", has)]
        else:
            server = storage if optimization.is_server(storage) else None
            home = source_of(spec.build_model, spec.load_data).home
            nodes = surveyed(
                address, study, folder, shared=None if server else home / "mlruns", server=server,
                patience_secs=options.store_patience,
            )  # fmt: skip
        placement = placed(
            address,
            nodes,
            options.workers,
            most_cpus=spec.threads or expected_n_folds(spec.splitter),
            n_trials=spec.budget.n_trials,
            needs=options.ray_resources,
        )
        # A node has not this process's variables, and its own relative paths.
        given = {**vars(options), "study": str(study), "storage": storage, "tracking_uri": uri}
        arguments = arguments_of(argparse.Namespace(**given))
        return cls(placement.n_workers, arguments, folder, placement)

    @property
    def share(self) -> Share:
        """What each worker has of its machine."""
        if self.placement is not None and self.n_workers > 1:
            return Share(self.placement.n_cpus, self.placement.n_gpus)
        return Share.of_each(self.n_workers, len(training.GPUS))

    def in_words(self, threads: int | None) -> str:
        """Return who trains, with so many threads each; None is one per core."""
        each = "a thread for each core" if threads is None else f"{threads} thread(s)"
        if self.placement is not None:
            return f"{self.placement} and {each}"
        return f"{self.n_workers} worker(s), each with {each}"

    @property
    def n_here(self) -> int:
        """How many workers share this machine's devices: none of those on Ray."""
        return self.n_workers - self.n_on_ray

    @property
    def n_on_ray(self) -> int:
        """How many workers Ray places."""
        return 0 if self.placement is None else self.n_workers

    @property
    def is_apart(self) -> bool:
        """Whether trials are trained in other processes than the one that answers."""
        return self.n_workers > 1 or self.placement is not None


@dataclass(frozen=True)
class End:
    """How a worker has ended.

    exit_code: None where it died
    told: at its end
    died_of: what, in words
    """

    exit_code: int | None
    told: Mapping[str, Any] = field(default_factory=dict)
    died_of: str = ""

    @property
    def budget_over(self) -> str:
        """Which budget it ended for, in words; "" for none."""
        return str(self.told.get("budget_over") or "")

    @property
    def ceiling_reached(self) -> bool:
        """Whether it ended because its memory had grown too large."""
        return bool(self.told.get("ceiling_reached"))

    def error(self, worker: Worker) -> PipelineError:
        """Return the error that it ended with."""
        reason = self.told.get("error") or f"ended with exit code {self.exit_code}"
        kinds = (k for k in (StoreUnavailable, BadInput) if k.exit_code == self.exit_code)
        kind = next(kinds, StudyFailed)
        return kind(f"worker {worker.name}: {reason}; what it said is in {worker.log}")


class Worker(Protocol):
    """A worker, and the one that takes its place."""

    @property
    def name(self) -> str:
        """Its number, and where it is."""

    @property
    def log(self) -> str:
        """Where that is which it says, in words."""

    def start(self) -> None:
        """Start it, or another one in its place."""

    @property
    def is_at_work(self) -> bool:
        """Whether its end has not been seen yet."""

    @property
    def is_waiting(self) -> bool:
        """Whether there is no place for it yet."""

    def ended(self) -> End | None:
        """Return its end, once; None before and after that."""

    def ask_to_stop(self) -> None:
        """Let it stop after its epoch."""

    def end(self) -> None:
        """Wait until it has stopped, and kill it if it does not."""
