"""Addresses of stores, as they may be shown."""

from __future__ import annotations

import os
import re


def tracking_uri_of(given: str | None) -> str | None:
    """Return the tracking URI that was given, or else MLflow's variable's; None for the default."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or None


def storage_of(given: str | None) -> str | None:
    """Return Optuna's storage that was given, or else its variable's; None for the default."""
    return given or os.environ.get("OPTUNA_STORAGE") or None


def mask_password(text: str) -> str:
    """Return a URL, or a text with URLs in it, with every password and token as ***."""
    text = re.sub(r"://([^/\s:@]*):\S*@", r"://\1:***@", text)
    text = re.sub(r"://(?!\*)[^/\s:@]+@", "://***@", text)
    return re.sub(
        r"(?i)([?&][^=&\s]*(?:password|token|secret|key|credential|signature)[^=&\s]*=)[^&\s]+",
        r"\1***",
        text,
    )
