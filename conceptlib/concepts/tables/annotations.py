"""Boxes, a row a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.concepts.overlays import Mark, Part
from conceptlib.concepts.tables.schema import annotation_schema
from conceptlib.concepts.tables.table import Table
from conceptlib.concepts.tables.writer import ShardWriter
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections


class AnnotationTable(Table):
    """The boxes of an `annotations` artifact.

    Args:
        artifact: the artifact, or its folder.

    Raises:
        ConceptlibError: the folder has no shards, or not all of them.
    """

    @staticmethod
    def row(image: Mapping[str, Any], detections: Detections, marks: Sequence[Mark] = ()) -> dict[str, Any]:
        """A row for `write`: what was found in the image of a dataset row (its id, sha256, width and height are taken
        over).

        marks: where the overlays' own marks are known, one a detection: their areas and parts.
        """
        found = detections
        exact = bool(marks) or not len(found)
        return {
            "image_id": image["image_id"],
            "image_sha256": image["image_sha256"],
            "width": image["width"],
            "height": image["height"],
            "boxes": found.boxes.tolist(),
            "scores": found.scores.tolist(),
            "labels": list(found.labels),
            "quads": None if found.quads is None else found.quads.reshape(-1, 8).tolist(),
            "payloads": None if found.payloads is None else list(found.payloads),
            "visible": None if found.visible is None else found.visible.tolist(),
            "areas": [mark.area for mark in marks] if exact else None,
            "parts": [[_part(part) for part in mark.parts] for mark in marks] if exact else None,
        }

    @staticmethod
    def write(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write a shard atomically, as the rows come (see `row`); returns how many there were."""
        with ShardWriter(path, annotation_schema()) as shard:
            for row in rows:
                shard.add(row)
        return shard.count

    @staticmethod
    def detections(row: Mapping[str, Any]) -> Detections:
        """The row's boxes: float32 xyxy in pixels of the stored picture."""
        quads, payloads, visible = row.get("quads"), row.get("payloads"), row.get("visible")
        return Detections(
            boxes=np.asarray(row["boxes"], np.float32).reshape(-1, 4),
            scores=np.asarray(row["scores"], np.float32),
            labels=tuple(row["labels"]),
            quads=None if quads is None else np.asarray(quads, np.float32).reshape(-1, 4, 2),
            payloads=None if payloads is None else tuple(payloads),
            visible=None if visible is None else np.asarray(visible, np.float32),
        )

    @staticmethod
    def parts(row: Mapping[str, Any]) -> list[tuple[Part, ...]]:
        """The row's parts (lines, words, repeats), a tuple a detection: empty ones where none are known."""
        return [
            tuple(
                Part(part["kind"], part["text"], np.asarray(part["quad"], np.float32).reshape(4, 2)) for part in parts
            )
            for parts in row.get("parts") or [()] * len(row["boxes"])
        ]

    def by_image(self, split: str | None = None) -> dict[str, Detections]:
        """Detections by image id, of one split or all. Raises `ConceptlibError` if an id comes twice."""
        found: dict[str, Detections] = {}
        for row in self.rows(split):
            if row["image_id"] in found:
                raise ConceptlibError(f"image id {row['image_id']!r} comes twice", where=str(self.path))
            found[row["image_id"]] = self.detections(row)
        return found


def _part(part: Part) -> dict[str, Any]:
    return {"kind": part.kind, "text": part.text, "quad": part.quad.reshape(8).tolist()}
