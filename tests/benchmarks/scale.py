"""Where do many workers at one database wait? Real storage and traffic, recorded curves and times.

    python tests/benchmarks/scale.py FOLDER
    python tests/benchmarks/scale.py FOLDER --workers 100 --epoch-secs 1 --json scale.json

FOLDER holds tables of curves, in the format of `replay_tables.py`; the first one is searched.
A PostgreSQL server of its own is started, on this machine, which does not wait for its disk. Each
worker has a session, connections and a cache of its own, and is a thread of one of a few processes:
what would be many machines shares the processors of this one. So what a call has of a processor is
measured beside how long it takes. The search is in its middle when it begins.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.optimization import disconnect, open_study
from tests.benchmarks.replay_tables import CurveTable, tables_in
from tests.benchmarks.scale_report import Scale, draw, in_words
from tests.benchmarks.scale_seed import store, under_way
from tests.benchmarks.scale_server import PRELOAD, Watch
from tests.benchmarks.scale_study import question_of, spec_of
from tests.benchmarks.scale_worker import Timings, Workers, asked_alone, sleep_until
from tests.postgres import Database, Postgres, running_server

CONNECTIONS_PER_WORKER = 4
PATIENCE_SECS = 60.0
N_PROCESSES = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate every number of workers and print what came of it; return 1 without a table."""
    options = parsed(arguments)
    table = next(tables_in(options.folder), None)
    if table is None:
        print(f"no table in {options.folder}", file=sys.stderr)
        return 1
    found = []
    most = max(options.workers)
    connections = f"-c max_connections={50 + CONNECTIONS_PER_WORKER * most}"
    with running_server(Postgres, PRELOAD, connections) as server:
        for n in options.workers:
            found.append(simulated(server, table, n, options))
            print(in_words(found), file=sys.stderr, flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(each) for each in found], indent=1))
    print(in_words(found))
    if options.png:
        runs = {"now": found}
        if options.before:
            plain = json.loads(options.before.read_text())
            runs = {"before": [Scale.of_plain(each) for each in plain], **runs}
        draw(runs, options.png)
    return 0


def simulated(server: Database, table: CurveTable, n: int, options: argparse.Namespace) -> Scale:
    """Return what so many workers came to."""
    database = f"workers_{n}_{time.monotonic_ns()}"
    url, n_ended = server.new_database(database), max(options.ended, n)
    server.execute("CREATE EXTENSION pg_stat_statements", database)
    with tempfile.TemporaryDirectory() as folder:
        spec = spec_of(table, n_trials=10**6)
        question = question_of(spec, Path(folder))
        study = open_study(url, question.name, spec, patience_secs=PATIENCE_SECS)
        trials, n_epochs = under_way(table, question, n_ended, n)
        store(study, trials)
        server.execute("VACUUM ANALYZE", database)
        alone = asked_alone(study, table, question, url)
        disconnect(study._storage)
        processes = min(N_PROCESSES, n)
        starts = [options.ramp_secs * place / n for place in range(n)]
        context, answers = multiprocessing.get_context("fork"), []
        for first in range(processes):
            mine = slice(first, n, processes)
            workers = Workers(
                table, url, Path(folder), 10**6, options.epoch_secs, PATIENCE_SECS,
                [n_ended + place for place in range(n)][mine], n_epochs[mine], starts[mine],
                options.ramp_secs, options.secs,
            )  # fmt: skip
            answer, theirs = context.Pipe()
            context.Process(target=workers.run, args=(theirs,)).start()
            theirs.close()
            answers.append(answer)
        for answer in answers:
            answer.recv()  # it is ready
        begin = time.monotonic()
        for answer in answers:
            answer.send(begin)
        ramp, until = begin + options.ramp_secs, begin + options.ramp_secs + options.secs
        sleep_until(ramp)
        with Watch(server, database) as watch:
            sleep_until(until)
        told: list[Timings] = [answer.recv() for answer in answers]
        for process in multiprocessing.active_children():
            process.join()
    return Scale.of(n, options.epoch_secs, table, n_ended, (ramp, until), told, watch, alone)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100], metavar="N")
    parser.add_argument("--epoch-secs", type=float, default=1.0, help="of all folds")
    parser.add_argument("--ended", type=int, default=100, metavar="TRIALS",
                        help="that have ended when it begins; at least one a worker")  # fmt: skip
    parser.add_argument("--ramp-secs", type=float, default=10.0, help="until all have begun")
    parser.add_argument("--secs", type=float, default=60.0, help="that are looked at")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it there")
    parser.add_argument("--before", type=Path, metavar="FILE", help="JSON to draw beside it")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
