"""scikit-learn splitters → `Folds`: drawn once per study, frozen, hashed."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data import Dataset
from pipeline.errors import BadInput
from pipeline.lazy_rows import LazyRows, in_memory
from pipeline.nest import Nest, described, is_several, map_parts

ClassWeight = Mapping[int, float] | str

UNEVEN = 1.25
"""Times the smallest that the largest of several sizes may be before folds are called uneven."""


def are_uneven(sizes: Sequence[int]) -> bool:
    """Whether folds of these sizes, rows or updates, are too different to be taken for alike."""
    return max(sizes) >= UNEVEN * min(sizes)


@dataclass(frozen=True, eq=False)
class Fold:
    """One train/validation split of the development rows: row numbers, which cannot be changed.

    `validation` is empty for the refit.
    starts_like: what, with the study's seed, decides initial weights and row orders, if it is not
        `index`: folds of one number start alike
    """

    index: int
    train: np.ndarray
    validation: np.ndarray
    starts_like: int | None = None

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            rows = np.array(getattr(self, name))
            if rows.size and (rows.ndim != 1 or rows.dtype.kind not in "iu"):
                raise BadInput(
                    f"fold {self.index} must have row numbers for {name}, "
                    f"got {rows.dtype} of shape {rows.shape}"
                )
            rows = rows.astype(np.int64)
            rows.flags.writeable = False
            object.__setattr__(self, name, rows)
        if len(self.train) == 0:
            raise BadInput(f"fold {self.index} has no training rows")
        if np.intersect1d(self.train, self.validation).size:
            raise BadInput(f"fold {self.index} has rows on both sides of the split")

    @property
    def start(self) -> int:
        """What, with the study's seed, decides initial weights and row orders."""
        return self.index if self.starts_like is None else self.starts_like


@dataclass(frozen=True, eq=False)
class Folds(Sequence[Fold]):
    """The study's splits of `n_rows` development rows."""

    folds: tuple[Fold, ...]
    n_rows: int

    def __post_init__(self) -> None:
        if not self.folds:
            raise BadInput("the splitter gave no folds; it must give at least 1")
        for fold in self.folds:
            if len(fold.validation) == 0:
                raise BadInput(f"fold {fold.index} has no validation rows")
            rows = np.concatenate([fold.train, fold.validation])
            if rows.min() < 0 or rows.max() >= self.n_rows:
                raise BadInput(f"fold {fold.index} has rows outside 0..{self.n_rows - 1}")

    def __len__(self) -> int:
        return len(self.folds)

    def __getitem__(self, index: Any) -> Any:
        return self.folds[index]

    @property
    def is_in_order(self) -> bool:
        """Whether each fold validates on rows that come after those it trains on."""
        return all(fold.train.max() < fold.validation.min() for fold in self.folds)

    @property
    def n_repeats(self) -> int:
        """How often the splitter split all rows anew, as RepeatedKFold does; 1 for any other."""
        n_validated = np.bincount(
            np.concatenate([fold.validation for fold in self.folds]), minlength=self.n_rows
        )
        n_repeats = int(n_validated[0])
        if (n_validated != n_repeats).any() or n_repeats < 2 or len(self) % n_repeats:
            return 1
        size = len(self) // n_repeats
        for start in range(0, len(self), size):
            rows = [fold.validation for fold in self.folds[start : start + size]]
            if len(np.unique(np.concatenate(rows))) < self.n_rows:
                return 1
        return n_repeats

    @property
    def n_validation_rows(self) -> list[int]:
        """Of each fold."""
        return [len(fold.validation) for fold in self.folds]

    @property
    def validation_to_training(self) -> float:
        """Validation rows for each training row, averaged over folds: 1/(K−1) for K-fold splits."""
        return float(np.mean([len(fold.validation) / len(fold.train) for fold in self.folds]))

    @property
    def hash(self) -> str:
        """SHA-256 of every fold's rows: other splits are another study."""
        digest = hashlib.sha256(str(self.n_rows).encode())
        for fold in self.folds:
            for rows in (fold.train, fold.validation):
                digest.update(np.asarray(rows, dtype=np.int64).tobytes() + b"|")
        return digest.hexdigest()


