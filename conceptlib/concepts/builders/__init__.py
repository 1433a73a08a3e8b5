"""Builders: one file a way of making a dataset. Adding a file here is enough.

A builder is a module with

* `Params`: a `conceptlib.specs.Params`, importable in milliseconds;
* `prepare(spec) -> Job`: where the rows come from and how one becomes a picture. One that can take its rows from Python
  is `prepare(spec, source=None)`. Or
* `prepare(spec) -> RowsJob`: rows without pictures, which the builder checks and writes itself;
* `VERSION` (1 where there is none): raised whenever the same spec comes to mean other rows.

`conceptlib.concepts.build` does the rest: worker processes, shards, rejects, truth, duplicates, captions, resuming,
reusing the rows of an earlier build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from conceptlib.progress import Progress

if TYPE_CHECKING:
    from conceptlib.concepts.labels import Columns
    from conceptlib.concepts.overlays import Mark
    from conceptlib.concepts.sources import Item, Source
    from conceptlib.geometry import Detections
    from conceptlib.store import Artifact, Draft


DuplicatePolicy = Literal["off", "report", "train", "drop"]


@dataclass(frozen=True)
class Outcome:
    """What became of one item.

    Args:
        key, split: of the item.
        row: the dataset row (`tables.image_row`), or None if the item was rejected.
        truth: exactly what was drawn over the picture; None if rejected, or if the job is not `exact`.
        rejects: `{"reason", "detail"}` and more: of the item if there is no row, else of an overlay that was not drawn.
        marks: what was drawn, one a detection of `truth`: their areas and parts belong to the truth as well.
        known: the truth's row as an earlier build wrote it, instead of `truth` and `marks`.
        concepts: what the picture is known to show beside the truth's labels.
        input: the item's fingerprint, if a later build may use the row again.
        machine_caption: the caption is a captioner's.
    """

    key: str
    split: str
    row: dict[str, Any] | None
    truth: Detections | None
    rejects: tuple[dict[str, str], ...] = ()
    marks: tuple[Mark, ...] = ()
    known: Mapping[str, Any] | None = None
    concepts: tuple[str, ...] = ()
    input: str | None = None
    machine_caption: bool = False


@dataclass(frozen=True)
class Job:
    """A prepared build.

    Args:
        source: the rows.
        draw: turns an item into an outcome, by the item and the spec alone; can be pickled, runs in worker processes.
        shard_rows: rows of a split that make a shard, rejected ones included.
        lock: what decides the content beside the spec and the source.
        exact: whether `draw` knows the geometry; if not, the dataset has no `truth`.
        recipe: everything but the item that decides what `draw` makes of it; rows are reused between builds of one
            recipe. None: never.
        caption: puts captions to items that have none (and passes outcomes on), in the build's own process.
        duplicates: what happens to pictures that are alike, see `concepts.duplicates`.
        max_distance: bits in which the perceptual hashes of such pictures may differ.
        parents: role to the id of an artifact that decides which rows there are.
        variants: rows that each of the source's gives, see `sources.base.variants`.
        labels: columns of the source that are kept, and are part of what the dataset is. A source that has labels by
            itself, as a world, says so by its own `labels`; they follow from its pictures.
    """

    source: Source
    draw: Callable[[Item], Outcome]
    shard_rows: int
    lock: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True
    recipe: Mapping[str, Any] | None = None
    caption: Callable[[Iterable[Item | Outcome]], Iterator[Item | Outcome]] | None = None
    duplicates: DuplicatePolicy = "off"
    max_distance: int = 4
    variants: int = 1
    parents: Mapping[str, str] = field(default_factory=dict)
    labels: Columns = field(default_factory=dict)

    @property
    def columns(self) -> Columns:
        """The label columns of the dataset."""
        return self.labels or getattr(self.source, "labels", {})

    @property
    def total(self) -> int:
        """Rows in all, rejected ones included; 0 if nobody knows."""
        return (self.source.total or 0) * self.variants


class HasLock(Protocol):
    """A source whose lock decides its rows."""

    def lock(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class RowsJob:
    """A prepared build of rows that are no pictures; there is no truth to annotate them with.

    Args:
        source: of the rows.
        fill: writes all of them into the draft and commits it; called with the draft and the progress callback.
        lock: what decides the content beside the spec and the source.
    """

    source: HasLock
    fill: Callable[[Draft, Progress | None], Artifact]
    lock: Mapping[str, Any] = field(default_factory=dict)
