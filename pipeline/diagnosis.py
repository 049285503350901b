"""Overfitting, underfitting, instability: named from training and validation curves.

Rules with stated thresholds, not tests: neighbouring epochs of one training are not independent,
and folds share training rows. The words are those of Goodfellow, Bengio & Courville 2016, §5.2;
that a single rise of the validation error is no sign of it, since real curves have many, is what
Prechelt 1998 shows.

Keras's training metric is a running mean *during* an epoch: before most of the epoch's updates are
done, and with dropout on. So it lags behind the validation metric, which is taken after the epoch,
and a gap below zero in the first epochs, or with dropout throughout, is nothing unusual.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from pipeline.curves import FoldCurves

N_STANDARD_ERRORS = 2.0
"""Standard errors beyond which two epochs differ: the usual two. Of simulated curves that levelled
off it names one in thirty something else, at worst one in ten (1 to 5 folds, 10 to 100 epochs)."""

NEGLIGIBLE_OF_ERROR = 0.1
"""Share of the score's standard error that is never worth a word, however steady. A last fifth of
training that gains less would, if it went on like that, take twice as many epochs again to gain one
standard error."""

NEGLIGIBLE_OF_WAY = 0.001
"""With one fold there is no standard error: the share of the way from the curve's best to its ends
that is never worth a word. A thousandth of a picture's height is less than a line's width."""

SMOOTHED_SHARE = 0.1
"""Share of the epochs that is averaged before epochs are compared. The best of many noisy epochs is
partly luck, and every other looks worse beside it; a tenth hardly moves a minimum."""

EDGE_SHARE = 0.2
"""The last fifth of the epochs is the right edge: a slope is seen there in spite of noise (in
simulations twice as often as in the last tenth), and a curve that levelled off has done so."""

UNSTABLE_SHARE = 0.25
"""A jump from one epoch to the next is large when it is a quarter of the way that the curve goes
from its best to its ends: one epoch more or less then decides how good a model is."""

N_EPOCHS_FOR_JUMPS = 5
"""Epochs from which three second differences tell jumps from the bend of a smooth curve."""


class Fit(Enum):
    """How a training went; the value is the sentence shown to the user."""

    UNDERFIT = "still improving at the last epoch: a larger max_epochs may be better"
    GOOD = "levelled off: neither still improving nor overfitting beyond noise"
    OVERFITTING = "overfitting: validation gets worse while training goes on improving"
    UNSTABLE = "unstable: it jumps or gets worse on training rows; a smaller learning rate may help"
    DIVERGED = "diverged: the loss was no longer finite; a smaller learning rate may help"
    TOO_SHORT = "too few epochs to tell"

    @property
    def label(self) -> str:
        """The word for a table or a tag."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class Diagnosis:
    """How a training went.

    from_epoch: where overfitting begins: from here to the end validation is worse than its best by
        more than noise; else None
    gap, gap_at_end: validation less training, both as losses, in the metric's unit, after the best
        epoch and after the last; None without a training curve
    """

    kind: Fit
    from_epoch: int | None = None
    gap: float | None = None
    gap_at_end: float | None = None

    def __post_init__(self) -> None:
        if (self.from_epoch is not None) != (self.kind is Fit.OVERFITTING):
            raise ValueError(
                f"from_epoch says where overfitting begins, and nothing else: got "
                f"{self.from_epoch} for {self.kind.label}"
            )

    @property
    def words(self) -> str:
        """What is the matter, and from which epoch on."""
        if self.from_epoch is None:
            return self.kind.value
        return self.kind.value.replace(":", f" from epoch {self.from_epoch} on:", 1)

    @property
    def gap_words(self) -> str:
        """How far validation is from training; "" without a training curve."""
        if self.gap is None or self.gap_at_end is None:
            return ""
        return (
            f"validation less training: {self.gap:.2g} at the best epoch, "
            f"{self.gap_at_end:.2g} at the last"
        )

    @property
    def sentence(self) -> str:
        """The diagnosis in words, with the gaps."""
        return f"{self.words} ({self.gap_words})" if self.gap_words else self.words


def diagnose(curves: FoldCurves, training: np.ndarray | None) -> Diagnosis:
    """Name what the curves show.

    training: the same metric on training rows, mean over folds, [n_epochs]; without it, or where
        it is not finite, validation that gets worse for good is taken for overfitting
    Raises ValueError when the curves differ in length.

    In this order: *unstable*, if one training typically jumps from epoch to epoch by more than
    `UNSTABLE_SHARE` of the way its curve goes; *overfitting*, if validation is worse than its best
    from some epoch to the end, by more than noise, while training is better at the end than it was
    at that best (*unstable* if it is not); *underfit*, if the last fifth of the epochs gained more
    than noise; else *good*. A schedule that anneals to zero gains at its end by design: there
    *underfit* asks for a longer horizon.
    """
    twin = _as_curves(training, curves)
    gap = _gap(curves, twin, curves.best_n_epochs)
    gap_at_end = _gap(curves, twin, curves.n_epochs)
    kind, from_epoch = _kind(curves, twin)
    return Diagnosis(kind, from_epoch, gap, gap_at_end)


