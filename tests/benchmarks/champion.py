"""How often would a champion be replaced by trials that are no better?

    python tests/benchmarks/champion.py

Every configuration has the same true loss, and each fold of each trial scatters by itself. The best
of the trials meets the champion on the folds that it was chosen on, by each of four standards; then
two equal models meet on rows that neither has used, whose losses differ by as much as they like:
normally, or by what is seldom and large (cubes of normal numbers).
"""

import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline import unseen
from pipeline.uncertainty import difference_interval

N_SEARCHES = 4000
N_NIGHTS = 4000


def shares_moved(n_folds: int, n_trials: int, rng: np.random.Generator) -> list[float]:
    """Return the share of searches that move the champion, by each standard."""
    moved = np.zeros(4)
    for _ in range(N_SEARCHES):
        champion, trials = rng.normal(size=n_folds), rng.normal(size=(n_trials, n_folds))
        best = trials[trials.mean(axis=1).argmin()]
        gains = champion - best
        error = gains.std(ddof=1) / np.sqrt(n_folds)
        corrected = error * np.sqrt(1 + n_folds / (n_folds - 1))
        interval = difference_interval(champion, best, validation_to_training=1 / (n_folds - 1))
        assert interval is not None
        limits = (0.0, error, corrected)
        moved += [*(gains.mean() > limit for limit in limits), interval.low > 0]
    return list(moved / N_SEARCHES)


def share_moved_on_rows(n_rows: int, power: int, rng: np.random.Generator) -> float:
    """Return the share of nights on which an equal model takes the champion's place.

    power: of the normal numbers by which the two models' losses of a row differ
    """
    blocks = np.array_split(np.arange(n_rows), unseen.N_BLOCKS)
    without = [np.setdiff1d(np.arange(n_rows), block) for block in blocks]
    moved = 0
    for _ in range(N_NIGHTS):
        gains = rng.normal(size=n_rows) ** power
        values = np.array([gains.mean(), *(gains[rows].mean() for rows in without)])
        moved += unseen.difference(values, np.zeros_like(values))[1].low > 0
    return moved / N_NIGHTS


def main() -> None:
    """Print the tables."""
    rng = np.random.default_rng(0)
    print("folds  trials  any gain  one SE  corrected SE  95% interval")
    for n_folds in (5, 10):
        for n_trials in (1, 10, 30):
            any_gain, error, corrected, interval = shares_moved(n_folds, n_trials, rng)
            print(
                f"{n_folds:>5}  {n_trials:>6}  {any_gain:>8.1%}  {error:>6.1%}  "
                f"{corrected:>12.1%}  {interval:>12.1%}"
            )
    print("\nunseen rows  normal  seldom and large")
    for n_rows in (unseen.MIN_ROWS, 100, 1000):
        normal, seldom = (share_moved_on_rows(n_rows, power, rng) for power in (1, 3))
        print(f"{n_rows:>11}  {normal:>6.1%}  {seldom:>16.1%}")


if __name__ == "__main__":
    main()
