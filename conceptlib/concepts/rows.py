"""Rows of Parquet files by number."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from conceptlib.concepts.tables import ImageTable


class Rows:
    """The rows of several files, numbered through; the row group read last stays in memory.

    rows = Rows(ImageTable(artifact).shards())
    rows[1000]["image_id"]
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self._groups: list[tuple[int, int]] = []
        self._starts: list[int] = []
        start = 0
        for file, path in enumerate(paths):
            footer = pq.read_metadata(path)
            for group in range(footer.num_row_groups):
                self._groups.append((file, group))
                self._starts.append(start)
                start += footer.row_group(group).num_rows
        self._loaded: tuple[int, list[dict[str, Any]]] = (-1, [])

    def __getitem__(self, position: int) -> dict[str, Any]:
        at = bisect.bisect_right(self._starts, position) - 1
        if self._loaded[0] != at:
            file, group = self._groups[at]
            with pq.ParquetFile(self.paths[file]) as opened:
                self._loaded = (at, opened.read_row_group(group).to_pylist())
        return self._loaded[1][position - self._starts[at]]

    def all(self) -> Iterator[dict[str, Any]]:
        """Every row, in order."""
        for path in self.paths:
            yield from ImageTable.shard_rows(path)
