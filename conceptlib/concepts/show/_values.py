"""What a label column of a dataset holds, counted row by row."""

from __future__ import annotations

from collections import Counter
from typing import Any

from conceptlib.concepts.labels import MOST_VALUES, Kind, shown

MOST_ROWS = 12
"""Values of one column that a page lists, the most frequent ones."""


class Values:
    """The values of a column: of a class each with its count, of a number the range and the mean."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.total = self.known = self.rest = 0
        self.counts, self.sum = Counter[Any](), 0.0
        self.low, self.high = float("inf"), float("-inf")

    def add(self, value: Any) -> None:
        """One more row's."""
        self.total += 1
        if value is None:
            return
        self.known += 1
        if self.kind == "number":
            self.low, self.high, self.sum = min(self.low, value), max(self.high, value), self.sum + value
        elif self.kind == "class" and (value in self.counts or len(self.counts) < MOST_VALUES):
            self.counts[value] += 1
        else:
            self.rest += 1

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Lines of the page's section on labels."""
        told: list[tuple[str, int]] = []
        if self.kind == "number" and self.known:
            mean = round(self.sum / self.known, 4)
            told = [(f"{shown(self.low)} to {shown(self.high)}, mean {shown(mean)}", self.known)]
        ordered = sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))
        told += ordered[:MOST_ROWS]
        others, count = ordered[MOST_ROWS:], self.rest + sum(number for _, number in ordered[MOST_ROWS:])
        if count:
            more = f"{len(others)} others" if self.kind == "class" and not self.rest else "others"
            told.append((f"({more})" if self.kind == "class" else "(text)", count))
        if self.known < self.total:
            told.append(("(none)", self.total - self.known))
        share = 1 / max(self.total, 1)
        return [{"label": name, "value": v, "pictures": n, "share": round(n * share, 4)} for v, n in told]
