"""Blocks of a build as work for other machines: what a worker is told, and what it does with it.

A worker is told the paths, scenes and captions of a block's items. Encoded bytes (of archives, of the Hub, from
Python) go through a spool file beside the block's parts, so that memory and Ray's object store hold none of them. It
does all that a row needs, in the order of a build in one process: rows of an earlier build, captions, drawing, writing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from conceptlib.concepts.builders import Job, Outcome
from conceptlib.concepts.reuse import Earlier
from conceptlib.concepts.shards import Block, Labelled, Shards
from conceptlib.concepts.sources import Item
from conceptlib.concepts.sources.base import Slice
from conceptlib.store import Artifact


@dataclass(frozen=True)
class BlockTask:
    """The missing items of a block.

    Args:
        split, number: the block. first: the place in it of the first item.
        items: without their bytes. sizes: the bytes of each in `spool`, one after the other; None: nothing is spooled.
        spool: where they are.
    """

    split: str
    number: int
    first: int
    items: tuple[Item, ...]
    sizes: tuple[int | None, ...]
    spool: Path

    @property
    def name(self) -> str:
        return f"{self.split} block {self.number} ({self.items[0].key} to {self.items[-1].key})"

    def rows(self) -> Iterator[Item]:
        """The items as the source gave them."""
        with contextlib.ExitStack() as stack:
            file: IO[bytes] | None = None
            for item, size in zip(self.items, self.sizes, strict=True):
                if size is None:
                    yield item
                    continue
                file = file or stack.enter_context(self.spool.open("rb"))
                yield replace(item, data=file.read(size))


@dataclass(frozen=True)
class BlockDone:
    """The records of all of the block's shards, and how many rows an earlier build had."""

    records: list[dict[str, Any]]
    reused: int


def block_tasks(shards: Shards, items: Iterable[Item]) -> Iterator[BlockTask]:
    """What is missing, block by block, each as soon as the source has given all of it."""
    for spool in shards.folder.glob("*.spool"):
        spool.unlink()  # of a run that was stopped
    begun: dict[str, _Gathering] = {}
    try:
        for split, number, offset, item in shards.blocks(items):
            if item is None:
                yield begun.pop(split).task()
                continue
            if split not in begun:
                begun[split] = _Gathering(split, number, offset, shards.folder / f"{split}-{number:05d}.spool")
            begun[split].add(item)
    finally:
        for one in begun.values():
            one.close()


@dataclass
class BlockWork:
    """Draws and writes blocks. Can be pickled; what it opens (an earlier build, a captioner) it opens once.

    Args:
        folder, shard_rows, exact, labels: of the shards.
        draw, caption: of the job, see `Job`; `draw` records its inputs where rows may be used again.
        earlier: the folder of the build whose rows are used again.
    """

    folder: Path
    shard_rows: int
    exact: bool
    draw: Callable[[Item], Outcome]
    caption: Any = None
    earlier: Path | None = None
    labels: Labelled = field(default_factory=Labelled)
    _known: Earlier | None = field(default=None, repr=False)

    @classmethod
    def of(cls, job: Job, shards: Shards, draw: Callable[[Item], Outcome], earlier: Earlier | None) -> BlockWork:
        path = earlier.artifact.path if earlier else None
        return cls(shards.folder, shards.shard_rows, shards.exact, draw, job.caption, path, shards.labels)

    def __call__(self, task: BlockTask) -> BlockDone:
        if self.earlier is not None and self._known is None:
            self._known = Earlier(Artifact.open(self.earlier), self.exact)
        block = Block(self.folder, task.split, task.number, self.shard_rows, self.exact, self.labels)
        ready = block.done - task.first  # shards that a worker finished before it died
        rows: Iterator[Any] = (item for number, item in enumerate(task.rows()) if number >= ready)
        before = self._known.count if self._known else 0
        if self._known is not None:
            rows = self._known.rows(rows)
        if self.caption is not None:
            rows = self.caption(rows)
        try:
            for row in rows:
                block.add(row if isinstance(row, Outcome) else self.draw(row))
            block.close()
        except BaseException:
            block.abandon()
            raise
        return BlockDone(block.records, self._known.count - before if self._known else 0)


class _Gathering:
    """A block whose items come in."""

    def __init__(self, split: str, number: int, first: int, spool: Path) -> None:
        self.split, self.number, self.first, self.spool = split, number, first, spool
        self._items: list[Item] = []
        self._sizes: list[int | None] = []
        self._file: IO[bytes] | None = None

    def add(self, item: Item) -> None:
        size = None
        if isinstance(item.data, (bytes, Slice)):
            if self._file is None:
                self._file = self.spool.open("wb")
            size = self._file.write(item.data if isinstance(item.data, bytes) else item.data.read())
            item = replace(item, data=b"")
        elif isinstance(item.data, Path):
            item = replace(item, data=item.data.absolute())
        self._items.append(item)
        self._sizes.append(size)

    def task(self) -> BlockTask:
        self.close()
        return BlockTask(self.split, self.number, self.first, tuple(self._items), tuple(self._sizes), self.spool)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
