"""Builders: one file a way of making a dataset. Adding a file here is enough.

A builder is a module with

* `Params`: a `conceptlib.specs.Params`, importable in milliseconds;
* `prepare(spec) -> Job`: where the rows come from and how one becomes a picture.

`conceptlib.concepts.build` does the rest: worker processes, shards, rejects, truth, resuming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conceptlib.concepts.overlays import Mark
    from conceptlib.concepts.sources import Item, Source
    from conceptlib.geometry import Detections


@dataclass(frozen=True)
class Outcome:
    """What became of one item.

    Args:
        key, split: of the item.
        row: the dataset row (`tables.image_row`), or None if the item was rejected.
        truth: exactly what was drawn over the picture; None if rejected.
        rejects: `{"reason", "detail"}` and more: of the item if there is no row, else of an overlay that was not drawn.
        marks: what was drawn, one a detection of `truth`: their areas and parts belong to the truth as well.
    """

    key: str
    split: str
    row: dict[str, Any] | None
    truth: Detections | None
    rejects: tuple[dict[str, str], ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Job:
    """A prepared build.

    Args:
        source: the rows.
        draw: turns an item into an outcome, by the item and the spec alone; can be pickled, runs in worker processes.
        shard_rows: rows of a split that make a shard, rejected ones included.
        lock: what decides the content beside the spec and the source.
    """

    source: Source
    draw: Callable[[Item], Outcome]
    shard_rows: int
    lock: Mapping[str, Any] = field(default_factory=dict)
