"""Small datasets for tests: real pictures of the world with real QR codes, and their exact geometry, in a store."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
from PIL import Image

from conceptlib.concepts.overlays.qr import WORLD, draw_qr
from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from conceptlib.worlds.tiny import world


def picture(index: int, polluted: bool, size: int = 64) -> tuple[Image.Image, Detections]:
    """Row `index` of the world, with a QR code or without. Drawn once a process; the picture is the caller's own."""
    image, found = _drawn(index, polluted, size)
    return image.copy(), found


@functools.cache
def _drawn(index: int, polluted: bool, size: int) -> tuple[Image.Image, Detections]:
    image = world.row(seed=1, index=index).image()
    image = image if size == world.SIZE else image.resize((size, size))  # much faster than drawing it so large
    if not polluted:
        return image, Detections.empty()
    image, mark = draw_qr(image, np.random.default_rng([2, index]), WORLD if size == 64 else None)
    return image, Detections(
        mark.bbox[None], np.ones(1), (mark.concept,), mark.quad[None], (mark.payload,), np.array([mark.visible])
    )


def dataset(
    store: Store,
    splits: Mapping[str, tuple[int, ...]],
    *,
    name: str = "codes",
    size: int = 64,
    every: int = 2,
    kind: str = "dataset",
) -> tuple[Artifact, Artifact]:
    """A dataset and its truth; `splits`: rows of each shard; every so many-th picture is polluted."""
    shards: dict[str, list[tuple[dict, Detections]]] = {}
    index = 0
    for split, counts in splits.items():
        for shard, count in enumerate(counts):
            rows = shards.setdefault(shard_name(split, shard, len(counts)), [])
            for _ in range(count):
                image, found = picture(index, index % every == 0, size)
                rows.append((image_row(f"row-{index}", image, caption="a picture", seed=index), found))
                index += 1
    with store.draft(kind, name, lock={"shards": {k: len(v) for k, v in shards.items()}, "size": size}) as draft:
        for file, rows in shards.items():
            ImageTable.write(draft.path / "data" / file, [row for row, _ in rows])
        pictures = draft.commit()
    with store.draft("annotations", "truth", lock={"source": "truth"}, parents={"dataset": pictures}) as draft:
        for file, rows in shards.items():
            AnnotationTable.write(draft.path / "data" / file, [AnnotationTable.row(row, found) for row, found in rows])
        truth = draft.commit()
    return pictures, truth
