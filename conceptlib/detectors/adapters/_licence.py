"""Libraries whose licence asks something of those who distribute: the user is told, once for each home."""

from __future__ import annotations

import logging

from conceptlib.paths import home
from conceptlib.store.files import atomic_write

logger = logging.getLogger(__name__)


def notice(detectors: str, library: str, terms: str) -> str:
    """The sentence for a library under a copyleft licence."""
    return (
        f"the {detectors} detectors use {library}, which is licensed under {terms}: what you distribute or offer as a "
        "service together with it falls under its terms. conceptlib itself is Apache-2.0. This is said once."
    )


def tell_once(library: str, text: str) -> None:
    """Log `text` as a warning (on stderr by default), unless this home was told about this library already."""
    marker = home() / "notices" / library
    if not marker.exists():
        logger.warning(text)
        atomic_write(marker, text + "\n")
