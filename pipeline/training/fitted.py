"""The final fit: a model trained on all development rows, with its preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import keras
import numpy as np

from pipeline.data import Dataset
from pipeline.folds import Fold
from pipeline.nest import Nest, map_parts, parts
from pipeline.preprocessing import transformed
from pipeline.schedules import Schedule
from pipeline.scoring import Scoring
from pipeline.spec import StudySpec
from pipeline.training.adapted import AdaptedLayers
from pipeline.training.engine import Engine, Setup
from pipeline.training.engines import engine_for
from pipeline.training.judge import Judge
from pipeline.training.lockstep import LockstepTraining
from pipeline.training.models import named_outputs
from pipeline.training.rows import evaluate, predict


@dataclass(frozen=True, eq=False)
class Member:
    """A trained model with what was fitted on its rows: a transformer, a dict of them, or None."""

    model: keras.Model
    preprocess: Any

    def predictions(self, x: Nest, batch_size: int) -> Nest:
        """Return the model's predictions for raw rows, nested as its outputs are."""
        rows = transformed(x, self.preprocess)
        predictions = predict(self.model, rows, batch_size)
        return tuple(predictions) if isinstance(predictions, list) else predictions


@dataclass(frozen=True, eq=False)
class FittedModel:
    """One trained model or several that predict together; takes raw rows.

    n_updates: optimizer steps that each member was trained for, on average
    scoring: the study's scorers, if it has any
    """

    members: tuple[Member, ...]
    n_updates: int
    batch_size: int
    scoring: Scoring | None = None

    def predict(self, x: Nest) -> Nest:
        """Return the mean of the members' predictions for raw rows.

        Of several outputs, a dict by their names.
        """
        return named_outputs(self.members[0].model, self._mean(x))

    def score(self, data: Dataset) -> dict[str, float]:
        """Return loss, metrics and scores on raw rows; of several members, their mean prediction's.

        A model's own loss holds its penalties (regularisation), that of a mean prediction none.
        """
        if self.scoring is None:
            return self._evaluated(data)
        predictions = self._mean(data.x)
        truth = self.scoring.truth(data.y, data.sample_weight, predictions.shape[1:])
        scores = self.scoring.scores(predictions, truth).tolist()
        return self._evaluated(data) | dict(zip(self.scoring.names, scores, strict=True))

    def _evaluated(self, data: Dataset) -> dict[str, float]:
        if len(self.members) > 1:
            return Judge(self.members[0].model).scores(self._mean(data.x), data)
        (member,) = self.members
        x = transformed(data.x, member.preprocess)
        return evaluate(member.model, x, data.y, data.sample_weight, self.batch_size)

    def each(self) -> list[FittedModel]:
        """Return the members as models of their own."""
        return [replace(self, members=(member,)) for member in self.members]

    def save(self, folder: Path) -> dict[str, Path]:
        """Write the models, and their preprocessing if they have any; return the files.

        Their names are `model_0`, `preprocess_0`, `model_1`, …; those of Keras layers for one of
        several inputs `preprocess_0:<input>`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for number, member in enumerate(self.members):
            path = files[f"model_{number}"] = folder / f"model_{number}.keras"
            member.model.save(path)
            if member.preprocess is not None:
                files |= _saved(member.preprocess, folder, f"preprocess_{number}")
        return files

    def why_not_served(self, files: Mapping[str, Path], x: Nest) -> str:
        """Return why the saved models do not give these predictions again, or "" when they do.

        They are loaded as a server loads them, in safe mode.
        """
        for number, member in enumerate(self.members):
            expected = parts("", member.predictions(x, self.batch_size))
            try:
                loaded = keras.models.load_model(
                    files[f"model_{number}"], compile=False, safe_mode=True
                )
                preprocess = _with_layers_from(files, f"preprocess_{number}", member.preprocess)
                again = Member(loaded, preprocess).predictions(x, self.batch_size)
            except Exception as error:
                return next((line for line in str(error).splitlines() if line.strip()), repr(error))
            for name, part in parts("", again).items():
                if not np.allclose(part, expected[name], rtol=1e-4, atol=1e-5):
                    return "loaded again, it predicts something else"
        return ""

    def _mean(self, x: Nest) -> Nest:
        first, *others = (member.predictions(x, self.batch_size) for member in self.members)
        return map_parts(lambda *each: np.mean(each, axis=0), first, *others) if others else first


def _saved(preprocess: Any, folder: Path, name: str) -> dict[str, Path]:
    """Write what was fitted, transformers with joblib and layers as Keras does; return the files.

    In this order: of a dict, the layers' files, one for each, and one with all transformers.
    """
    if isinstance(preprocess, AdaptedLayers):
        path = folder / f"{name}.keras"
        preprocess.save(path)
        return {name: path}
    files: dict[str, Path] = {}
    if isinstance(preprocess, Mapping):
        layers = {k: each for k, each in preprocess.items() if isinstance(each, AdaptedLayers)}
        for place, (key, each) in enumerate(layers.items()):
            files[f"{name}:{key}"] = folder / f"{name}_{place}.keras"
            each.save(files[f"{name}:{key}"])
        preprocess = {k: each for k, each in preprocess.items() if k not in layers}
    if preprocess != {}:
        files[name] = folder / f"{name}.joblib"
        joblib.dump(preprocess, files[name])
    return files


def _with_layers_from(files: Mapping[str, Path], name: str, preprocess: Any) -> Any:
    """Return what was fitted with its layers read from their files."""
    if isinstance(preprocess, Mapping):
        return {k: _with_layers_from(files, f"{name}:{k}", v) for k, v in preprocess.items()}
    is_layers = isinstance(preprocess, AdaptedLayers)
    return preprocess.loaded(files[name]) if is_layers else preprocess


def fit_on_all_rows(
    spec: StudySpec,
    data: Dataset,
    params: Mapping[str, Any],
    n_epochs: int,
    *,
    folds: Sequence[int],
    setup: Setup,
    schedule: Schedule | None = None,
    each_epoch: Callable[[LockstepTraining], None] = lambda training: None,
) -> FittedModel:
    """Train a new model per seed on all development rows, for `n_epochs` of `params`' schedule.

    As `fitted_after`, for one number of epochs.
    """
    ((_, model),) = fitted_after(
        [n_epochs], spec, data, params, folds=folds, setup=setup, schedule=schedule,
        each_epoch=each_epoch,
    )  # fmt: skip
    return model


def fitted_after(
    counts: Sequence[int],
    spec: StudySpec,
    data: Dataset,
    params: Mapping[str, Any],
    *,
    folds: Sequence[int],
    setup: Setup,
    schedule: Schedule | None = None,
    each_epoch: Callable[[LockstepTraining], None] = lambda training: None,
) -> Iterator[tuple[int, FittedModel]]:
    """Yield the models trained on all development rows, after each of these numbers of epochs.

    counts: ascending; one training passes through them all, or one for each where there are
        callbacks: what they do in `on_train_end` belongs to the end
    folds: numbers that no fold of the search has, one per model; they decide initial weights and
        row orders
    schedule: in place of the study's: there are no validation rows that one could react to
    each_epoch: called before each epoch; may restore a snapshot before the first, and raise to stop
    Raises FloatingPointError when the loss diverges.
    """
    if spec.callbacks is not None and len(counts) > 1:
        for count in counts:
            yield from fitted_after(
                [count], spec, data, params, folds=folds, setup=setup, schedule=schedule,
                each_epoch=each_epoch,
            )  # fmt: skip
        return
    rows = np.arange(data.n_rows)
    wholes = [Fold(number, rows, rows[:0]) for number in folds]
    engine = engine_for(setup, spec, data, wholes)
    program = engine.program(params)
    training = LockstepTraining(program, params, wholes, spec=spec, schedule=schedule)
    each_epoch(training)
    while training.n_epochs < counts[-1]:
        if not np.isfinite(training.advance()[:, program.metric_names.index("loss")]).all():
            raise FloatingPointError(
                f"the loss is not finite after epoch {training.n_epochs} of {counts[-1]}"
            )
        each_epoch(training)
        if training.n_epochs == counts[-1]:
            training.end()
        if training.n_epochs in counts:
            yield training.n_epochs, as_fitted(training, engine, wholes)


def as_fitted(training: LockstepTraining, engine: Engine, folds: Sequence[Fold]) -> FittedModel:
    """Return the models of these folds as they are now, to predict together."""
    members = tuple(
        Member(
            training.program.model(fold.index, training.states[fold.index], training.params),
            engine.preprocessors.get(fold.index),
        )
        for fold in folds
    )
    n_updates = round(training.n_updates / len(folds))
    batch_size, scoring = int(training.params["batch_size"]), training.program.scoring
    return FittedModel(members, n_updates, batch_size, scoring)
