"""How many epochs does each way of searching need? Replayed on learning curves of others.

    python tests/benchmarks/replay.py FOLDER
    python tests/benchmarks/replay.py FOLDER --seeds 30 --json replay.json --png replay.png
    python tests/benchmarks/replay.py FOLDER --ways "TPE, median after 1/9" --workers 1 10 100

FOLDER holds tables of curves, in the format of `replay_tables.py`. Nothing is trained: the
program's own asking, pruning, pausing and telling runs against the tables. Regret is the distance
of the best trial that was trained to its end from the best configuration, 1 being that of the
median configuration, and at most that; the budget is in full trainings. With one seed all ways
begin with the same configurations.

A way that knows its budget, since it keeps some of it back, is run for each budget by itself.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

import optuna

from tests.benchmarks.replay_report import Search, draw, in_words
from tests.benchmarks.replay_surrogate import Surrogate
from tests.benchmarks.replay_tables import MOST_EPOCHS, CurveTable, tables_in
from tests.benchmarks.replay_ways import WAYS, Curves, replay


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay every way on every table and print what came of it; return 1 without a table."""
    options = parsed(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tables: list[Curves] = list(tables_in(options.folder, options.most_epochs))
    if options.tables:
        tables = [each for each in tables if each.name in options.tables]
    if not tables:
        print(f"no table in {options.folder}", file=sys.stderr)
        return 1
    if options.surrogate:
        tables = [Surrogate(each) for each in tables if isinstance(each, CurveTable)]
    searches: list[Search] = []
    for table in tables:
        for way in options.ways:
            for n_workers in options.workers:
                searches += searched(way, table, options.seeds, options.budgets, n_workers)
                if options.json:
                    text = json.dumps([asdict(each) for each in searches])
                    options.json.write_text(text, encoding="utf-8")
        print(table.in_words, file=sys.stderr, flush=True)
    print(in_words(searches))
    if options.png:
        draw(searches, options.png)
    return 0


def searched(
    way: str, table: Curves, n_seeds: int, budgets: Sequence[int], n_workers: int = 1
) -> list[Search]:
    """Return the searches of one way on one table, for each budget or for all budgets at once."""
    budgets = sorted(budgets) if WAYS[way].strategy else [max(budgets)]
    name = way if n_workers == 1 else f"{way}, {n_workers} workers"
    found = []
    for n, seed in itertools.product(budgets, range(n_seeds)):
        done = replay(WAYS[way], table, seed, n * table.n_epochs, n_workers=n_workers)
        found.append(Search.of(name, table, seed, n, done, n_workers))
    return found


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=int, nargs="+", default=[10, 20], metavar="TRAININGS")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY",
                        help="; ".join(WAYS))  # fmt: skip
    parser.add_argument("--workers", type=int, nargs="+", default=[1], metavar="N",
                        help="that search together, each as one would; an epoch takes time then, "
                        "by a clock that nobody waits for")  # fmt: skip
    parser.add_argument("--surrogate", action="store_true",
                        help="let configurations lie anywhere in a table's space, and a random "
                        "forest say what they give")  # fmt: skip
    parser.add_argument("--most-epochs", type=int, default=MOST_EPOCHS, metavar="POINTS",
                        help="of a curve; longer ones are thinned")  # fmt: skip
    parser.add_argument("--tables", nargs="+", metavar="TABLE", help="of the folder; or all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every search there")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw regret against epochs there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
