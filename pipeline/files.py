"""Files that are there whole, or not at all, and JSON that every program can read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside and rename it: whoever reads it, and whenever, sees one of the two."""
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_bytes(content)
    aside.replace(path)


def json_text(values: Any, *, indent: int | None = None) -> str:
    """Return plain values as JSON; NaN and infinity, which it does not know, become null."""
    return json.dumps(
        _finite(values), indent=indent, default=str, allow_nan=False, ensure_ascii=False
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
