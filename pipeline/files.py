"""Files that are there whole, or not at all, and JSON that every program can read."""

from __future__ import annotations

import errno
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
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


def unused(
    paths: Iterable[Path],
    name_of: Callable[[Path], str],
    *,
    keep: int,
    older_than_secs: float,
    now_secs: float,
) -> list[Path]:
    """Return the files that nobody needs any more, the longest unused first.

    Of each name the `keep` last used ones stay, and all that were used within `older_than_secs`.
    When a file was used is when it was changed: whoever uses one touches it.
    """
    used = {path: path.stat().st_mtime for path in paths}
    by_name = defaultdict(list)
    for path in sorted(used, key=lambda path: -used[path]):
        by_name[name_of(path)].append(path)
    going = [path for newest_first in by_name.values() for path in newest_first[keep:]]
    old = [path for path in going if now_secs - used[path] >= older_than_secs]
    return sorted(old, key=lambda path: used[path])


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
