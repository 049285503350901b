"""A search without a study file: `python -m pipeline.search data.csv --target label`.

A study file is written for the data file or the folder of images, and searched like any other:
what was decided can be read in it, and edited. `asked.py` is what the command line says, `rows.py`,
`reading.py` and `images.py` the data, `target.py` and `columns.py` what they are, `saved.py` a
saved model; `inputs.py`, `defaults.py` and `builders.py` what becomes of them, and `writing.py` the
study.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeline.data_file.asked import NOT_GIVEN, Asked, is_data_file
from pipeline.errors import BadInput
from pipeline.files import disk_errors, write_whole
from pipeline.study_file import GENERATED, home_of, source_in

__all__ = ["is_data_file", "with_study_file"]


def with_study_file(
    options: argparse.Namespace, *, say: Callable[[str], None]
) -> argparse.Namespace:
    """Return the options with a study file as their study, written for a data file if it is one.

    It lies where `--write-study` says, or else under `mlruns/generated` in the project that the
    working directory belongs to, in a folder named by what it searches.
    say: is told what was decided
    Raises BadInput for options, data or a saved model that cannot be used, and StoreUnavailable
    when the study cannot be written.
    """
    asked = Asked.of(options)
    if asked is None:
        return options
    from pipeline.data_file.writing import study_for

    home = home_of(Path.cwd() / f"{asked.name}.py")
    # Its place says which project it belongs to; which folder of that is known by its content.
    path = home / GENERATED / "new" / f"{asked.name}.py"
    if options.write_study is not None:
        path = Path(options.write_study).resolve()
        if path.suffix != ".py":
            raise BadInput(f"--write-study must name a .py file, got {options.write_study!r}")
    if asked.is_images:
        say(f"reading the images in {asked.file} …")
    written = study_for(asked, options, path)
    if options.write_study is None:
        key = hashlib.sha256(source_in(written.text).encode()).hexdigest()[:12]
        path = home / GENERATED / key / path.name
    if not path.exists() or path.read_text(encoding="utf-8") != written.text:
        if options.write_study is not None and path.exists():
            raise BadInput(
                f"--write-study must not overwrite another study, got {options.write_study!r}, "
                f"which differs: search that (python -m pipeline.search {options.write_study}), or "
                "name another file"
            )
        with disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, written.text.encode())
    if options.write_study is None:
        with suppress(OSError):  # when it was last used; a read-only project does not say
            os.utime(path)
    for decision in written.decisions:
        say(decision)
    say(f"all this is the study {path}")
    return argparse.Namespace(**{**vars(options), **NOT_GIVEN, "study": str(path)})
