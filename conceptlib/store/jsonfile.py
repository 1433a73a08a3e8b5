"""Read the store's small JSON files so that whatever stands in them is a value that we can work with, or one error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

MAX_DEPTH = 100
"""Levels of lists and mappings inside each other. Walks over a value are recursive and must never come to an end."""


def loads(data: bytes) -> Any:
    """The value in JSON text: finite numbers, Unicode text, at most ``MAX_DEPTH`` levels.

    Raises:
        ValueError: anything else, also what ``json`` answers with another error (too deep, NaN, half a surrogate pair,
            an integer of thousands of digits).
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("too many levels") from error
    check_depth(value, at_most=text.count("[") + text.count("{"))
    if "\\u" in text:  # the only way to half a surrogate pair: the bytes themselves were decoded strictly
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("half a surrogate pair is no text") from error
    return value


def read_json(path: Path) -> Any:
    """The value in a file. Raises ``OSError``, or ``ValueError`` as ``loads``."""
    return loads(path.read_bytes())


def check_depth(value: Any, *, at_most: int = MAX_DEPTH + 1) -> None:
    """Raise ``ValueError`` if a plain JSON value has more than ``MAX_DEPTH`` levels.

    Args:
        at_most: levels that it cannot have more of, if known: few need no walk.
    """
    if at_most <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [one for one in level if isinstance(one, (dict, list))]
        if not level:
            return
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
    raise ValueError(f"more than {MAX_DEPTH} levels")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is no finite number")
