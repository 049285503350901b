"""What is done to runs, as values: sent now, sent later, or kept in a file and sent another day.

Each is idempotent: sending it twice leaves the store as sending it once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import uuid4

from pipeline.tracking.moments import MOMENTS
from pipeline.tracking.together import Point, log

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCAL = "local-"
LOCAL_ID_TAG = "pipeline.local_id"


@dataclass(frozen=True)
class Update:
    """Something to be done to a run.

    run_id: MLflow's, or a local one for a run that is created later, see `NewRun`
    """

    kind: ClassVar[str]
    run_id: str

    def send(self, client: MlflowClient, run_id: str) -> str | None:
        """Do it to the run of this id; return the id that the run has from now on, if it changes.

        Raises what MLflow raises.
        """
        raise NotImplementedError

    def as_plain(self) -> dict[str, Any]:
        """Return values that JSON knows."""
        return {"kind": self.kind, **asdict(self)}


@dataclass(frozen=True)
class Metrics(Update):
    """Metrics of one step, with the time at which they were queued."""

    kind = "metrics"
    values: Mapping[str, float | None]
    step: int
    timestamp_ms: int

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Log them."""
        send_together(client, run_id, [self])

    def points(self) -> list[Point]:
        """Return them one by one; what JSON made null is NaN again."""
        return [
            Point(key, math.nan if value is None else value, self.timestamp_ms, self.step)
            for key, value in self.values.items()
        ]


@dataclass(frozen=True)
class Texts(Update):
    """Parameters and tags."""

    kind = "texts"
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Log them."""
        send_together(client, run_id, [self])


@dataclass(frozen=True)
class Status(Update):
    """RUNNING, or how the run ended, and when."""

    kind = "status"
    status: str
    end_time_ms: int | None = None

    @classmethod
    def ended(cls, run_id: str, status: str) -> Status:
        """Return the end of a run now, whenever it is written."""
        return cls(run_id, status, MOMENTS.now())

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Set it."""
        if self.end_time_ms is None:
            client.update_run(run_id, status=self.status)
        else:
            client.set_terminated(run_id, self.status, self.end_time_ms)


@dataclass(frozen=True)
class NewRun(Update):
    """A run that could not be created when it began. Its local id becomes a tag."""

    kind = "new_run"
    experiment_id: str
    name: str
    tags: Mapping[str, str]
    start_time_ms: int

    @classmethod
    def now(cls, experiment_id: str, name: str, tags: Mapping[str, str]) -> NewRun:
        """Return a run that begins now."""
        return cls(LOCAL + uuid4().hex, experiment_id, name, tags, MOMENTS.now())

    def send(self, client: MlflowClient, run_id: str) -> str:
        """Create it, unless an attempt whose answer was lost has; return its real id."""
        return id_of_local(client, self.experiment_id, self.run_id) or self.create(client)

    def create(self, client: MlflowClient) -> str:
        """Create it, where no attempt was made before; return its real id."""
        run = client.create_run(
            self.experiment_id,
            start_time=self.start_time_ms,
            tags={**self.tags, LOCAL_ID_TAG: self.run_id},
            run_name=self.name,
        )
        return str(run.info.run_id)


@dataclass(frozen=True)
class DatasetUse(Update):
    """The data set that a run used: its description, not its content."""

    kind = "dataset"
    dataset: Mapping[str, str]
    tags: Mapping[str, str]

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Log it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tags = [InputTag(name, value) for name, value in self.tags.items()]
        client.log_inputs(run_id, datasets=[DatasetInput(Dataset(**self.dataset), tags)])


@dataclass(frozen=True)
class Artifact(Update):
    """A file or a folder, by its path."""

    kind = "artifact"
    path: str
    folder: str | None = None

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Copy it to the run's artifacts."""
        client.log_artifact(run_id, self.path, self.folder)


@dataclass(frozen=True)
class Model(Update):
    """A model that was saved in MLflow's own format, by its folder."""

    kind = "model"
    path: str
    name: str
    experiment_id: str
    n_epochs: int
    params: Mapping[str, str]

    def send(self, client: MlflowClient, run_id: str) -> None:
        """Log it with the run, unless an attempt whose answer was lost has."""
        from mlflow.entities import LoggedModelStatus

        from pipeline.tracking.models import log_saved_model

        query = f"tags.`{LOCAL_ID_TAG}` = '{Path(self.path).name}'"
        found = client.search_logged_models([self.experiment_id], query)
        if any(model.status is LoggedModelStatus.READY for model in found):
            return
        log_saved_model(
            client.tracking_uri,
            Path(self.path),
            name=self.name,
            experiment_id=self.experiment_id,
            run_id=run_id,
            n_epochs=self.n_epochs,
            params=self.params,
        )


KINDS = {kind.kind: kind for kind in (Metrics, Texts, Status, NewRun, DatasetUse, Artifact, Model)}


def send_together(client: MlflowClient, run_id: str, updates: Sequence[Update]) -> None:
    """Log metrics and texts of one run in one go. Raises what MLflow raises."""
    points: list[Point] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for update in updates:
        if isinstance(update, Metrics):
            points += update.points()
        elif isinstance(update, Texts):
            params |= update.params
            tags |= update.tags
    log(client, run_id, points, params, tags)


def of_plain(plain: Mapping[str, Any]) -> Update:
    """Return the update that `as_plain` was taken of."""
    values = dict(plain)
    return KINDS[values.pop("kind")](**values)


def id_of_local(
    client: MlflowClient, experiment_id: str, local_id: str, *, deleted_too: bool = False
) -> str | None:
    """Return the real id of a run that was created late, None while it is not."""
    from mlflow.entities import ViewType

    query = f"tags.`{LOCAL_ID_TAG}` = '{local_id}'"
    among = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY
    found = client.search_runs([experiment_id], query, among, max_results=1)
    return str(found[0].info.run_id) if found else None
