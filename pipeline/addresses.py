"""Addresses of stores, as they may be shown."""

from __future__ import annotations

import re


def mask_password(text: str) -> str:
    """Return a URL, or a text with URLs in it, with every password and token as ***."""
    text = re.sub(r"://([^/\s:@]*):\S*@", r"://\1:***@", text)
    text = re.sub(r"://(?!\*)[^/\s:@]+@", "://***@", text)
    return re.sub(
        r"(?i)([?&][^=&\s]*(?:password|token|secret|key)[^=&\s]*=)[^&\s]+", r"\1***", text
    )
