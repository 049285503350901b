"""Files that are there whole, or not at all, and JSON that every program can read."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.errors import StoreUnavailable

OF_A_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
    errno.ESTALE,
}  # fmt: skip
"""Full, over its quota, read-only, closed to this user, broken, or away."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside and rename it: whoever reads it, and whenever, sees one of the two."""
    aside = aside_of(path)
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def aside_of(path: Path) -> Path:
    """Return where a file is written before it is renamed: a process that dies may leave it."""
    return path.with_name(f"{path.name}.tmp")


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses (it is full, or read-only) into StoreUnavailable.

    folder: where the block writes
    """
    try:
        yield
    except OSError as error:
        if error.errno not in OF_A_DISK:
            raise
        raise StoreUnavailable(
            f"what is found must be written to a disk that takes it, got {error.strerror!r} for "
            f"{error.filename or folder}; mend it and start the same command: what was written "
            "is kept"
        ) from error


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