def split(data: Dataset, splitter: Any, seed: int) -> Folds:
    """Draw the study's folds once.

    splitter: anything with scikit-learn's `split(X, y, groups)`, or None: `default_splitter`. A
        splitter that shuffles without a `random_state` is given `seed`, so that the same study
        always has the same folds. scikit-learn's own know neither several inputs nor several
        outputs: they are given none, and cannot stratify. Any other is given X and y as they are.
    Raises BadInput when the rows or the classes are too few, or the splitter refuses.
    """
    if data.validation_rows is not None:
        if splitter is not None:
            raise BadInput(
                "a study has a splitter or a fixed validation set, not both: load_data() returned "
                f"a validation set and splitter is {splitter!r}"
            )
        train = np.setdiff1d(np.arange(data.n_rows), data.validation_rows)
        return Folds((Fold(0, train, data.validation_rows),), data.n_rows)
    splitter = _seeded(default_splitter(data) if splitter is None else splitter, seed)
    _refuse_too_many_folds(splitter, data)
    drawn = draw(splitter, data, f"splitter {splitter!r}")
    each = tuple(Fold(index, train, validation) for index, (train, validation) in enumerate(drawn))
    folds = Folds(each, data.n_rows)
    _refuse_parted_groups(folds, data, splitter)
    return folds


def untrained_classes(data: Dataset, folds: Folds) -> list[str]:
    """Return, in sentences, which folds have no training row of a class."""
    if not data.is_classification:
        return []
    missing = {fold.index: np.setdiff1d(data.y, data.y[fold.train]) for fold in folds}
    return [
        f"fold {index} trains on no row of class {', '.join(map(str, classes))}: it cannot learn it"
        for index, classes in missing.items()
        if classes.size
    ]


DEFAULT_N_FOLDS = 5


def expected_n_folds(splitter: Any) -> int:
    """Return how many folds a splitter says that it makes, before it has seen the data."""
    try:
        return int(splitter.get_n_splits())
    except Exception:  # no splitter, or one that must see the data for it
        return DEFAULT_N_FOLDS


def default_splitter(data: Dataset, n_folds: int = DEFAULT_N_FOLDS) -> Any:
    """Return shuffled folds, stratified where y is classes, of whole groups if any."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if data.groups is None:
        kind = StratifiedKFold if data.is_classification else KFold
    else:
        kind = StratifiedGroupKFold if data.is_classification else GroupKFold
    return kind(n_splits=n_folds, shuffle=True)


def as_weights(weights: Nest, y: Nest) -> Nest:
    """Return weights as `fit` hands them to a model: float32, and the same for every output."""
    weights = map_parts(lambda part: part.astype(np.float32), weights)
    if is_several(y) and not is_several(weights):
        return map_parts(lambda _: weights, y)
    return weights


def training_weights(data: Dataset, fold: Fold, class_weight: ClassWeight | None) -> Nest | None:
    """Return the weight of every row in training, [n_rows] float32, or None for no weights.

    For several outputs, the weights of each.

    Class weights become sample weights; "balanced" is computed from the fold's training rows:
    n_rows / (n_classes · count) (King & Zeng 2001, §4.2, as in scikit-learn). One-hot labels are
    classes by their columns' places.
    """
    weights = data.sample_weight
    if class_weight is None:
        return None if weights is None else as_weights(weights, data.y)
    if is_several(data.y):
        raise BadInput(
            f"class_weight needs one output, got y as {described(data.y)}; weigh the rows of each "
            "output by Dataset(sample_weight=…)"
        )
    y = _class_numbers(data.y)
    classes, counts = np.unique(y[fold.train], return_counts=True)
    if isinstance(class_weight, str):
        by_class = dict(zip(classes, len(fold.train) / (len(classes) * counts), strict=True))
    else:
        by_class = dict(class_weight)
        unknown = sorted(set(by_class) - set(y.tolist()), key=repr)
        if unknown:
            raise BadInput(
                f"class_weight must name classes of y, got {unknown}; y has {np.unique(y).tolist()}"
            )
    of_row = np.array([by_class.get(label, 1.0) for label in y], dtype=np.float32)
    return of_row if weights is None else of_row * weights.astype(np.float32)


def _class_numbers(y: np.ndarray) -> np.ndarray:
    """Return each row's class, [n_rows], of class numbers or of one column a class.

    Raises BadInput where a row has none, or several.
    """
    columns = y.reshape(len(y)) if y[0].size == 1 else y
    if columns.ndim == 1 and (columns == np.rint(columns)).all():
        return columns.astype(np.int64)
    is_of_two = columns.ndim == 2 and ((columns == 0) | (columns == 1)).all()
    if is_of_two and (columns.sum(axis=1) == 1).all():
        return columns.argmax(axis=1)
    raise BadInput(
        "class_weight needs y to be whole class numbers [n_rows], or one-hot, got "
        f"{y.dtype} of shape {y.shape}; where a row may have several labels, weigh the rows by "
        "Dataset(sample_weight=…)"
    )


def draw(splitter: Any, data: Dataset, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return what a splitter makes of the rows: (training, validation) row numbers of each fold.

    name: of what the splitter stands for, for the message
    Raises BadInput when it refuses.
    """
    x, y = data.x, data.y
    if type(splitter).__module__.startswith("sklearn."):
        if is_several(y) and "Stratified" in type(splitter).__name__:
            raise BadInput(
                f"{name} stratifies by one column of classes, got y as {described(y)}; use KFold, "
                "or a splitter of your own, which is given all of y"
            )
        x = np.arange(data.n_rows) if is_several(x) or isinstance(x, LazyRows) else x
        y = None if is_several(y) else y
    x = map_parts(in_memory, x)
    try:
        with warnings.catch_warnings():
            # A splitter's warning is about these very rows: it must be read before training.
            warnings.simplefilter("error", UserWarning)
            drawn = list(splitter.split(x, y, data.groups))
    except (ValueError, TypeError, UserWarning) as error:
        ignores_groups = isinstance(error, UserWarning) and "groups parameter is ig" in str(error)
        use = "; use GroupKFold, or load data without groups" if ignores_groups else ""
        raise BadInput(f"{name} cannot split {data.n_rows} rows: {error}{use}") from error
    for index, pair in enumerate(drawn):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise BadInput(
                f"{name} must give (training rows, validation rows) for each fold, got {pair!r} "
                f"for fold {index}"
            )
    return drawn


