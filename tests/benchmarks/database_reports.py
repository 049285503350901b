"""What an epoch's report costs a PostgreSQL server: python tests/benchmarks/database_reports.py.

Nothing is trained: twelve trials of 50 epochs are asked for, reported and told on a server of its
own, on this machine, that does not wait for its disk. Counted are the statements and transactions
of the last one, asked of the default pruner each epoch; once with every report written and the
others read as it comes, once as the search does it.
"""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
from optuna.distributions import FloatDistribution
from sqlalchemy import event

from pipeline.curves import FoldCurves
from pipeline.optimization import open_study, reports
from pipeline.optimization.trials import new_proposal
from pipeline.results import Outcome, TrialResult
from pipeline.spec import Budget, StudySpec
from tests.postgres import running_server

N_TRIALS, N_EPOCHS = 12, 50


def spec() -> StudySpec:
    return StudySpec(
        name="by_hand",
        load_data=lambda: None,
        build_model=lambda params: params,
        space={"learning_rate": FloatDistribution(1e-4, 1e-1, log=True), "max_epochs": N_EPOCHS},
        budget=Budget(n_trials=N_TRIALS),
        strategy=None,
    )


def cost(url: str) -> tuple[Counter[str], float]:
    """Return statements by kind and milliseconds of the last trial's reports, by epoch."""
    study_spec, random = spec(), np.random.default_rng(0)
    study, counts = open_study(url, "study", study_spec), Counter[str]()
    engine = study._storage._backend.engine  # type: ignore[attr-defined]

    def seen(connection: object, cursor: object, statement: str, *more: object) -> None:
        counts[statement.split()[0]] += 1

    event.listen(engine, "before_cursor_execute", seen)
    event.listen(engine, "commit", lambda connection: counts.update(["COMMIT"]))
    for _ in range(N_TRIALS):
        proposal = new_proposal(study, study_spec)
        means = [1 / n + 0.1 * random.random() for n in range(1, N_EPOCHS + 1)]
        counts.clear()
        start = time.perf_counter()
        for n_epochs, mean in enumerate(means, start=1):
            proposal.report(n_epochs, mean, horizon_free=True)
        proposal._reports.flush()  # as its end does
        secs = time.perf_counter() - start
        found = counts.copy()
        curves = FoldCurves(np.array([means, means]), study_spec.objective)
        proposal.tell(
            TrialResult(
                number=proposal.number, params=proposal.params, outcome=Outcome.COMPLETED,
                curves=curves, seconds=secs, n_updates=1,
            )
        )  # fmt: skip
    return found, 1000 * secs / N_EPOCHS


def main() -> None:
    as_searched = reports.INTERVAL_SECS
    with running_server() as server:
        for name, interval in (("each", 0.0), ("searched", as_searched)):
            reports.INTERVAL_SECS = interval
            counts, milliseconds = cost(server.new_database(name))
            each = ", ".join(f"{n / N_EPOCHS:.2f} {kind}" for kind, n in sorted(counts.items()))
            print(f"every {interval:g} s: {milliseconds:.2f} ms and {each} an epoch")


if __name__ == "__main__":
    main()
