"""Small tables as aligned text or Markdown.

>>> print(text_table(["model", "rate"], [["base", "34.2 %"]]))
model  rate
base   34.2 %
"""

from __future__ import annotations

from collections.abc import Sequence


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