def _as_curves(training: np.ndarray | None, curves: FoldCurves) -> FoldCurves | None:
    if training is None:
        return None
    if training.shape != (curves.n_epochs,):
        raise ValueError(
            f"training must be [{curves.n_epochs} epochs], as the fold curves, "
            f"got shape {training.shape}"
        )
    finite = np.isfinite(training).all()
    return FoldCurves(training[np.newaxis], curves.objective) if finite else None


def _gap(curves: FoldCurves, training: FoldCurves | None, n_epochs: int) -> float | None:
    return None if training is None else curves.loss_after(n_epochs) - training.loss_after(n_epochs)


def _kind(curves: FoldCurves, training: FoldCurves | None) -> tuple[Fit, int | None]:
    if curves.n_epochs < (N_EPOCHS_FOR_JUMPS if curves.standard_error is None else 2):
        return Fit.TOO_SHORT, None
    if _jump(curves) > UNSTABLE_SHARE * _way(curves):
        return Fit.UNSTABLE, None
    smooth, last = curves.smoothed(_window(curves)), curves.n_epochs
    best = smooth.best_n_epochs
    close = smooth.epochs_where(smooth.differences_to(best).mean <= _noise(curves, smooth, best))
    if close[-1] < last:
        if training is None:
            return Fit.OVERFITTING, close[-1] + 1
        on_training = training.smoothed(_window(curves))
        if on_training.loss_after(last) < on_training.loss_after(best):
            return Fit.OVERFITTING, close[-1] + 1
        return Fit.UNSTABLE, None
    worse = smooth.epochs_where(smooth.differences_to(last).mean > _noise(curves, smooth, last))
    before = last - math.ceil(EDGE_SHARE * last)
    return (Fit.UNDERFIT if before in worse else Fit.GOOD), None


def _window(curves: FoldCurves) -> int:
    """Return how many epochs to average: an odd number."""
    return 2 * math.floor(SMOOTHED_SHARE * curves.n_epochs / 2) + 1


def _noise(curves: FoldCurves, smooth: FoldCurves, n_epochs: int) -> np.ndarray:
    """Return the difference to the loss after `n_epochs` that is not worth a word, [n_epochs].

    Two measures of noise, the larger counts: few folds may agree by chance, and the scatter of the
    mean from epoch to epoch does not see what sets folds apart.
    """
    # The difference of two averages, of half a window where they are cut.
    scatter = _scatter(curves.losses) * math.sqrt(2 / ((_window(curves) + 1) / 2))
    error = curves.standard_error_after(curves.best_n_epochs)
    paired = smooth.differences_to(n_epochs).standard_error
    if error is None or paired is None:
        return np.full(
            curves.n_epochs, max(N_STANDARD_ERRORS * scatter, NEGLIGIBLE_OF_WAY * _way(curves))
        )
    return np.maximum(N_STANDARD_ERRORS * np.maximum(paired, scatter), NEGLIGIBLE_OF_ERROR * error)


def _jump(curves: FoldCurves) -> float:
    """Return by how much one training typically jumps between epochs: the median over folds."""
    losses = curves.objective.as_loss(curves.values)
    return math.sqrt(2) * float(np.median([_scatter(fold) for fold in losses]))


def _scatter(losses: np.ndarray) -> float:
    """Return the standard deviation of a curve's noise about its trend. losses: [n_epochs].

    From the median of second differences, which a slope does not enter, and a few jumps hardly
    (Gasser, Sroka & Jennen-Steinmetz 1986, with the median for the mean). Too short: 0.
    """
    if len(losses) < N_EPOCHS_FOR_JUMPS:
        return 0.0
    # Of noise with variance s², a second difference has variance (1 + 4 + 1) s²; 1.4826 turns the
    # median of absolute values into a normal standard deviation.
    return float(1.4826 * np.median(np.abs(np.diff(losses, n=2))) / math.sqrt(6))


def _way(curves: FoldCurves) -> float:
    """Return how far the mean goes between its best and its first or last epoch.

    At least the spread of the folds: who has learnt everything in the first epoch goes nowhere, and
    a jump is large only beside the difference that a fold makes.
    """
    ends = max(curves.loss_after(1), curves.loss_after(curves.n_epochs))
    error = curves.standard_error_after(curves.best_n_epochs) or 0.0
    spread = error * math.sqrt(curves.n_folds / curves.n_repeats)
    return max(ends - curves.loss_after(curves.best_n_epochs), spread)
