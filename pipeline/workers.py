"""Several workers under one supervisor: started, watched, replaced when they die, stopped with it.

Each joins the study (`worker.py`). The supervisor holds the study's lock and its run, trains
nothing itself until they have ended, and shows what the storage says of them. What one that died
was at, another goes on with.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pipeline import training
from pipeline.asking import is_over
from pipeline.child import children
from pipeline.crew import Crew, End, Worker
from pipeline.errors import ExitCode, Interrupted, StoreUnavailable, StudyFailed
from pipeline.machine import ceiling_mb
from pipeline.recovery import complete_runs
from pipeline.room import devices_mb
from pipeline.session import Session
from pipeline.watch import Watch
from pipeline.work import raise_after_failures

POLL_SECS = 0.2
"""Between two looks at what the workers are at."""

MAX_DEATHS_EACH = 2
"""Deaths per worker without a trial that came to a value: more would follow, for ever."""

PLACE_SECS = 10.0
"""Within which workers have a place, where there is one: then it is said how many wait."""


def ceiling_alone_mb(crew: Crew | None) -> float | None:
    """Return how large this process may grow that trains before its crew of one does.

    None where nobody can take over: what a process has had of a GPU it keeps until its end.
    """
    return None if crew is None or training.GPUS else ceiling_mb(crew.n_workers)


def supervise(crew: Crew, session: Session, because: str = "") -> None:
    """Let a crew train trials until the budget is spent.

    because: why it does and not this process, to be said before its number
    Raises Interrupted after a signal, when all workers have stopped; StudyFailed, BadInput and
    StoreUnavailable when a worker ended with that, or workers go on dying.
    """
    watch = Watch(session)
    session.count()
    if is_over(session) or session.must_stop():
        return
    try:
        with _started(crew, session, because) as workers:
            found_over = _attend(workers, watch, session)
    finally:
        with suppress(StoreUnavailable):  # said when the run ends
            session.run.writer.adopt()
            complete_runs(session)
    session.count()
    session.stop.raise_if_asked()
    if not found_over and not is_over(session):
        raise Interrupted("the workers were asked to stop; the same command continues")


def _attend(workers: Sequence[Worker], watch: Watch, session: Session) -> bool:
    """Tell what the workers do, and replace those that die, until all have ended.

    Returns whether one of them found that there is nothing more to do, or to spend.
    """
    n_most, n_deaths, asked, found_over = watch.look(), 0, False, False
    waiting = _Waiting(workers, session)
    while any(worker.is_at_work for worker in workers):
        time.sleep(POLL_SECS)
        if session.stop and not asked:
            asked = True
            for worker in workers:
                worker.ask_to_stop()
        if (n_now := watch.look()) > n_most:
            n_most, n_deaths = n_now, 0
        raise_after_failures(session.finished.all(), watch.before, session.spec.budget)
        for worker in workers:
            end = worker.ended()
            if end is None or end.exit_code == ExitCode.INTERRUPTED:
                continue
            if end.exit_code is None:
                n_deaths += 1
                _raise_after_deaths(n_deaths, workers, worker, end)
                if asked:
                    worker.end()
                else:
                    session.display.say(
                        f"worker {worker.name} was ended by {end.died_of}; another takes its place"
                    )
                    worker.start()
            elif end.exit_code != ExitCode.SUCCESS:
                raise end.error(worker)
            elif end.ceiling_reached and not end.budget_over:
                if not asked and not is_over(session):
                    session.display.say(f"worker {worker.name} has grown too large: renewed")
                    worker.start()
            else:
                found_over = True
                session.spending.ended_by = session.spending.ended_by or end.budget_over
        waiting.look(found_over=found_over)
    watch.look()
    return found_over


def _raise_after_deaths(n: int, workers: Sequence[Worker], worker: Worker, end: End) -> None:
    """Raise StudyFailed when so many workers have died since a trial came to its end."""
    if n > MAX_DEATHS_EACH * len(workers):
        raise StudyFailed(
            f"{n} workers died and no trial came to its end meanwhile, the last one by "
            f"{end.died_of}: is the memory enough for {len(workers)}? What it said is in "
            f"{worker.log}"
        )


class _Waiting:
    """Workers for which there is no place: says how many, and sends them home at the end."""

    def __init__(self, workers: Sequence[Worker], session: Session) -> None:
        self._workers, self._say = workers, session.display.say
        self._since, self._n_said = time.monotonic(), 0

    def look(self, *, found_over: bool) -> None:
        """See how many wait.

        found_over: whether there is nothing more to do for them
        """
        waiting = [worker for worker in self._workers if worker.is_waiting]
        if found_over:
            for worker in waiting:
                worker.end()
            return
        if not waiting:
            self._since = time.monotonic()
        n = len(waiting) if time.monotonic() > self._since + PLACE_SECS else 0
        if n > self._n_said or (n == 0 and self._n_said):
            wait = f"{n} of them wait" if n else "none of them waits any more"
            self._say(f"{len(self._workers)} worker(s): {wait} for a place in Ray's cluster")
            self._n_said = n


@contextmanager
def _started(crew: Crew, session: Session, because: str) -> Iterator[Sequence[Worker]]:
    """Start the workers; none outlives the block."""
    logs = session.question.folder / "workers"
    logs.mkdir(exist_ok=True)
    with ExitStack() as stack:
        workers = _hired(crew, session, logs, stack)
        workers_in_words = crew.in_words(session.question.threads_for(crew.share.threads))
        session.display.say(f"{because}{workers_in_words}; their logs are in {logs}")
        try:
            for worker in workers:
                worker.start()
            yield workers
        finally:
            for worker in workers:
                worker.ask_to_stop()
            for worker in workers:
                worker.end()


def _hired(crew: Crew, session: Session, logs: Path, stack: ExitStack) -> Sequence[Worker]:
    """Return the workers, none of which is started; the stack ends what they need."""
    deadline, arguments = session.spending.deadline, list(crew.arguments)
    arguments += ["--question", session.question.name]
    if crew.placement is None:
        arguments += [] if deadline is None else ["--until", str(deadline)]
        mb = devices_mb(session.spec, crew.n_workers)
        return children(mb, len(training.GPUS), arguments, crew.folder, logs)
    # Loaded where it is used: a search on one machine needs no Ray.
    from pipeline.on_ray.connection import connected
    from pipeline.on_ray.handle import ray_workers

    address, n_gpus = crew.placement.address, len(training.GPUS)
    stack.enter_context(connected(address, log=logs / "ray.log", n_gpus=n_gpus))
    return ray_workers(crew.placement, arguments, crew.folder, logs, deadline)