def _seeded(splitter: Any, seed: int) -> Any:
    if not hasattr(splitter, "split"):
        raise BadInput(
            f"splitter must have scikit-learn's split(X, y, groups), got {splitter!r}; "
            "for example sklearn.model_selection.KFold(5, shuffle=True)"
        )
    # A copy, so that a generator given as random_state is at the same point in every search.
    splitter = copy.deepcopy(splitter)
    if getattr(splitter, "random_state", 0) is None and getattr(splitter, "shuffle", True):
        splitter.random_state = seed
    return splitter


def _refuse_too_many_folds(splitter: Any, data: Dataset) -> None:
    n_splits = getattr(splitter, "n_splits", None)
    if n_splits is None or "KFold" not in type(splitter).__name__:
        return
    if n_splits > data.n_rows:
        raise BadInput(
            f"splitter must have at most one fold a row, got {n_splits} folds of {data.n_rows} rows"
        )
    if "Stratified" not in type(splitter).__name__ or is_several(data.y):
        return
    # scikit-learn itself says that values and columns of outputs cannot be stratified.
    if data.y.ndim == 1 and data.y.dtype.kind != "f":
        classes, counts = np.unique(data.y, return_counts=True)
        smallest = int(counts.min())
        if smallest < n_splits:
            fewer = f"at most {smallest} folds, or " if smallest > 1 else ""
            raise BadInput(
                "splitter: stratified folds must be ≤ the members of the smallest class, got "
                f"{n_splits} folds and {smallest} member(s) of class "
                f"{classes[counts.argmin()].item()!r}; use {fewer}KFold"
            )


def _refuse_parted_groups(folds: Sequence[Fold], data: Dataset, splitter: Any) -> None:
    groups = data.groups
    if groups is None:
        return
    for fold in folds:
        parted = np.intersect1d(groups[fold.train], groups[fold.validation])
        if parted.size:
            raise BadInput(
                f"splitter must keep rows of one group on one side, got group {parted[0]!s} on "
                f"both sides of fold {fold.index} by {splitter!r}; use GroupKFold, or load data "
                "without groups"
            )
