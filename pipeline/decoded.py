"""Files → one array: decoded once, in parallel, and kept in the project's cache, a mapped file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from pipeline.errors import AnotherRunActive, BadInput, in_one_line, require
from pipeline.files import aside_of, disk_errors, unused
from pipeline.machine import n_cores
from pipeline.study_file import home_of, source_of

CACHE = Path("mlruns", "cache")
"""In a project; what lies there can be made again at any time."""

LOCK = "lock"
"""Of the cache: one process decodes, others wait for what it makes."""

N_NAMED = 5
"""Of the files that cannot be used, the first ones."""


def read_files(
    paths: Iterable[str | Path], decode: Callable[[Path], Any], *, project_of: str | Path
) -> np.ndarray:
    """Return what `decode` makes of each file, [n_files, ...], read from a mapped file.

    Decoded again where a path, a size, a time of change, or the code is another: that of the module
    that holds `decode`, and of the local ones that this imports.

    paths: relative ones begin at the project that holds the study
    decode: path -> finite numbers, of one shape and type for all files; floats are kept as float32.
        Called in threads
    project_of: a study file
    Raises BadInput that names the files which are missing or cannot be decoded, and
    StoreUnavailable when the project's disk does not take the array.
    """
    if isinstance(paths, str | Path):
        raise BadInput(f"paths must be a list of files, got {str(paths)!r} alone")
    require(callable(decode), "decode", "a function: path -> array", decode)
    study = Path(project_of).resolve()
    home = home_of(study)
    files = [home / path for path in paths]
    if not files:
        raise BadInput("there must be files to read, got none")
    function = getattr(decode, "func", decode)
    name = re.sub(r"\W", "", getattr(function, "__name__", type(function).__name__))
    kept = home / CACHE / f"{study.stem}-{name}-{_key(files, home, decode)}.npy"
    with disk_errors(kept.parent):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(kept.with_name(LOCK)):
            if not kept.exists():
                _decode_to(kept, files, decode)
    with suppress(OSError):  # when it was last used; a read-only project does not say
        os.utime(kept)
    return np.load(kept, mmap_mode="r")


def to_go(home: Path, *, keep: int, older_than_secs: float, now_secs: float) -> list[Path]:
    """Return what may go of a project's cache, the longest unused first, and what a kill left.

    Of each study file's name and function the `keep` last used arrays stay, and all that were used
    within `older_than_secs`.
    """
    limits: Any = {"keep": keep, "older_than_secs": older_than_secs, "now_secs": now_secs}
    arrays = (home / CACHE).glob("*.npy")
    going = unused(arrays, lambda path: path.name.rpartition("-")[0], **limits)
    left_by_a_kill = (home / CACHE).glob("*.tmp")
    return [*unused(left_by_a_kill, str, **{**limits, "keep": 0}), *going]


def remove(paths: Iterable[Path]) -> None:
    """Remove arrays of a cache; raise AnotherRunActive while a process is making one."""
    for path in paths:
        try:
            with FileLock(path.with_name(LOCK), timeout=0):
                path.unlink(missing_ok=True)
        except Timeout as error:
            raise AnotherRunActive("a process is decoding files") from error


def _for_each(files: Sequence[Path], do: Callable[[int], Any], what: str) -> list[Any]:
    """Return `do` of each file's number, called in threads.

    what: cannot be done with a file, for the message
    Raises BadInput, naming the files for which it raises.
    """

    def tried(number: int) -> tuple[Any, str]:
        try:
            return do(number), ""
        except Exception as error:  # of the user's own function, or a library's many kinds
            return None, in_one_line(error)

    with ThreadPoolExecutor(n_cores()) as pool:
        done = list(pool.map(tried, range(len(files))))
    bad = [f"{files[number]} ({why})" for number, (_, why) in enumerate(done) if why]
    if bad:
        more = f" and {len(bad) - N_NAMED} more" if len(bad) > N_NAMED else ""
        raise BadInput(
            f"{len(bad)} of {len(files)} file(s) cannot be {what}: {', '.join(bad[:N_NAMED])}{more}"
        )
    return [result for result, _ in done]


def _key(files: Sequence[Path], home: Path, decode: Callable[[Path], Any]) -> str:
    stats = _for_each(files, lambda number: files[number].stat(), "read")
    listed = [
        [
            str(file.relative_to(home) if home in file.parents else file),
            each.st_size,
            each.st_mtime_ns,
        ]
        for file, each in zip(files, stats, strict=True)
    ]
    text = json.dumps([source_of(decode).hash, listed])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _decode_to(kept: Path, files: Sequence[Path], decode: Callable[[Path], Any]) -> None:
    try:
        first = _checked(decode, files[0])
    except Exception:  # of the user's function: name all files for which it raises
        _for_each(files, lambda number: _checked(decode, files[number]), "decoded")
        raise
    aside = aside_of(kept)
    rows = np.lib.format.open_memmap(aside, "w+", first.dtype, (len(files), *first.shape))
    try:
        if hasattr(os, "posix_fallocate"):
            # Now: writing to a mapped file for which the disk has no room kills the process.
            with aside.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, aside.stat().st_size)

        def decode_one(number: int) -> None:
            row = _checked(decode, files[number])
            if (row.shape, row.dtype) != (first.shape, first.dtype):
                raise BadInput(
                    f"{row.dtype} of shape {row.shape}, where {files[0].name} has {first.dtype} of "
                    f"{first.shape}"
                )
            rows[number] = row

        _for_each(files, decode_one, "decoded")
        rows.flush()
        aside.replace(kept)
    finally:
        aside.unlink(missing_ok=True)


def _checked(decode: Callable[[Path], Any], file: Path) -> np.ndarray:
    row = np.asarray(decode(file))
    if row.dtype.kind not in "fiub":
        raise BadInput(f"numbers are needed, got {row.dtype}")
    if row.dtype.kind == "f":
        with np.errstate(over="ignore"):
            row = row.astype(np.float32)
        if not np.isfinite(row).all():
            raise BadInput(f"{int((~np.isfinite(row)).sum())} NaN or infinite value(s)")
    return row
