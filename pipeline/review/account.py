"""What is told of a search beside its result: plain values from its stores, read only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import decision, optimization, wording
from pipeline.results import StudyResult
from pipeline.review.times import Spans
from pipeline.ways import Way

VERSION = "version."


@dataclass(frozen=True, eq=False)
class Account:
    """A search's record, and what its trials tell together.

    record: the written decision: seed, hashes, versions, engine, command
    spans: when each trial began and ended
    importances: each parameter's share of the variance of the values; empty with too few trials
    ways: the five ways of choosing epochs, on the winner's curves
    scores: of the test rows after a refit, by chosen number of epochs; empty without refits
    remarks: what to mind about the ways, in sentences
    """

    record: Mapping[str, Any]
    spans: Spans
    importances: Mapping[str, float]
    ways: Sequence[Way]
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    @classmethod
    def of(cls, result: StudyResult, study: Any, record: Mapping[str, Any]) -> Account:
        """Return the account of a search that has its answer. study: Optuna's."""
        folds = result.best.curves.folds if result.best.curves else ()
        return cls(
            record,
            optimization.spans(study),
            optimization.importances(study, result.spec, len(folds)),
            decision.ways_of(result),
        )

    def repeating(self, result: StudyResult) -> list[tuple[str, str]]:
        """Return what is needed to repeat the search: (label, text)."""
        record = self.record
        versions = {k.removeprefix(VERSION): v for k, v in record.items() if k.startswith(VERSION)}
        facts = {
            "command": record.get("command") or "pipeline.search(spec), from Python",
            "seed": record.get("seed"),
            "signature": result.signature,
            "splits": record.get("splits_hash"),
            "data": record.get("data_fingerprint"),
            "commit": record.get("git.commit"),
            "engine": (record.get("engine") or {}).get("mode"),
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "machine": record.get("host.platform"),
            "CPUs": record.get("host.cpus"),
            "decision": wording.short(result.decision_path),
            "MLflow": result.run_url,
            "MLflow's UI": result.ui_command,
        }
        return [(label, str(text)) for label, text in facts.items() if text not in (None, "")]
