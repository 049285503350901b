"""What the store holds already: the experiment, the study's run, what dead processes left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import BadInput
from pipeline.tracking.records import EPOCH_MARK
from pipeline.tracking.store import Store, readable_errors
from pipeline.tracking.updates import LOCAL, LOCAL_ID_TAG, id_of_local

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


def running_trials(client: MlflowClient, experiment_id: str, run_id: str) -> list[Run]:
    """Return the runs of a study's trials that are marked RUNNING, whoever trains them."""
    return _trials(client, experiment_id, run_id, "attributes.status = 'RUNNING'")


def unended_trials(client: MlflowClient, experiment_id: str, run_id: str) -> list[Run]:
    """Return the runs of a study's trials that are not marked as ended.

    Of those that pause or were interrupted another process may have written the end to Optuna, and
    not even its beginning to MLflow.
    """
    query = "attributes.status != 'FINISHED' and attributes.status != 'FAILED'"
    return _trials(client, experiment_id, run_id, query)


def _trials(client: MlflowClient, experiment_id: str, run_id: str, condition: str) -> list[Run]:
    query = f"tags.`{PARENT_TAG}` = '{run_id}' and {condition}"
    return list(every(partial(client.search_runs, [experiment_id], query)))


def ids_of(run: Run) -> set[str]:
    """Return the ids by which a run may be known: by its local one, if it was created late."""
    return {run.info.run_id, run.data.tags.get(LOCAL_ID_TAG, run.info.run_id)}


def mend(
    client: MlflowClient, experiment_id: str, run_id: str, keep_running: Collection[str]
) -> int:
    """Mark trials that nobody trains any more as KILLED; return how many there were.

    run_id: the study's
    """
    left = running_trials(client, experiment_id, run_id)
    dead = [run.info.run_id for run in left if ids_of(run).isdisjoint(keep_running)]
    for trial in dead:
        client.set_tag(trial, "reason", "the process that trained it died")
        client.set_terminated(trial, "KILLED")
    return len(dead)


def end_left_running(store: Store, experiment: str, signature: str) -> int:
    """Mark the study's run and its trials as KILLED where they are RUNNING; return how many were.

    The caller holds the study's lock: nobody is at them. A trial that is continued runs again.
    Raises StoreUnavailable when the store fails.
    """
    client = store.client
    with readable_errors(f"runs cannot be ended in {store.address}"):
        found = client.get_experiment_by_name(experiment)
        run = None if found is None else find_run(client, found.experiment_id, signature)
        if run is None:
            return 0
        n_ended = mend(client, run.info.experiment_id, run.info.run_id, keep_running=())
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
            n_ended += 1
        return n_ended


def has_run(store: Store, run_id: str) -> bool:
    """Whether the store holds this run, and it was not deleted.

    One that has a local id until the store is back counts as there.
    Raises StoreUnavailable when the store fails.
    """
    with readable_errors(f"runs in {store.address} cannot be read"):
        is_local = run_id.startswith(LOCAL)
        return is_local or find_trial(store.client, "", run_id) is not None


def every(search: Callable[..., Any]) -> Iterator[Any]:
    """Yield what all pages of a search hold."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def find_trial(client: MlflowClient, experiment_id: str, run_id: str) -> Run | None:
    """Return the run, None when it was deleted.

    run_id: may be the local id of a run that was created later
    """
    from mlflow.exceptions import MlflowException

    if run_id.startswith(LOCAL):
        real_id = id_of_local(client, experiment_id, run_id)
        if real_id is None:
            return None
        run_id = real_id
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return None if run.info.lifecycle_stage == "deleted" else run


def was_never_created(client: MlflowClient, experiment_id: str, run_id: str) -> bool:
    """Whether a run has a local id alone: the process that should have created it died."""
    is_local = run_id.startswith(LOCAL)
    return is_local and id_of_local(client, experiment_id, run_id, deleted_too=True) is None


def last_epoch_in(client: MlflowClient, run_id: str, mark: str = EPOCH_MARK) -> int:
    """Return the number of epochs that the run has whole; 0 when it has none.

    mark: the metric that such an epoch has as its last
    """
    history = client.get_metric_history(run_id, mark)
    return max((point.step for point in history), default=0)
