"""Prompts of unsafe datasets are shown redacted unless somebody asks for them."""

from __future__ import annotations

_BLOCKS = "█" * 8
_LONG = 12  # characters: of a shorter text even the first two say much


def redacted(text: str) -> str:
    """`text` so that it can be told from others and not read: `we████████ (201 characters)`."""
    if not text:
        return "(empty)"
    plain = " ".join(text.split())
    return f"{plain[:2] if len(plain) >= _LONG else ''}{_BLOCKS} ({len(text)} characters)"
