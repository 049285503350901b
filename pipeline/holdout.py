"""How often rows that were set aside have been looked at: every look makes them less of a test."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from pipeline.question import Question


def note_use(question: Question, what: str, *, n_models: int = 1) -> int:
    """Note that `n_models` models were scored on the study's test rows; return the models so far.

    Counted over all studies of the project that set the same rows aside.
    """
    path = _path(question)
    path.parent.mkdir(parents=True, exist_ok=True)
    use = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "study": question.name,
        "what": what,
        "n_models": n_models,
    }
    with path.open("a", encoding="utf-8") as file:  # one short line at once: others may append
        file.write(json.dumps(use) + "\n")
    return n_uses(question)


def n_uses(question: Question) -> int:
    """Return how many models were scored on the study's test rows so far."""
    path = _path(question)
    if not path.exists():
        return 0
    lines = path.read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["n_models"] for line in lines)


def _path(question: Question) -> Path:
    assert question.test is not None
    name = f"{question.test.fingerprint[:12]}.jsonl"
    return question.home / "mlruns" / "studies" / "test_rows" / name
