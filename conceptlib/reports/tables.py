"""Small tables as aligned text or Markdown, and the one way in which conceptlib writes a share with its interval.

>>> print(text_table(["model", "rate"], [["base", "34.2 %"]]))
model  rate
base   34.2 %
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def share(score: Mapping[str, Any] | None, *, interval: bool = True) -> str:
    """A share in percent with its interval: `3.1 % [1.9, 5.0]`; an em dash where nothing was measured.

    Args:
        score: a row of `scores.json` (`value`, `low`, `high` in [0, 1]), or None.
        interval: whether to write the interval.
    """
    if score is None:
        return "—"
    value = f"{100 * score['value']:.1f} %"
    return f"{value} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]" if interval else value


def points(score: Mapping[str, Any] | None) -> str:
    """A difference of two shares in percentage points, with its interval: `-32.8 points [-35.0, -30.1]`."""
    if score is None:
        return "—"
    low, value, high = (100 * score[key] for key in ("low", "value", "high"))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"


def spread(score: Mapping[str, Any] | None, digits: int = 4) -> str:
    """A value with the half-width of its interval: `0.0123 ± 0.0010`; an em dash where nothing was measured."""
    if score is None:
        return "—"
    return f"{score['value']:.{digits}f} ± {(score['high'] - score['low']) / 2:.{digits}f}"


def find(scores: Iterable[Mapping[str, Any]], subject: str, metric: str) -> Mapping[str, Any] | None:
    """The row of `scores.json` for a subject and metric, or None."""
    return next((row for row in scores if row["subject"] == subject and row["metric"] == metric), None)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell, two spaces between them; no trailing spaces, no final newline.

    Raises:
        ValueError: a row's length differs from the header's.
    """
    table = _checked(header, rows)
    widths = [max(len(line[k]) for line in table) for k in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table; pipes in cells are escaped. No final newline.

    Raises:
        ValueError: a row's length differs from the header's.
    """
    table = _checked(header, rows)
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _checked(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    table = [[str(cell) for cell in line] for line in [header, *rows]]
    for line in table[1:]:
        if len(line) != len(header):
            raise ValueError(f"a row has {len(line)} cells under {len(header)} headings: {line}")
    return table
