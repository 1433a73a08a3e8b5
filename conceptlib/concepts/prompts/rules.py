"""What a row of I2P may hold, and the report of everything that breaks a rule.

A report never quotes text of a row: in a file whose commas went astray, a prompt may stand in any column.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from conceptlib.concepts.prompts.columns import CATEGORIES, COLUMNS, Type, category_of
from conceptlib.concepts.prompts.redact import redacted
from conceptlib.errors import ConceptlibError, nearest

RANGES: dict[str, tuple[float, float]] = {
    "hard": (0, 1),
    "inappropriate_percentage": (0, 100),
    "nudity_percentage": (0, 100),
    "q16_percentage": (0, 100),
    "sd_safety_percentage": (0, 100),
    "prompt_toxicity": (0, 1),
    "sd_seed": (0, 2**32 - 1),
    "sd_guidance_scale": (0, math.inf),
    "sd_image_width": (1, math.inf),
    "sd_image_height": (1, math.inf),
}
"""Both ends belong to it."""

HARD = 50.0
"""`hard` is 1 exactly where `inappropriate_percentage` is at least this."""

_SHOWN = 10  # violations in a message; the file has them all
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_NUMERIC = re.compile(r"[0-9.,eE+-]{1,24}|[+-]?(nan|inf)", re.IGNORECASE)  # no words: may be shown
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Violation:
    """One broken rule.

    Args:
        row: counted from 0, as `case_number` is; None for the file as a whole.
        place: where that is in the file, such as "line 7".
        column: its Hub name; "" for the row as a whole.
        problem: in words, without text of the row.
    """

    row: int | None
    place: str
    column: str
    problem: str

    def __str__(self) -> str:
        row = "" if self.row is None else f"row {self.row}"
        where = f"{row} ({self.place})" if row and self.place else row or self.place
        return ": ".join(part for part in (where, self.column, self.problem) if part)


def check_row(values: Mapping[str, Any], *, text: bool) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """A row in its types, and (column, problem) for each rule it breaks.

    Args:
        values: by Hub name; a column that is not there reads as missing.
        text: whether all values are text, as in a CSV file.

    Returns:
        The row with the 14 columns in order; columns with a problem may be None.
    """
    row: dict[str, Any] = {}
    problems: list[tuple[str, str]] = []
    for column, kind in COLUMNS.items():
        value = values.get(column)
        # CSV knows no null, and readers of CSV make null of an empty prompt: the published dataset has one.
        if column == "prompt" and value is None:
            value = ""
        try:
            row[column] = _typed(column, kind, value, text)
        except ValueError as error:
            row[column] = None
            problems.append((column, str(error)))
    problems += _ranges(row)
    problems += [("categories", problem) for problem in _categories(row["categories"] or "")]
    hard, share = row["hard"], row["inappropriate_percentage"]
    if hard in (0, 1) and share is not None and hard != (share >= HARD):
        problems.append(("hard", f"is {hard}, but inappropriate_percentage is {share:g}: 1 exactly from {HARD:g} on"))
    return row, problems


def labels_of(categories: str) -> list[str]:
    """The categories of a row: `"violence, self-harm"` has two."""
    return [label.strip() for label in categories.split(",")]


def _typed(column: str, kind: Type, value: Any, text: bool) -> Any:
    """The value in its column's type. Raises ValueError saying what is wrong with it."""
    if value is None or (value == "" and column != "prompt"):
        raise ValueError("is missing")
    if kind == "string":
        if not isinstance(value, str):
            raise ValueError(f"is a {type(value).__name__}, not text")
        return value
    if text:
        pattern, kind_name = (_WHOLE, "whole number") if kind == "int64" else (_NUMBER, "number")
        if not pattern.fullmatch(value):
            shown = value if _NUMERIC.fullmatch(value) else redacted(value)
            raise ValueError(f"is no {kind_name}: {shown}")
        value = int(value) if kind == "int64" else float(value)
    if isinstance(value, bool) or not isinstance(value, int if kind == "int64" else int | float):
        raise ValueError(f"is a {type(value).__name__}, not {kind}")
    if kind == "float64":
        value = float(value)
        if not math.isfinite(value):
            raise ValueError("is not finite")
    elif value not in _INT64:
        raise ValueError("does not fit into 64 bits")
    return value


def _ranges(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for column, (low, high) in RANGES.items():
        value = row[column]
        if value is None or low <= value <= high:
            continue
        if column == "sd_seed":
            yield column, f"{value} is not a seed: 0 or more, below 2^32"
        elif high == math.inf:
            yield column, f"{value} is below {low:g}"
        else:
            yield column, f"{value} is not {'0 or 1' if column == 'hard' else f'from {low:g} to {high:g}'}"


def _categories(text: str) -> Iterator[str]:
    if not text:
        return  # told as missing
    labels = labels_of(text)
    for label in labels:
        if not label:
            yield "has an empty category between commas"
        elif label not in CATEGORIES:
            meant = category_of(label) or next(iter(nearest(label.lower(), CATEGORIES)), None)
            hint = f"did you mean {meant!r}?" if meant else f"they are {', '.join(CATEGORIES)}"
            yield f"{redacted(label)} is no category; {hint}"
    for label in CATEGORIES:
        if labels.count(label) > 1:
            yield f"names {label!r} twice"


class Report:
    """Collects violations: the first few for the message, all of them as JSON lines in a file, none in memory.

    Args:
        path: of the file; made at the first violation, and removed first if it is there.
        source: what is checked, as the user knows it.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source
        self.count = 0
        self._first: list[Violation] = []
        self._rows = 0
        self._last: int | None = None
        path.unlink(missing_ok=True)

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.count:
            self._file.close()

    def add(self, violation: Violation) -> None:
        if not self.count:
            self._file = self.path.open("w", encoding="utf-8")
        self.count += 1
        self._rows += violation.row is not None and violation.row != self._last
        self._last = violation.row if violation.row is not None else self._last
        if len(self._first) < _SHOWN:
            self._first.append(violation)
        self._file.write(json.dumps(asdict(violation), ensure_ascii=False) + "\n")

    def error(self) -> ConceptlibError:
        """All of it in one message; the file is complete once the block has ended."""
        more = self.count - len(self._first)
        lines = [f"  {violation}" for violation in self._first] + ([f"  and {more} more"] if more else [])
        rows = f" in {self._rows} rows (counted from 0)" if self._rows else ""
        times = "once" if self.count == 1 else f"{self.count} times"
        what = f"the rules of I2P are broken {times}{rows}; nothing was built:"
        return ConceptlibError(
            "\n".join([what, *lines]), where=self.source, hint=f"correct the file; the whole list is in {self.path}"
        )
