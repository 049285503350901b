"""The model registry: versions, what they come from, and which of them is the champion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.tracking.moments import MOMENTS
from pipeline.tracking.records import digest_of, storable_value
from pipeline.tracking.runs import SUMMARY_STEP
from pipeline.tracking.store import Store, as_default, readable_errors
from pipeline.tracking.updates import LOCAL_ID_TAG

ANSWER_TAG = "pipeline.answer"
"""Of a version: the configuration that it is of, and what was decided about it, as JSON."""

GIVEN_TAG = "pipeline.alias"
"""Of a version that was given its alias: whoever moves that afterwards is not overruled."""


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    answer: what it was registered with; empty where somebody else did
    is_settled: whether it was given its alias
    run_id, model_uri: where it comes from
    """

    name: str
    number: str
    answer: Mapping[str, Any]
    is_settled: bool
    run_id: str
    model_uri: str


def with_alias(store: Store, name: str, alias: str) -> Version | None:
    """Return the version that has the alias, None where none has.

    Raises StoreUnavailable when the store fails.
    """
    from mlflow.exceptions import MlflowException

    with readable_errors(f"the model {name} cannot be read in {store.address}"):
        try:
            found = store.client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return _version(found)


def version_of(store: Store, name: str, model_uri: str) -> Version | None:
    """Return the version as which this program registered a model, None when it did not."""
    with readable_errors(f"the model {name} cannot be read in {store.address}"):
        found = store.client.search_model_versions(f"name = '{name}'")
        ours = (each for each in found if each.source == model_uri and ANSWER_TAG in each.tags)
        return next(map(_version, ours), None)


def register(
    store: Store,
    name: str,
    model_uri: str,
    *,
    run_id: str,
    answer: Mapping[str, Any],
    tags: Mapping[str, str],
    description: str,
    metrics: Mapping[str, float],
    dataset: tuple[str, str],
) -> Version:
    """Register a logged model as the next version.

    answer: is found again with the version
    tags: what else is to be read in the UI
    description: Markdown
    metrics: that the model's page shows, of the data set of this name and fingerprint
    Raises StoreUnavailable when the store fails.
    """
    from mlflow.entities import Metric
    from mlflow.exceptions import MlflowException
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    client = store.client
    with readable_errors(f"the model {name} cannot be registered in {store.address}"):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        model_id = model_uri.removeprefix("models:/")
        name_of_data, fingerprint = dataset
        now_ms = MOMENTS.now()
        points = [
            Metric(
                key, storable_value(value), now_ms, SUMMARY_STEP, model_id, name_of_data,
                digest_of(fingerprint),
            )
            for key, value in metrics.items()
        ]  # fmt: skip
        client.log_batch(run_id, metrics=points)
        with as_default(store.uri):  # where MLflow looks for the model's files
            version = client.create_model_version(
                name,
                model_uri,
                run_id,
                tags={**tags, ANSWER_TAG: json.dumps(answer)},
                description=description,
                model_id=model_id,
                await_creation_for=0,  # it is there at once; MLflow would say that it waits
            )
        # As MLflow's own `register_model` does: the model's page names its versions.
        link = [{"name": name, "version": version.version}]
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(link)})
        return replace(_version(version), answer=answer)


def give_alias(store: Store, version: Version, alias: str) -> None:
    """Let a version have an alias, and no other one.

    Raises StoreUnavailable when the store fails.
    """
    with readable_errors(f"the alias of {version.name} cannot be set in {store.address}"):
        store.client.set_registered_model_alias(version.name, alias, version.number)
        store.client.set_model_version_tag(version.name, version.number, GIVEN_TAG, alias)


def logged_later(store: Store, experiment_id: str, folder_name: str) -> str:
    """Return the address of a model that was kept in a folder and sent later; "" while it is not.

    folder_name: of the folder
    """
    with readable_errors(f"the models in {store.address} cannot be read"):
        query = f"tags.`{LOCAL_ID_TAG}` = '{folder_name}'"
        found = store.client.search_logged_models([experiment_id], query)
        return str(found[0].model_uri) if found else ""


def _version(found: Any) -> Version:
    answer = json.loads(found.tags.get(ANSWER_TAG, "{}"))
    number, is_settled = str(found.version), GIVEN_TAG in found.tags
    return Version(found.name, number, answer, is_settled, found.run_id, found.source)
