"""The embedded world as a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conceptlib.concepts.sources.base import Item
from conceptlib.worlds.tiny import world

WORLD_ROWS = 3000


class WorldSource:
    """Rows of `concepts.world`: the first stream is train, the held-out stream test.

    Args:
        seed: of the world.
        rows: of both splits together.
        test_share: share of them that is test, rounded to whole rows.
    """

    ignored = 0

    def __init__(self, seed: int, rows: int, test_share: float) -> None:
        self.total: int | None = rows
        self.seed, self.rows, self.tests = seed, rows, round(rows * test_share)

    def lock(self) -> dict[str, Any]:
        return {"kind": "world", "seed": self.seed, "rows": self.rows, "test": self.tests}

    def items(self) -> Iterator[Item]:
        for split, stream, count in (("train", "train", self.rows - self.tests), ("test", "held-out", self.tests)):
            for row in world.rows(self.seed, count, split=stream):
                yield Item(f"{split}-{row.index:08d}", split, row.scene, row.caption, row.index, row.labels)
