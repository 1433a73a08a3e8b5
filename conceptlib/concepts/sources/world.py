"""A world as a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conceptlib.concepts.labels import Columns
from conceptlib.concepts.sources.base import Item
from conceptlib.worlds import World, source_lock
from conceptlib.worlds import world as find

WORLD_ROWS = 3000


class WorldSource:
    """Rows of a world: the first stream is train, the held-out stream test.

    Args:
        seed: of the world.
        rows: of both splits together.
        test_share: share of them that is test, rounded to whole rows.
        world: which one; None: the embedded one.
    """

    ignored = 0

    def __init__(self, seed: int, rows: int, test_share: float, world: World | None = None) -> None:
        self.total: int | None = rows
        self.seed, self.rows, self.tests, self.world = seed, rows, round(rows * test_share), world or find()
        self.labels: Columns = dict.fromkeys(self.world.labels, "class")

    def lock(self) -> dict[str, Any]:
        return source_lock(self.world.name) | {"seed": self.seed, "rows": self.rows, "test": self.tests}

    def items(self) -> Iterator[Item]:
        for split, count in (("train", self.rows - self.tests), ("test", self.tests)):
            for row in self.world.rows(self.seed, count, held_out=split == "test"):
                yield Item(f"{split}-{row.index:08d}", split, row.scene, row.caption, row.index, row.labels)
