"""What is said while a command runs, kept in a file that turns over before it grows without end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pipeline.errors import BadInput

MAX_BYTES = 10_000_000
"""Size at which the file is renamed to FILE.1, FILE.1 to FILE.2, and so on."""

N_OLD_FILES = 5

LOG = logging.getLogger("pipeline")
"""What this program says. It goes to the log file only: a display shows it on standard error."""
LOG.addHandler(logging.NullHandler())
LOG.setLevel(logging.INFO)
LOG.propagate = False


@contextmanager
def kept_in(path: str | None) -> Iterator[None]:
    """Write what is said, and the libraries' warnings, to a file while the block runs.

    path: of the file, whose folder is made; None keeps nothing
    Raises BadInput when it cannot be written.
    """
    if path is None:
        yield
        return
    handler = _open(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # A root logger without handlers shows warnings on standard error; with one, it no longer does.
    handlers: list[logging.Handler] = [handler]
    if not logging.root.handlers:
        handlers.append(_on_standard_error())
    LOG.addHandler(handler)
    for each in handlers:
        logging.root.addHandler(each)
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        for each in handlers:
            logging.root.removeHandler(each)
        handler.close()


def _on_standard_error() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    return handler


def _open(path: str) -> RotatingFileHandler:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(
            path, maxBytes=MAX_BYTES, backupCount=N_OLD_FILES, encoding="utf-8"
        )
    except OSError as error:
        raise BadInput(
            f"--log-file must be a file that can be written, got {path!r}: "
            f"{error.strerror or error}"
        ) from error
