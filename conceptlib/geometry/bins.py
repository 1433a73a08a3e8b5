"""Location bins and their tokens (Geom-Erasing, Liu et al., ECCV 2024, arXiv 2310.05873, section 3).

The image is cut into ``rows`` x ``cols`` bins; bin (m, n) lies in column m and row n and has the token ``<l{m,n}>``. A
box covers the bins m = floor(x1 / W_bin) .. floor(x2 / W_bin), n = floor(y1 / H_bin) .. floor(y2 / H_bin).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from conceptlib.errors import ConceptlibError
from conceptlib.geometry.boxes import Boxes, as_boxes, check_size, clip

Bin = tuple[int, int]
"""(m, n): column and row."""

Policy = Literal["coarsen", "corners", "error"]
POLICIES: Final[tuple[str, ...]] = get_args(Policy)

_Span = tuple[int, int, int, int]  # first and last column, first and last row that one box covers


@dataclass(frozen=True)
class Cover:
    """The bins that stand for an image's boxes: row-major, no duplicates; ``overflowed`` when they had to be fewer
    than are covered.
    """

    bins: tuple[Bin, ...]
    overflowed: bool


@dataclass(frozen=True)
class Grid:
    """``rows`` x ``cols`` bins over an image of any size. Raises ``ConceptlibError`` unless both are 1 or more."""

    rows: int
    cols: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ConceptlibError(f"a grid of {self.rows} x {self.cols} bins", hint="rows and cols must be 1 or more")

    def token(self, m: int, n: int) -> str:
        """The token of the bin in column ``m`` and row ``n``: ``<l0,0>`` is top left.

        Raises ``ConceptlibError`` outside the grid.
        """
        if not (0 <= m < self.cols and 0 <= n < self.rows):
            raise ConceptlibError(f"no bin ({m}, {n}) in a grid of {self.rows} rows and {self.cols} columns")
        return f"<l{m},{n}>"

    def tokens(self) -> list[str]:
        """All rows x cols tokens, row-major."""
        return [self.token(m, n) for n in range(self.rows) for m in range(self.cols)]

    def covered(self, boxes: ArrayLike, width: float, height: float) -> list[Bin]:
        """Every bin that a box covers, row-major, no duplicates.

        As in the paper's formula a box is closed: one that ends exactly on the line between two bins covers both. The
        right and bottom edge of the image belong to the last bin. A zero-area box covers the bin it lies in; a box
        outside the image none.

        Args:
            boxes: (N, 4) xyxy, pixels; may reach beyond the image.
            width, height: of the image, pixels.

        Raises:
            ConceptlibError: NaN, reversed corners, or an image without area.
        """
        return _row_major(one for span in self._spans(boxes, width, height) for one in _strided(span, 1))

    def cover(self, boxes: ArrayLike, width: float, height: float, budget: int, policy: Policy = "coarsen") -> Cover:
        """At most ``budget`` bins that stand for the boxes. Never a silent truncation: every box keeps its extent, or
        this raises.

        When the covered bins fit, they are the answer. Else, by ``policy``:

        * ``coarsen``: each box keeps every second (third, ...) of its columns and rows, and always its outermost ones,
          with the smallest step that fits; then as ``corners``.
        * ``corners``: each box keeps its top-left and bottom-right bin (the encoding of GeoDiffusion, arXiv
          2306.04607); if there are too many boxes even for that, those two of the box around all of them.
        * ``error``: raise.

        Args:
            boxes, width, height: as for ``covered``.
            budget: tokens that are left in the prompt.

        Raises:
            ConceptlibError: as ``covered``; an unknown policy; ``error`` and too many bins; not even two bins fit.
        """
        if policy not in POLICIES:
            raise ConceptlibError(f"unknown overflow policy {policy!r}", hint=f"one of {', '.join(POLICIES)}")
        spans = self._spans(boxes, width, height)
        whole = _row_major(one for span in spans for one in _strided(span, 1))
        if len(whole) <= budget:
            return Cover(tuple(whole), overflowed=False)
        if policy != "error":
            steps = range(2, max(self.rows, self.cols)) if policy == "coarsen" else range(0)
            for step in steps:
                coarse = _row_major(one for span in spans for one in _strided(span, step))
                if len(coarse) <= budget:
                    return Cover(tuple(coarse), overflowed=True)
            for chosen in (spans, [_around(spans)]):
                corners = _row_major(one for span in chosen for one in ((span[0], span[2]), (span[1], span[3])))
                if len(corners) <= budget:
                    return Cover(tuple(corners), overflowed=True)
        raise ConceptlibError(
            f"{len(whole)} bins are covered, but only {max(budget, 0)} location tokens fit",
            hint="use a coarser grid, a shorter prompt, or the overflow policy coarsen or corners",
        )

    def _spans(self, boxes: ArrayLike, width: float, height: float) -> list[_Span]:
        check_size(width, height)
        inside = clip(on_image(as_boxes(boxes), width, height), width, height).astype(np.float64)
        # x * cols / width, not x / (width / cols): the product is exact, so a box on a bin's edge is never rounded
        # across it.
        scaled = np.floor(
            inside * np.array([self.cols, self.rows] * 2) / np.array([width, height] * 2, dtype=np.float64)
        )
        last = np.array([self.cols - 1, self.rows - 1] * 2)
        return [(int(x1), int(x2), int(y1), int(y2)) for x1, y1, x2, y2 in np.minimum(scaled, last)]


def on_image(boxes: Boxes, width: float, height: float) -> Boxes:
    """The boxes that share area with the image, and zero-area boxes that lie in it (edges included)."""
    keep = np.ones(len(boxes), dtype=bool)
    for low, high, size in ((boxes[:, 0], boxes[:, 2], width), (boxes[:, 1], boxes[:, 3], height)):
        flat = low == high
        keep &= np.where(flat, (low >= 0) & (low <= size), (high > 0) & (low < size))
    return boxes[keep]


def _strided(span: _Span, step: int) -> Iterable[Bin]:
    """Every ``step``-th bin of a span in both directions, and its outermost ones."""
    columns = sorted({*range(span[0], span[1] + 1, step), span[1]})
    rows = sorted({*range(span[2], span[3] + 1, step), span[3]})
    return [(m, n) for n in rows for m in columns]


def _around(spans: list[_Span]) -> _Span:
    return (min(s[0] for s in spans), max(s[1] for s in spans), min(s[2] for s in spans), max(s[3] for s in spans))


def _row_major(bins: Iterable[Bin]) -> list[Bin]:
    return sorted(set(bins), key=lambda one: (one[1], one[0]))
