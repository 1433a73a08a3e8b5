"""What is exported: the rows of a dataset, each with its boxes, a file name and a number that stays the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from conceptlib.concepts.labels import in_row, shown
from conceptlib.concepts.tables import AnnotationTable, ImageTable, suffix_of
from conceptlib.errors import ConceptlibError, did_you_mean
from conceptlib.formats._names import Names
from conceptlib.geometry import Detections, xyxy_to_xywh
from conceptlib.geometry.boxes import area, clip
from conceptlib.progress import Progress
from conceptlib.store import Artifact
from conceptlib.store.hashing import sha256_file


@dataclass(frozen=True)
class Sample:
    """A picture and what is in it.

    row: of the dataset's table. split: its split. number: its place in the whole dataset, from 1, whatever part of it
    is exported. name: its file's name without ending. found: its boxes; none where no annotations were asked for.
    """

    row: Mapping[str, Any]
    split: str
    number: int
    name: str
    found: Detections

    @property
    def data(self) -> bytes:
        """The encoded picture."""
        return bytes(self.row["image"]["bytes"])

    @property
    def suffix(self) -> str:
        """`.jpg`, `.png` or `.webp`, by the bytes."""
        return suffix_of(self.data)

    @property
    def file_name(self) -> str:
        """`name` with its ending."""
        return self.name + self.suffix

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.row["width"], self.row["height"]

    def about(self) -> dict[str, Any]:
        """The row's columns that are no picture and no caption; unknown labels are left out."""
        known = {key: self.row[key] for key in ("image_id", "image_sha256", "width", "height", "seed")}
        return known | {key: shown(value) for key, value in in_row(self.row).items() if value is not None}


@dataclass
class Job:
    """An export while it is written.

    categories: the concepts, in the order of their ids. images, boxes: how many `samples` has given so far.
    """

    dataset: Artifact
    annotations: Artifact | None
    splits: tuple[str, ...]
    categories: tuple[str, ...]
    progress: Progress | None = None
    images: int = 0
    boxes: int = 0
    table: ImageTable = field(init=False)
    total: int = field(init=False)
    _names: Names = field(init=False)

    def __post_init__(self) -> None:
        self.table = ImageTable(self.dataset)
        for entry in self.dataset.files:
            if entry.path.startswith("data/") and not (self.dataset.path / entry.path).exists():
                _check_shard(self.dataset, entry.path)
        self.total = sum(self.table.count(split) for split in self.splits)
        self._names = names_of(self.table)

    def samples(self, split: str) -> Iterator[Sample]:
        """The pictures of a split in order, one row group in memory at a time.

        Raises:
            ConceptlibError: a shard is not what it was when it was made; the annotations do not cover the split, or are
                in another order; a label that is no category.
        """
        for _, samples in self.shards(split):
            yield from samples

    def shards(self, split: str) -> Iterator[tuple[Path, Iterator[Sample]]]:
        """The same, shard by shard: the dataset's file, and its pictures."""
        before = self.table.splits[: self.table.splits.index(split)]
        number = sum(self.table.count(one) for one in before)
        for path in self.table.shards(split):
            yield path, self._numbered(split, path, number)
            number += pq.read_metadata(path).num_rows

    def _numbered(self, split: str, shard: Path, before: int) -> Iterator[Sample]:
        for number, (row, found) in enumerate(self._joined(shard), before + 1):
            self.images, self.boxes = self.images + 1, self.boxes + len(found)
            if self.progress is not None:
                self.progress("export", self.images, self.total)
            yield Sample(row, split, number, self._names.of(row["image_id"]), found)

    def category(self, label: str) -> int:
        """Place of a concept in `categories`, from 0."""
        return self.categories.index(label)

    def save_picture(self, sample: Sample, folder: Path) -> None:
        """Copy the encoded picture, byte for byte. Raises ConceptlibError where a file of that name is there."""
        write_new(folder / sample.file_name, sample.data, sample)

    def _joined(self, shard: Path) -> Iterator[tuple[Mapping[str, Any], Detections]]:
        _check_shard(self.dataset, f"data/{shard.name}")
        rows = self.table.shard_rows(shard)
        if self.annotations is None:
            yield from ((row, Detections.empty()) for row in rows)
            return
        path = self.annotations.path / "data" / shard.name
        _check_shard(self.annotations, f"data/{shard.name}")
        if not path.is_file():
            raise ConceptlibError(
                f"the annotation set {self.annotations.ref} has nothing about {shard.name}",
                where=self.annotations.path,
                hint="it covers some splits only: name one of them with --split, or annotate all",
            )
        for row, note in zip_longest(rows, AnnotationTable.shard_rows(path)):
            if row is None or note is None or row["image_id"] != note["image_id"]:
                raise ConceptlibError(
                    f"the rows of {shard.name} are not those of the dataset",
                    where=path,
                    hint="`conceptlib verify` tells whether it is damaged; annotate again",
                )
            found = AnnotationTable.detections(note)
            if unknown := sorted(set(found.labels) - set(self.categories)):
                raise ConceptlibError(
                    f"image {row['image_id']!r} has a box of {unknown[0]!r}, which is not among the categories",
                    where=self.annotations.path,
                    hint=did_you_mean(unknown[0], self.categories),
                )
            yield row, found


def _check_shard(artifact: Artifact, name: str) -> None:
    """Raise ConceptlibError unless a file is what the manifest says: a flipped bit would become a damaged picture, a
    wrong caption or box. A file that the manifest does not name is not looked at."""
    known = next((entry.sha256 for entry in artifact.files if entry.path == name), None)
    path = artifact.path / name
    if known is None or (path.is_file() and sha256_file(path) == known):
        return
    raise ConceptlibError(
        f"{artifact.kind} {artifact.ref} is damaged: {name} is {'not what it was' if path.is_file() else 'missing'}",
        where=path,
        hint="`conceptlib verify` names all that is damaged; make the artifact again",
    )


def names_of(table: ImageTable) -> Names:
    """The file names of a dataset's pictures."""
    return Names(row["image_id"] for row in table.rows(columns=["image_id"]))


def write_new(path: Path, data: bytes, sample: Sample) -> None:
    """Write a file that is not there yet. Raises ConceptlibError if it is: two rows have one id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise ConceptlibError(
            f"two pictures would be called {path.name}",
            where=f"image id {sample.row['image_id']!r}",
            hint="image ids must be unique in a dataset: build it again",
        ) from error


def short(values: ArrayLike) -> list[float]:
    """Numbers as the shortest decimals that give the same float32: 12.3 rather than 12.300000190734863."""
    return [float(str(value)) + 0.0 for value in np.asarray(values, np.float32).ravel()]


def xywh(found: Detections) -> list[list[float]]:
    """`[x, y, width, height]` in pixels of every box."""
    return [short(box) for box in xyxy_to_xywh(found.boxes)]


def objects(found: Detections) -> dict[str, Any]:
    """Boxes as the Hub writes them: `bbox` `[x, y, width, height]` in pixels, `category`, and `score`."""
    return {"bbox": xywh(found), "category": list(found.labels), "score": short(found.scores)}


def inside(found: Detections, size: Sequence[int]) -> Detections:
    """The boxes cut to the picture; those of which nothing is left are dropped."""
    boxes = clip(found.boxes, *size)
    keep = area(boxes) > 0
    kept = found.filter(keep)
    return Detections(boxes[keep], kept.scores, kept.labels, kept.quads, None, kept.visible)
