"""Where do many workers at one database wait? Real storage and traffic, recorded curves and times.

    python tests/benchmarks/scale.py FOLDER
    python tests/benchmarks/scale.py FOLDER --workers 1000 --epoch-secs 10 --json scale.json
    python tests/benchmarks/scale.py FOLDER --workers 10 30 100 --real-time

FOLDER holds tables of curves, in the format of `replay_tables.py`; the first one is searched.
A PostgreSQL server of its own is started, on this machine, which does not wait for its disk. Each
worker has a session and a cache of its own. The search is in its middle when it begins.

Workers go by a clock that nobody waits for: one of them works at a time, really, and is charged
with the time that it and the server had on a processor, and with a round trip to the server for
each statement. So few cores play any number of workers, other work on the machine does not count,
and what is left out is how sessions get into each other's way inside the server, and its disk.

With `--real-time` each worker is a thread of one of a few processes, which sleeps in place of
training: that is what the clock is held against, as far as the machine's cores go.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.optimization import disconnect, open_study
from tests.benchmarks.replay_report import Search
from tests.benchmarks.replay_tables import CurveTable, tables_in
from tests.benchmarks.scale_clock import RealClock
from tests.benchmarks.scale_report import Scale, draw, in_words
from tests.benchmarks.scale_seed import store, under_way
from tests.benchmarks.scale_server import PRELOAD, Watch
from tests.benchmarks.scale_study import question_of, spec_of
from tests.benchmarks.scale_virtual import Virtual
from tests.benchmarks.scale_worker import Timings, Workers
from tests.postgres import Database, Postgres, running_server

CONNECTIONS_PER_WORKER = 4
N_PROCESSES = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate every number of workers and print what came of it; return 1 without a table."""
    options = parsed(arguments)
    table = next(tables_in(options.folder), None)
    if table is None:
        print(f"no table in {options.folder}", file=sys.stderr)
        return 1
    found = [Scale.of_plain(each) for path in options.also for each in json.loads(path.read_text())]
    connections = "-c max_connections=20"
    if options.real_time:
        connections = (
            f"-c max_connections={50 + CONNECTIONS_PER_WORKER * max(options.workers, default=0)}"
        )
    with running_server(Postgres, PRELOAD, connections) as server:
        for epoch_secs, n in itertools.product(options.epoch_secs, options.workers):
            found.append(simulated(server, table, n, epoch_secs, options))
            print(in_words(found), file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(each) for each in found], indent=1))
    print(in_words(found))
    if options.png:
        searches = [
            Search(**each) for path in options.quality for each in json.loads(path.read_text())
        ]
        draw(found, searches, options.png)
    return 0


def simulated(
    server: Database, table: CurveTable, n: int, epoch_secs: float, options: argparse.Namespace
) -> Scale:
    """Return what so many workers came to."""
    database = f"workers_{n}_{time.monotonic_ns()}"
    url, n_ended = server.new_database(database), max(options.ended, n)
    server.execute("CREATE EXTENSION pg_stat_statements", database)
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_of(table)
        question = question_of(spec, Path(folder))
        study = open_study(url, question.name, spec)
        trials, n_epochs = under_way(table, question, n_ended, n)
        store(study, trials)
        disconnect(study._storage)
        server.execute("VACUUM ANALYZE", database)
        workers = Workers(
            table=table,
            url=url,
            home=Path(folder),
            epoch_secs=epoch_secs,
            numbers=range(n_ended, n_ended + n),
            n_epochs=n_epochs,
            starts=[options.start_secs * place / n for place in range(n)],
            ramp_secs=options.ramp_secs,
            secs=options.secs,
        )
        played = in_real_time if options.real_time else by_the_clock
        window, told, watch = played(workers, server, database, options)
    round_trip_ms = None if options.real_time else options.round_trip_ms
    return Scale.of(n, epoch_secs, round_trip_ms, table, n_ended, window, told, watch)


Played = tuple[tuple[float, float], list[Timings], Watch]
"""When it was looked at, what the workers did, and the server."""


def by_the_clock(
    workers: Workers, server: Database, database: str, options: argparse.Namespace
) -> Played:
    """Let all workers be played by one process."""
    players = Virtual(workers, options.server_cores, options.round_trip_ms / 1000)
    (answer,) = started([players])
    answer.recv()  # all have begun
    with Watch(server, database) as watch:
        answer.send(None)
        told = [answer.recv()]
    return (workers.ramp_secs, workers.ramp_secs + workers.secs), told, watch


def in_real_time(
    workers: Workers, server: Database, database: str, options: argparse.Namespace
) -> Played:
    """Let the workers be threads of a few processes."""
    answers = started([workers.part(first, N_PROCESSES) for first in range(N_PROCESSES)])
    for answer in answers:
        answer.recv()  # it is ready
    clock = RealClock()
    begin = clock.now()
    for answer in answers:
        answer.send(begin)
    ramp = begin + workers.ramp_secs
    clock.sleep(ramp - clock.now())
    with Watch(server, database) as watch:
        told: list[Timings] = [answer.recv() for answer in answers]
    return (ramp, ramp + workers.secs), told, watch


def started(parts: Sequence[Workers | Virtual]) -> list[Connection]:
    """Return the ends of the pipes to processes that do these parts."""
    context, answers = multiprocessing.get_context("fork"), []
    for part in parts:
        answer, theirs = context.Pipe()
        context.Process(target=part.run, args=(theirs,), daemon=True).start()
        theirs.close()
        answers.append(answer)
    return answers


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 10, 100, 1000], metavar="N")
    parser.add_argument("--epoch-secs", type=float, nargs="+", default=[1.0, 10.0], metavar="SECS",
                        help="of all folds")  # fmt: skip
    parser.add_argument("--round-trip-ms", type=float, default=0.5,
                        help="to the server and back")  # fmt: skip
    parser.add_argument("--server-cores", type=int, default=8, metavar="N")
    parser.add_argument("--real-time", action="store_true",
                        help="by this machine's clock, its cores and its connections")  # fmt: skip
    parser.add_argument("--ended", type=int, default=100, metavar="TRIALS",
                        help="that have ended when it begins; at least one a worker")  # fmt: skip
    parser.add_argument("--start-secs", type=float, default=10.0, help="until all have begun")
    parser.add_argument("--ramp-secs", type=float, default=60.0, help="until they are looked at")
    parser.add_argument("--secs", type=float, default=30.0, help="that are looked at")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it there")
    parser.add_argument("--also", type=Path, nargs="+", default=[], metavar="FILE",
                        help="JSON of other runs, to print and draw with this one")  # fmt: skip
    parser.add_argument("--quality", type=Path, nargs="+", default=[], metavar="FILE",
                        help="JSON of `replay.py --workers`, to draw beside it")  # fmt: skip
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
