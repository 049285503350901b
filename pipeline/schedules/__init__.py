"""Learning-rate schedules: plain NumPy, one value per update.

    rates = Cosine().learning_rates(0.1, start_times(n_epochs, n_updates), horizon)

Time is counted in epochs, as a fraction: the update that starts at 2.5 is half-way through the
third epoch, whatever the batch size. A *horizon-free* schedule does not know how long training
will last, so a longer trial passes through every shorter one. A *horizon-dependent* one is laid
out for its horizon: stopped early it is another schedule.
"""

from pipeline.schedules.annealed import Cosine, Linear, OneCycle
from pipeline.schedules.by_epoch import ByEpoch
from pipeline.schedules.declared import (
    counts_updates,
    declared,
    functions_in,
    ignores_the_sampled,
)
from pipeline.schedules.falling import Constant, Exponential, Step
from pipeline.schedules.plateau import ReduceOnPlateau
from pipeline.schedules.types import (
    Reacting,
    Schedule,
    given,
    n_epochs_given,
    rates_at,
    replayed,
    start_times,
    updates_per_epoch,
)
from pipeline.schedules.warm_up import WarmUp

__all__ = [
    "ByEpoch",
    "Constant",
    "Cosine",
    "Exponential",
    "Linear",
    "OneCycle",
    "Reacting",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "WarmUp",
    "counts_updates",
    "declared",
    "functions_in",
    "given",
    "ignores_the_sampled",
    "n_epochs_given",
    "rates_at",
    "replayed",
    "start_times",
    "updates_per_epoch",
]
