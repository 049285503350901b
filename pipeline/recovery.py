"""What a killed process left behind, put right before the search goes on."""

from __future__ import annotations

from pipeline import optimization
from pipeline.results import trial_name
from pipeline.session import Session


def complete_runs(session: Session) -> None:
    """Write to MLflow what a killed process no longer could, and say how many runs that were.

    Optuna knows of a trial's end at once, MLflow a moment later: the last epochs of such a trial,
    its summary and its status are written now. A process that is alive may be writing the same:
    the times are kept, so MLflow takes the two for one. A run that Optuna does not know of was
    only just created.
    """
    run, n_completed = session.run, 0
    run.let_go()
    known = optimization.run_ids(session.study)
    unended = run.unended(known)
    for trial in optimization.finished(session.study, session.spec):
        name = trial_name(trial.number)
        session.snapshots.drop(name)
        run_id = optimization.run_id_of(session.study, trial.number)
        if run_id not in unended:
            continue
        session.end_run(trial)
        n_completed += 1
    run.end_all_but(optimization.run_ids(session.study))  # others have begun some meanwhile
    if n_completed:
        session.display.say(f"{n_completed} run(s) of a killed process completed in MLflow")
