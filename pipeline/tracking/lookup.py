"""What the store holds already: the experiment, the study's run, what dead processes left."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from pipeline.errors import BadInput
from pipeline.tracking.records import EPOCH_MARK
from pipeline.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SIGNATURE_TAG = "pipeline.signature"
PARENT_TAG = "mlflow.parentRunId"


def experiment_id_of(store: Store, name: str) -> str:
    """Return the id of the experiment of this name, created if need be.

    Raises BadInput when it was deleted, or is MLflow's default one.
    """
    from mlflow.exceptions import MlflowException

    found = store.client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(store.client.create_experiment(name, store.artifact_location))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another process was quicker.
            found = store.client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        number = "" if found is None else f" --experiment-id {found.experiment_id}"
        raise BadInput(
            f"the experiment {name!r} was deleted in {store.address}; restore it with "
            f"`mlflow experiments restore{number}`, or give the study another name"
        )
    if found.experiment_id == "0":
        # Its files lie wherever the first program to open the store was started.
        raise BadInput(
            f"the study needs a name of its own, {name!r} is MLflow's default experiment"
        )
    return str(found.experiment_id)


def find_run(client: MlflowClient, experiment_id: str, signature: str) -> Run | None:
    """Return the study's run; the oldest, should two processes have made one each."""
    found = client.search_runs(
        [experiment_id],
        f"tags.`{SIGNATURE_TAG}` = '{signature}'",
        max_results=1,
        order_by=["attributes.start_time ASC"],
    )
    return found[0] if found else None


def mend(client: MlflowClient, parent: Run, keep_running: Collection[str]) -> int:
    """Mark trials that nobody trains any more as KILLED; return how many there were."""
    query = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}' and attributes.status = 'RUNNING'"
    # A list first: ending a run takes it out of the pages still to come.
    left = [run.info.run_id for run in _pages(client, parent.info.experiment_id, query)]
    dead = [run_id for run_id in left if run_id not in keep_running]
    for run_id in dead:
        client.set_tag(run_id, "reason", "the process that trained it died")
        client.set_terminated(run_id, "KILLED")
    return len(dead)


def _pages(client: MlflowClient, experiment_id: str, query: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment_id], query, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def find_trial(client: MlflowClient, run_id: str) -> Run | None:
    """Return the run, None when it was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return None if run.info.lifecycle_stage == "deleted" else run


def last_epoch_in(client: MlflowClient, run_id: str) -> int:
    """Return the number of epochs that the run has whole; 0 when it has none."""
    history = client.get_metric_history(run_id, EPOCH_MARK)
    return max((point.step for point in history), default=0)
