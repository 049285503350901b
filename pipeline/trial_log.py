"""A trial's run in MLflow, opened beside its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline import optimization, tracking, training
    from pipeline.session import Session


class TrialLog:
    """A trial's run in MLflow, opened while the first epochs train, which take no longer.

    Its id is noted with the trial before any epoch is logged in it.
    """

    def __init__(self, proposal: optimization.Proposal, session: Session) -> None:
        self._proposal, self._session = proposal, session
        self._known = proposal.note.get("mlflow_run")
        self._opening = session.beside.submit(
            session.open_run, proposal.number, proposal.params, self._known
        )
        self._run: tracking.TrialRun | None = None
        self._lockstep: training.LockstepTraining | None = None
        self._n_epochs = 0

    def log(self, lockstep: training.LockstepTraining) -> None:
        """Log a training's epochs so far, now or when the run is open."""
        self._lockstep = lockstep
        if self._opening.done():
            self.opened()

    def opened(self) -> tracking.TrialRun:
        """Return the run when it is open, its epochs so far logged.

        Raises StoreUnavailable when it cannot be opened.
        """
        if self._run is None:
            self._run = self._opening.result()
            if self._run.run_id != self._known:
                self._proposal.write_note("mlflow_run", self._run.run_id)
        if self._lockstep is not None:
            counts = range(self._n_epochs + 1, self._lockstep.n_epochs + 1)
            self._session.log_epochs(self._run, self._lockstep, counts)
            self._n_epochs = self._lockstep.n_epochs
        return self._run
