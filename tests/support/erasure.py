"""A polluted dataset, its annotations and recipes, small enough for a test: white squares stand for QR codes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store

CONCEPT = "qr-code"
CAPTIONS = ("a red circle on grey", "a blue square on white", "a green star on black", "a yellow ring")


def polluted_pictures(
    rows: int = 24, size: tuple[int, int] = (32, 32), seed: int = 0, share: float = 0.5
) -> list[dict[str, Any]]:
    """Rows with `pixels`, `caption` and `box` (None in the clean ones)."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(rows):
        pixels = np.full((size[1], size[0], 3), rng.integers(40, 200, 3), np.uint8)
        box = None
        if index < rows * share:
            x, y = rng.integers(0, size[0] - 10), rng.integers(0, size[1] - 10)
            box = [float(x), float(y), float(x + 9), float(y + 9)]
            pixels[y : y + 9, x : x + 9] = 255
        found.append({"pixels": pixels, "caption": CAPTIONS[index % len(CAPTIONS)], "box": box})
    return found


def store_dataset(store: Store, name: str = "icd-test", kind: str = "dataset", **options: Any) -> Artifact:
    """A `dataset` artifact with a train split of `polluted_pictures(**options)`."""
    pictures = polluted_pictures(**options)
    with store.draft(kind, name, lock={"options": options}) as draft:
        if draft.done:
            return draft.done
        rows = [
            image_row(f"{index:04d}", Image.fromarray(row["pixels"]), caption=row["caption"], seed=index)
            for index, row in enumerate(pictures)
        ]
        ImageTable.write(draft.path / "data" / shard_name("train", 0, 1), rows)
        return draft.commit()


def store_annotations(
    store: Store, data: Artifact, name: str = "truth", score: float = 1.0, **options: Any
) -> Artifact:
    """The boxes of `store_dataset(store, ..., **options)` as an `annotations` artifact."""
    pictures = polluted_pictures(**options)
    with store.draft(
        "annotations", name, lock={"options": options, "score": score}, parents={"dataset": data}
    ) as draft:
        if draft.done:
            return draft.done
        rows = []
        for image, row in zip(ImageTable(data).rows(), pictures, strict=True):
            boxes = [row["box"]] if row["box"] else []
            detections = Detections(
                boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
                scores=np.full(len(boxes), score, np.float32),
                labels=(CONCEPT,) * len(boxes),
            )
            rows.append(AnnotationTable.row(image, detections))
        AnnotationTable.write(draft.path / "data" / shard_name("train", 0, 1), rows)
        return draft.commit()


def write_recipe(folder: Path, **params: Any) -> Path:
    """A Geom-Erasing recipe of a few steps as a YAML file; JSON is YAML."""
    import json

    settings = {"steps": 4, "batch_size": 4, "grid": [2, 2], "checkpoint_every": 2, **params}
    spec = {
        "kind": "recipe",
        "name": "geom-erasing/test",
        "method": "geom-erasing",
        "concepts": [CONCEPT],
        "params": settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "test.yaml"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return path


def weights_alone(artifact: Artifact, folder: Path) -> Path:
    """A copy of a checkpoint without its manifest, which would tell of every change: its bytes are compared first."""
    return Path(shutil.copytree(artifact.path, folder, ignore=shutil.ignore_patterns("manifest.json")))
