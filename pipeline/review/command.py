"""The command that was typed, as it may be shown."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.addresses import mask_password

UNSHOWN = "--on-finish"
"""Its command may hold a token, and changes no answer."""


def typed(arguments: Sequence[str]) -> str:
    """Return `python -m pipeline.search …`; "" when the search was called from Python.

    arguments: of the process, as `sys.argv`; passwords in addresses are masked
    """
    module = Path(arguments[0])
    if (module.parent.name, module.name) != ("pipeline", "search.py"):
        return ""
    shown: list[str] = []
    after_unshown = False
    for argument in arguments[1:]:
        if not after_unshown and not argument.startswith(UNSHOWN):
            shown.append(mask_password(argument))
        after_unshown = argument == UNSHOWN
    return shlex.join(["python", "-m", "pipeline.search", *shown])
