"""Batches of training rows as the study's `augment` changes them: never validation or test rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.errors import BadInput
from pipeline.lazy_rows import in_memory
from pipeline.nest import Nest, alike, as_array, described, is_several, map_parts, parts
from pipeline.spec import StudySpec
from pipeline.training.models import labels
from pipeline.training.rows import Arrays

SALT = 0xA06
"""So that no draw is one of those for row orders or initial weights."""


class Augmented:
    """A fold's training batches in one epoch, each changed with a seed of its own.

    The seed is a function of (study seed, fold's start, epoch, batch) and nothing else: trials are
    paired in it, and whoever goes on from a snapshot draws the same.
    arrays: on the host
    """

    def __init__(self, spec: StudySpec, arrays: Arrays, *, start: int, epoch: int) -> None:
        self._spec, self._arrays = spec, arrays
        self._entropy = [SALT, spec.seed, start, epoch]
        self._n_batches = 0

    def __call__(self, rows: np.ndarray) -> tuple:
        """Gather the next batch as the tuple that `train_step` takes."""
        seed = seed_of([*self._entropy, self._n_batches])
        self._n_batches += 1
        x, y, weight = self._arrays.x, self._arrays.y, self._arrays.train_weight
        x, y = augmented(self._spec, taken_out(x, rows), taken_out(y, rows), seed)
        batch = (x, y) if weight is None else (x, y, taken_out(weight, rows))
        return tuple(tf.nest.map_structure(tf.convert_to_tensor, part) for part in batch)


def seed_of(entropy: list[int]) -> np.ndarray:
    """Return what `augment` draws from: int32 [2], ≥ 0, as NumPy's and TensorFlow's seeds."""
    return (np.random.SeedSequence(entropy).generate_state(2) >> 1).astype(np.int32)


def taken_out(nest: Nest, rows: np.ndarray) -> Nest:
    """Return rows as arrays of their own, which may be written into."""
    return map_parts(lambda part: in_memory(part[rows]), nest)


def augmented(spec: StudySpec, x: Nest, y: Nest, seed: np.ndarray) -> tuple[Nest, Nest]:
    """Return a batch as `augment` changes it, floats of any precision as they came.

    Raises BadInput when it raises, or gives anything but as many rows of the same shapes and types.
    """
    assert spec.augment is not None
    came = map_parts(lambda part: part, x), map_parts(lambda part: part, y)
    try:
        given = spec.augment(x, y, seed)
    except Exception as error:  # the user's own code
        raise BadInput(f"augment raised {type(error).__name__}: {error}") from error
    if not isinstance(given, tuple | list) or len(given) != 2:
        what = f"{len(given)} things" if isinstance(given, tuple | list) else type(given).__name__
        raise BadInput(f"augment must return (x, y), got {what}")
    return _as_it_came("x", given[0], came[0]), _as_it_came("y", given[1], came[1])


def check_augment(spec: StudySpec, x: Nest, y: Nest, rows: np.ndarray) -> None:
    """Raise BadInput unless `augment` works on a batch: the same again by the same seed.

    x, y: of all rows; rows: of one batch for training
    """
    if spec.augment is None:
        return
    seed = seed_of([SALT, spec.seed])
    first, second = (
        augmented(spec, taken_out(x, rows), labels(taken_out(y, rows)), seed) for _ in range(2)
    )
    for what, once, again in zip("xy", first, second, strict=True):
        for name, part in parts(what, once).items():
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                n_bad = int((~np.isfinite(part)).sum())
                raise BadInput(
                    f"augment must return finite numbers, got {n_bad} other(s) in {name}"
                )
            if not np.array_equal(part, parts(what, again)[name]):
                raise BadInput(
                    f"augment must be a function of its arguments, got another {name} by the same "
                    "seed; draw from np.random.default_rng(seed), or by TensorFlow's "
                    "tf.random.stateless_… and tf.image.stateless_… with seed=seed"
                )


def _as_it_came(name: str, nest: Any, came: Nest) -> Nest:
    """Return what `augment` gave for x or y as arrays, floats as before."""
    nest = tuple(nest) if isinstance(nest, list) and isinstance(came, tuple) else nest
    if (is_several(came) or is_several(nest)) and not alike(came, nest):
        raise BadInput(f"augment must return {name} as {described(came)}, got {described(nest)}")
    nest, before = map_parts(lambda part: as_array(name, part), nest), parts(name, came)
    for part_name, part in parts(name, nest).items():
        shape, dtype = before[part_name].shape, before[part_name].dtype
        if part.shape != shape or (
            part.dtype != dtype and not part.dtype.kind == dtype.kind == "f"
        ):
            raise BadInput(
                f"augment must return {part_name} as it came, of shape {shape} and type {dtype}, "
                f"got {part.shape} and {part.dtype}"
            )
    return map_parts(lambda part, old: part.astype(old.dtype, copy=False), nest, came)
