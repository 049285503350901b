"""What studies keep in MLflow, and its removal for good.

MLflow deletes softly: a deleted run keeps its metrics and its files until `mlflow gc`. That command
also removes every deleted experiment of the store, so its steps are taken here for given runs: mark
as deleted, remove the files, remove the rows. What a kill leaves in between is marked as deleted,
and the next removal takes it.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput
from pipeline.tracking.lookup import PARENT_TAG, SIGNATURE_TAG, every
from pipeline.tracking.registry import ANSWER_TAG
from pipeline.tracking.store import Store, readable_errors


@dataclass(frozen=True)
class Logged:
    """Runs and logged models, of one study where these two are given.

    run_ids: the study's own run last, so that a removal that is cut off can find the others
    registered: the model versions that come from them and keep them, as "digits version 3"
    superseded: those that go with them, by name and number: registered by a search, and by now
        neither champion nor challenger, nor of any other alias
    last_used_secs: when the study's run began or ended last, since the epoch
    """

    experiment: str = ""
    signature: str = ""
    run_ids: tuple[str, ...] = ()
    model_ids: tuple[str, ...] = ()
    n_bytes: int = 0
    registered: tuple[str, ...] = ()
    superseded: tuple[tuple[str, str], ...] = ()
    last_used_secs: float = 0.0


def logged_studies(store: Store) -> list[Logged]:
    """Return what every study has in the store, deleted runs included.

    Raises BadInput when files lie outside the store's folder, StoreUnavailable when it fails.
    """
    with readable_errors(f"the runs in {store.address} cannot be read"):
        versions = _versions(store)
        return [
            logged
            for experiment in every(store.client.search_experiments)
            for logged in _logged_in(store, experiment, versions)
        ]


def _logged_in(store: Store, experiment: Any, versions: list[_Version]) -> Iterator[Logged]:
    """Yield what the studies of one experiment have."""
    from mlflow.entities import ViewType

    ids = [experiment.experiment_id]
    models, children = defaultdict(list), defaultdict(list)
    for model in every(partial(store.client.search_logged_models, ids)):
        models[model.source_run_id].append(model)
    runs = list(every(partial(store.client.search_runs, ids, run_view_type=ViewType.ALL)))
    for run in runs:
        children[run.data.tags.get(PARENT_TAG)].append(run)
    for run in runs:
        if signature := run.data.tags.get(SIGNATURE_TAG):
            family = [*children[run.info.run_id], run]
            theirs = [model for each in family for model in models[each.info.run_id]]
            yield replace(
                _logged(store, family, theirs, versions),
                experiment=experiment.name,
                signature=signature,
                last_used_secs=max(run.info.start_time, run.info.end_time or 0) / 1000,
            )


def deleted_by_hand(store: Store, older_than_secs: float, besides: Collection[str]) -> Logged:
    """Return the runs and models that were deleted so long ago, in the UI for example.

    A study's own run is not among them: it goes with its trials, when the study goes.

    besides: ids to leave out
    Raises BadInput when files lie outside the store's folder, StoreUnavailable when it fails.
    """
    backend = _backend(store)
    with readable_errors(f"the deleted runs in {store.address} cannot be read"):
        age_ms = int(older_than_secs * 1000)
        runs = [backend.get_run(run_id) for run_id in backend._get_deleted_runs(age_ms)]
        models = [
            backend.get_logged_model(model_id, allow_deleted=True)
            for model_id in backend._get_deleted_logged_models(age_ms)
        ]
        versions = _versions(store)
        return _logged(
            store,
            [
                run
                for run in runs
                if SIGNATURE_TAG not in run.data.tags
                and run.info.run_id not in besides
                and not _from({run.info.run_id}, versions)
            ],
            [
                model
                for model in models
                if model.model_id not in besides and not _from({model.model_id}, versions)
            ],
            versions,
        )


def remove(store: Store, logged: Logged) -> None:
    """Remove runs and models for good, with their files.

    Raises StoreUnavailable when the store fails; what is left is marked as deleted by then.
    """
    client, backend = store.client, _backend(store)
    with readable_errors(f"runs cannot be removed from {store.address}"):
        for name, number in logged.superseded:
            client.delete_model_version(name, number)
        models = [backend.get_logged_model(m, allow_deleted=True) for m in logged.model_ids]
        for model in models:
            backend.delete_logged_model(model.model_id)
        for run_id in logged.run_ids:
            client.delete_run(run_id)
        for model in models:
            _remove_files(_folder(store, model.artifact_location))
            backend._hard_delete_logged_model(model.model_id)
        for run_id in logged.run_ids:
            _remove_files(_folder(store, client.get_run(run_id).info.artifact_uri))
            backend._hard_delete_run(run_id)


def remove_models(store: Store, model_ids: Collection[str]) -> int:
    """Remove models, but for those that are registered; return how many went.

    Raises StoreUnavailable when the store fails. A server keeps them, marked as deleted.
    """
    with readable_errors(f"models cannot be removed from {store.address}"):
        versions = _versions(store) if model_ids else []
        going = tuple(each for each in model_ids if not _from({each}, versions))
        if store.artifact_location is None:
            for model_id in going:
                store.client.delete_logged_model(model_id)
        else:
            remove(store, Logged(model_ids=going))
        return len(going)


def shrink(store: Store) -> None:
    """Give the space of removed rows back to the file system.

    Raises StoreUnavailable while another program holds the database.
    """
    with (
        readable_errors(f"{store.address} cannot be made smaller"),
        closing(sqlite3.connect(_root(store) / "mlflow.db")) as database,
    ):
        database.execute("VACUUM")


def _logged(store: Store, runs: list[Any], models: list[Any], versions: list[_Version]) -> Logged:
    run_ids = tuple(run.info.run_id for run in runs)
    model_ids = tuple(model.model_id for model in models)
    theirs = _from({*run_ids, *model_ids}, versions)
    locations = [run.info.artifact_uri for run in runs] + [m.artifact_location for m in models]
    return Logged(
        run_ids=run_ids,
        model_ids=model_ids,
        n_bytes=sum(size_of(_folder(store, location)) for location in locations),
        registered=tuple(f"{v.name} version {v.number}" for v in theirs if not v.is_superseded),
        superseded=tuple((v.name, v.number) for v in theirs if v.is_superseded),
    )


@dataclass(frozen=True)
class _Version:
    """A model version. comes_from: text that names its run and its model, wherever it does."""

    name: str
    number: str
    comes_from: str
    is_superseded: bool


def _versions(store: Store) -> list[_Version]:
    """Return all model versions; MLflow tells their aliases with the models only."""
    held = {
        (model.name, str(number))
        for model in every(store.client.search_registered_models)
        for number in model.aliases.values()
    }
    return [
        _Version(
            found.name,
            str(found.version),
            f"{found.run_id} {found.model_id} {found.source}",
            ANSWER_TAG in found.tags and (found.name, str(found.version)) not in held,
        )
        for found in every(store.client.search_model_versions)
    ]


def _from(ids: Collection[str], versions: list[_Version]) -> list[_Version]:
    """Return the versions that name one of these ids."""
    return [version for version in versions if any(each in version.comes_from for each in ids)]


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files under a folder; 0 when there is none."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _folder(store: Store, location: str) -> Path:
    """Return where files lie. Raises BadInput when that is not within the store's own folder.

    A project that was copied names the files of the original until it is mended.
    """
    from mlflow.utils.file_utils import local_file_uri_to_path

    folder = Path(local_file_uri_to_path(location))
    if _root(store) not in folder.parents:
        raise BadInput(
            f"runs must have their files under {_root(store)}, got {location}; if the project was "
            "moved, run `python -m pipeline.maintain mend` first"
        )
    return folder


def _remove_files(folder: Path) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(str(folder)).delete_artifacts()
    # MLflow leaves the folder around it, which is named after the run or the model.
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _root(store: Store) -> Path:
    assert store.artifact_location is not None  # only a server leaves it open
    return Path(store.artifact_location).parent


def _backend(store: Store) -> Any:
    """Return MLflow's own store behind the client: only it removes for good."""
    return store.client._tracking_client.store
