"""Which rule and which refit policy should be the default? Measured on rows nobody has seen.

    python tests/benchmarks/rules_on_data.py
    python tests/benchmarks/rules_on_data.py --splits 10 --data digits flchain --json rules.json

On each data set of `rules_studies.py`, many times: 30 % of the rows are set aside. On the others
the program searches as it does by default, with a constant learning rate, and every rule chooses a
number of epochs from the best trial's curves. Then a refit on all the others is scored on the rows
set aside after every epoch, five times from other seeds: what each rule's choice is worth, refitted
for as many epochs, as many updates, or proportionally more epochs, is read from that one curve.

It uses one core, for about half an hour. A data set whose package is not installed is left out, and
said to be.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline import Budget, training
from tests.benchmarks.rules_differences import Record
from tests.benchmarks.rules_studies import N_TRIALS, STUDIES, NotInstalled
from tests.benchmarks.rules_tables import pooled_tables, tables_of
from tests.benchmarks.rules_training import records


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure data set by data set and print the tables; return 1 when there was no data."""
    options = parsed(arguments)
    training.set_up(threads=1)
    start = time.monotonic()
    by_data: dict[str, list[Record]] = {}
    for name in options.data:
        spec = replace(STUDIES[name], budget=Budget(n_trials=options.trials))
        measured: list[Record] = []
        try:
            for record in records(spec, options.splits):
                measured.append(record)
                say(f"{time.monotonic() - start:6.0f} s  {summary(record)}")
        except NotInstalled as reason:
            say(f"{name} is left out: {reason}")
            continue
        by_data[name] = measured
        print(tables_of(measured), flush=True)
        if options.json:
            everything = [asdict(each) for records in by_data.values() for each in records]
            options.json.write_text(json.dumps(everything), encoding="utf-8")
    if not by_data:
        return 1
    print(pooled_tables(by_data))
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=10, help="draws of test rows, at least 2")
    parser.add_argument("--trials", type=int, default=N_TRIALS, help="of each search")
    parser.add_argument("--data", nargs="+", default=list(STUDIES), choices=STUDIES, metavar="NAME",
                        help=", ".join(STUDIES))  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every curve there")
    options = parser.parse_args(arguments)
    if options.splits < 2 or options.trials < 1:
        parser.error("--splits must be ≥ 2 and --trials ≥ 1")
    return options


def summary(record: Record) -> str:
    """Return an outer split in one line."""
    return (
        f"{record.data} {record.number}: learning rate {record.learning_rate:.3g}, horizon "
        f"{len(record.curves[0])}, test loss {record.test_loss.min():.4f} at best"
    )


def say(line: str) -> None:
    """Write a line of progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
