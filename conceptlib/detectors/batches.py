"""The rows of a table through a detector, a batch at a time: one is read and decoded while another is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.ahead import ahead
from conceptlib.detectors.base import Detector
from conceptlib.geometry import Detections
from conceptlib.progress import Progress

T = TypeVar("T")
_COLUMNS = ("image_id", "image", "image_sha256", "width", "height")


def detect_rows(
    table: ImageTable, rows: Iterable[Mapping[str, Any]], detector: Detector, batch_size: int, **options: Any
) -> Iterator[Detections]:
    """What the detector finds in each row's picture, in order; `options` are those of `Detector.detect`."""
    for _, images in decoded(table, rows, batch_size):
        yield from detector.detect(images, **options)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def annotate_shard(
    table: ImageTable,
    shard: Path,
    detector: Detector,
    batch_size: int,
    target: Path,
    done: int = 0,
    total: int = 0,
    progress: Progress | None = None,
) -> int:
    """Annotate one shard of `table` into the file `target`, which appears once it is whole; returns its rows.

    progress hears ("annotate", `done` and the rows since, `total`).
    """
    return AnnotationTable.write(
        target, _counted(_annotated(table, shard, detector, batch_size), done, total, progress)
    )


def _annotated(table: ImageTable, shard: Path, detector: Detector, batch_size: int) -> Iterator[dict[str, Any]]:
    for batch, images in decoded(table, table.shard_rows(shard, _COLUMNS), batch_size):
        for row, found in zip(batch, detector.detect(images), strict=True):
            yield AnnotationTable.row(row, found)


def decoded(
    table: ImageTable, rows: Iterable[Mapping[str, Any]], batch_size: int
) -> Iterator[tuple[list[Mapping[str, Any]], list[np.ndarray]]]:
    """Batches of rows and their pictures, uint8 (height, width, 3); the next is read and decoded while one is used."""
    return ahead((batch, [np.asarray(table.decode(row)) for row in batch]) for batch in batches(rows, batch_size))


def _counted(rows: Iterable[T], done: int, total: int, progress: Progress | None) -> Iterator[T]:
    for row in rows:
        if progress is not None:
            progress("annotate", done, total)
        done += 1
        yield row
