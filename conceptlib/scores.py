"""`scores.json`, the file of an evaluation: written and read here, and nowhere else.

A list of rows `{"subject", "metric", "value", "low", "high", "n", "interval", ...}`: what was measured of whom; the
ends and the kind of its interval (null where there is none); how many images it rests on. What a metric's numbers mean
says `conceptlib.evaluators.known`.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.store.files import atomic_write
from conceptlib.store.jsonfile import MAX_DEPTH, check_depth

SCORES, GRID = "scores.json", "grid.png"
MAX_BYTES = 64 << 20
"""A larger file is not read: no evaluation's is a hundredth of this."""

Row = Mapping[str, Any]


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Write an evaluation's rows, at once."""
    atomic_write(folder / SCORES, json.dumps(list(rows), indent=2) + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """The rows of the evaluation in `folder`, each with a `subject` and a `metric` that are texts, and `value`, `low`,
    `high` that are finite numbers or None.

    Raises:
        ConceptlibError: there is no such file, it cannot be read, or it holds something else.
    """
    path = folder / SCORES
    try:
        return parse(folder)
    except ValueError as error:  # also JSONDecodeError, UnicodeDecodeError
        raise _unreadable(path, str(error)) from error
    except RecursionError as error:
        raise _unreadable(path, f"more than {MAX_DEPTH} levels") from error
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error


def parse(folder: Path) -> list[dict[str, Any]]:
    """As `read`, for who words the errors: raises ValueError, RecursionError or OSError."""
    return [_row(row) for row in _rows(folder / SCORES)]


def find(rows: Iterable[Row], subject: str, metric: str) -> Row | None:
    """The row of a subject and metric, or None."""
    return next((row for row in rows if row["subject"] == subject and row["metric"] == metric), None)


def summary(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Metric values by subject."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["subject"], {})[row["metric"]] = row["value"]
    return found


def _unreadable(path: Path, why: str) -> ConceptlibError:
    hint = f"`conceptlib verify {path.parent.name}` says more; remove it and evaluate again"
    return ConceptlibError(f"the scores of an evaluation cannot be read: {why}", where=str(path), hint=hint)


def _rows(path: Path) -> list[dict[str, Any]]:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # a pipe would never end, a device gives bytes for ever
        raise ValueError(f"{SCORES} is no file")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"{SCORES} has {status.st_size >> 20} MB, more than the {MAX_BYTES >> 20} MB there may be")
    rows = json.loads(path.read_bytes())  # not `jsonfile.loads`, which refuses NaN: here that is a value nobody knows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("it is no list of scores")
    check_depth(rows)
    return rows


def _row(row: dict[str, Any]) -> dict[str, Any]:
    for name in ("subject", "metric"):
        if not isinstance(row.get(name), str):
            raise ValueError(f"a score's {name} is no text: {_short(row.get(name))}")
    return row | {name: _number(row, name) for name in ("value", "low", "high")}


def _number(row: Row, name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"the {name} of {row['metric']} is no number: {_short(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        raise ValueError(f"the {name} of {row['metric']} is too large") from None
    return number if math.isfinite(number) else None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"
