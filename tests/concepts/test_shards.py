"""The shards of a build: where they end is a rule of the items alone, whoever writes them and whatever stops him."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptlib.concepts import shards as module
from conceptlib.concepts.blocks import BlockTask, BlockWork, block_tasks
from conceptlib.concepts.builders import Outcome
from conceptlib.concepts.shards import Shards
from conceptlib.concepts.sources import Item
from conceptlib.concepts.sources.base import Slice
from conceptlib.concepts.tables import ImageTable, image_row

LIMIT = 100  # bytes

sizes = st.one_of(st.just(0), st.integers(1, 40), st.integers(90, 250))  # 0: rejected
items_of = st.lists(st.tuples(st.sampled_from(["train", "test"]), sizes), min_size=1, max_size=18).map(
    lambda rows: [Item(f"row-{k}", split, b"x" * size) for k, (split, size) in enumerate(rows)]
)


def draw(item: Item) -> Outcome:
    if not item.data:
        return Outcome(item.key, item.split, None, None, ({"reason": "tiny", "detail": ""},))
    assert isinstance(item.data, bytes)
    row = image_row(item.key, item.data, caption=item.caption, size=(1, 1))
    return Outcome(item.key, item.split, row, None, machine_caption=item.machine_caption)


def by_the_rule(items: list[Item], rows: int) -> list[list[str]]:
    """Keys of each shard, train first: blocks of `rows` items, each cut after the picture that reaches the limit."""
    found = []
    for split in ("train", "test"):
        mine = [item for item in items if item.split == split]
        for block in (mine[k : k + rows] for k in range(0, len(mine), rows)):
            shard: list[Item] = []
            for item in block:
                shard.append(item)
                if sum(len(one.data) for one in shard) >= LIMIT or item is block[-1]:  # type: ignore[arg-type]
                    found.append([one.key for one in shard if one.data])
                    shard = []
    return found


def written(folder: Path) -> list[list[str]]:
    paths = sorted((folder / "data").glob("*.parquet"), key=lambda p: (p.name.startswith("test"), p.name))
    return [[row["image_id"] for row in ImageTable.shard_rows(path, ["image_id"])] for path in paths]


def finish(folder: Path, items: list[Item], rows: int, run: Callable[[Shards], None]) -> tuple[Any, ...]:
    """The shards' keys, digests and counts once `run` has finished what is in `folder`."""
    shards = Shards(folder / "parts", rows, exact=False)
    run(shards)
    shards.finish(folder)
    return written(folder), shards.digests("content"), shards.info(), list(shards.rejects())


def stream(items: list[Item], stop: int | None = None) -> Callable[[Shards], None]:
    """Row by row, as one machine does; stopped before its `stop`-th row."""

    def run(shards: Shards) -> None:
        for count, item in enumerate(shards.missing(items)):
            if count == stop:
                return shards.abandon()
            shards.add(draw(item))
        return shards.close()

    return run


def blockwise(items: list[Item], order: random.Random) -> Callable[[Shards], None]:
    """Block by block in any order, as workers do."""

    def run(shards: Shards) -> None:
        tasks: list[BlockTask] = list(block_tasks(shards, items))
        order.shuffle(tasks)
        work = BlockWork(shards.folder, shards.shard_rows, False, draw)
        for task in tasks:
            assert all(not item.data for item in task.items)  # the pictures are in the spool
            shards.put(task.split, task.number, work(task).records)

    return run


@settings(max_examples=25)
@given(items=items_of, rows=st.integers(1, 7), stops=st.lists(st.integers(0, 17), max_size=2), order=st.randoms())
def test_shards_end_by_the_rule_wherever_a_build_stops_and_whoever_goes_on(
    items: list[Item], rows: int, stops: list[int], order: random.Random
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        patch.setattr(module, "SHARD_BYTES", LIMIT)
        once, resumed, mixed = (Path(name, part) for part in ("once", "resumed", "mixed"))
        expected = finish(once, items, rows, stream(items))
        assert expected[0] == by_the_rule(items, rows)
        assert expected[2]["read"] == len(items)
        for folder in (resumed, mixed):
            for stop in stops:
                stream(items, stop)(Shards(folder / "parts", rows, exact=False))
        assert finish(resumed, items, rows, stream(items)) == expected
        assert finish(mixed, items, rows, blockwise(items, order)) == expected


def test_a_second_try_of_a_block_keeps_the_shards_that_the_first_one_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", LIMIT)
    items = [Item(f"row-{k}", "train", b"x" * 60) for k in range(7)]
    shards = Shards(tmp_path / "parts", 7, exact=False)
    (task,) = block_tasks(shards, items)
    drawn: list[str] = []

    def failing(item: Item) -> Outcome:
        drawn.append(item.key)
        if item.key == "row-5" and drawn.count("row-5") == 1:
            raise MemoryError
        return draw(item)

    work = BlockWork(shards.folder, 7, False, failing)
    with pytest.raises(MemoryError):
        work(task)
    records = work(task).records
    assert drawn == [f"row-{k}" for k in (0, 1, 2, 3, 4, 5, 4, 5, 6)]  # shards of two
    assert [record["read"] for record in records] == [2, 2, 2, 1]


def test_a_worker_captions_before_it_draws(tmp_path: Path) -> None:
    def caption(rows: Iterable[Item | Outcome]) -> Iterator[Item | Outcome]:
        for row in rows:
            assert isinstance(row, Item)
            yield replace(row, caption=f"picture {row.key}", machine_caption=True)

    shards = Shards(tmp_path / "parts", 5, exact=False)
    (task,) = block_tasks(shards, [Item("a", "train", b"one"), Item("b", "train", b"two")])
    (record,) = BlockWork(shards.folder, 5, False, draw, caption)(task).records
    assert record["captions"] == {"machine": 2}


def test_spools_hold_the_pictures_of_a_block_and_are_swept_after_a_stop(tmp_path: Path) -> None:
    items = [
        Item("a", "train", b"one"),
        Item("b", "train", tmp_path / "b.png"),
        Item("c", "train", b""),
        Item("d", "train", b"four"),
        Item("e", "train", Slice(tmp_path / "many", 2, 4)),
    ]
    (tmp_path / "many").write_bytes(b"1-five-6")
    shards = Shards(tmp_path / "parts", 2, exact=False)
    tasks = list(block_tasks(shards, items))
    given = [item for task in tasks for item in task.rows()]
    assert given == [*items[:4], Item("e", "train", b"five")]
    assert [task.spool.read_bytes() for task in tasks] == [b"one", b"four", b"five"]
    assert tasks[1].name == "train block 1 (c to d)"
    next(iter(block_tasks(shards, [])), None)
    assert not list(shards.folder.glob("*.spool"))
