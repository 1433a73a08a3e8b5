"""A small dataset with everything that formats have to cope with, and its boxes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store

SIZES = ((64, 48), (640, 480), (31, 17), (48, 64), (1000, 40), (64, 64))
IDS = ("cats/one.jpg", "two", "Three.png", "four v1.5", "../five", "six")
NAMES = ("cats-one", "two", "Three", "four-v1-5", "five", "six")
"""What the files of an export are called."""


def encoded(index: int) -> bytes:
    """Picture `index`, in turn PNG, JPEG and WebP."""
    buffer = io.BytesIO()
    colours = np.random.default_rng(index).integers(0, 255, (*SIZES[index][::-1], 3), np.uint8)
    Image.fromarray(colours).save(buffer, ("PNG", "JPEG", "WEBP")[index % 3])
    return buffer.getvalue()


def make_pictures(store: Store) -> Artifact:
    """Six pictures of six sizes in three formats; train has two shards, test one."""
    rows = [
        image_row(IDS[i], encoded(i), caption=None if i == 1 else f"picture {i} — ünïcode", seed=i) for i in range(6)
    ]
    with store.draft("dataset", "mixed", lock={"test": 1}) as draft:
        for file, part in _files(rows):
            ImageTable.write(draft.path / "data" / file, part)
        return draft.commit(info={"concepts": ["qr-code", "watermark"]})


def _files(rows: Sequence[dict]) -> list[tuple[str, Sequence[dict]]]:
    return [
        (shard_name("train", 0, 2), rows[:2]),
        (shard_name("train", 1, 2), rows[2:4]),
        (shard_name("test", 0, 1), rows[4:]),
    ]


def make_annotations(store: Store, pictures: Artifact, found: Sequence[Detections], name: str = "truth") -> Artifact:
    """An annotation set of them, from the boxes of each."""
    rows = [AnnotationTable.row(row, item) for row, item in zip(ImageTable(pictures).rows(), found, strict=True)]
    lock = {"rows": [[row["labels"], row["boxes"], row["scores"]] for row in rows]}
    with store.draft("annotations", name, lock=lock, parents={"dataset": pictures}) as draft:
        if draft.done:
            return draft.done
        for file, part in _files(rows):
            AnnotationTable.write(draft.path / "data" / file, part)
        return draft.commit()


def quad_box(quad: np.ndarray) -> np.ndarray:
    return np.concatenate([quad.min(axis=1), quad.max(axis=1)], axis=1)


def boxes() -> list[Detections]:
    """Two boxes with corners, one beyond the edge, one wholly outside, and two clean pictures."""
    quad = np.array([[[10.25, 5], [30, 8.5], [27, 28], [7, 25]]], np.float32)
    return [
        Detections(quad_box(quad), [1], ("qr-code",), quad, ("HELLO",), [0.9]),
        Detections([[100.5, 20.25, 300.75, 90], [0, 0, 640, 480]], [0.5, 1], ("watermark", "qr-code")),
        Detections.empty(),
        Detections([[-5, 10, 20, 80.5]], [1], ("qr-code",)),
        Detections([[2000, 10, 2010, 20]], [1], ("qr-code",)),
        Detections.empty(),
    ]
