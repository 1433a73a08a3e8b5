"""What one box of a detector stands for: a whole object, as the truth has it, or a line or a word of a text.

A reader of text finds lines, where the truth of a synthesised dataset has whole texts, such as a sign of three lines,
and in each the quads of its lines and words (`parts`). Scored against whole texts a perfect reader of lines would fail.
So an adapter's detector says its `level`, and the truth is taken apart to that level before the two are compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conceptlib.concepts.overlays import Part, clip_polygon
from conceptlib.concepts.tables import AnnotationTable
from conceptlib.detectors.base import OBJECT
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections

LEAST_SIDE = 1.0
"""Pixels: a line of which less than that is inside the picture is nothing to find."""
_EDGES = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True)
class Known:
    """The truth of one picture at some level.

    Args:
        objects: as the annotation set has them.
        boxes: of the level: the objects themselves, or their lines or words.
        owners: the object that each box belongs to, (len(boxes),).
    """

    objects: Detections
    boxes: Detections
    owners: tuple[int, ...]


def truth_at(
    table: AnnotationTable, split: str | None, level: str, labels: Sequence[str]
) -> tuple[str, dict[str, Known]]:
    """The truth by image id, its objects of these labels taken apart to a level; and the level that it was possible at.

    Where no such object has parts of the level (imported boxes, say, which may be lines already), that is `object`.

    Raises:
        ConceptlibError: an image id comes twice.
    """
    known: dict[str, Known] = {}
    deepest = OBJECT
    for row in table.rows(split):
        if row["image_id"] in known:
            raise ConceptlibError(f"image id {row['image_id']!r} comes twice", where=str(table.path))
        objects = table.detections(row)
        parts = table.parts(row)
        wanted = [part for mine, label in zip(parts, objects.labels, strict=True) if label in labels for part in mine]
        if level != OBJECT and any(part.kind == level for part in wanted):
            deepest = level
        known[row["image_id"]] = _apart(row, objects, parts, level, labels)
    return deepest, known


def _apart(
    row: Mapping[str, Any], objects: Detections, parts: Sequence[Sequence[Part]], level: str, labels: Sequence[str]
) -> Known:
    pieces = [
        [part for part in mine if part.kind == level and label in labels]
        for mine, label in zip(parts, objects.labels, strict=True)
    ]
    if level == OBJECT or not any(pieces):
        return Known(objects, objects, tuple(range(len(objects))))
    boxes: list[np.ndarray] = []
    texts: list[str] = []
    owners: list[int] = []
    for index, mine in enumerate(pieces):
        if not mine:
            boxes.append(objects.boxes[index])
            texts.append(objects.payloads[index] if objects.payloads else "")
            owners.append(index)
        for part in mine:
            inside = clip_polygon(part.quad, (row["width"], row["height"]))
            if len(inside) and np.ptp(inside, axis=0).min() >= LEAST_SIDE:
                boxes.append(np.r_[inside.min(0), inside.max(0)])
                texts.append(part.text)
                owners.append(index)
    found = Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        objects.scores[np.asarray(owners, int)],
        tuple(objects.labels[owner] for owner in owners),
        payloads=tuple(texts) if objects.payloads else None,
    )
    return Known(objects, found, tuple(owners))


def words_read(truth: Detections, found: Detections, labels: Sequence[str]) -> tuple[int, int]:
    """(words of the truth that were read, words of the truth) of one picture; where in it they stand does not count.

    Words are what white space separates, without the punctuation around them, and capitals do not count. Each word
    that was read stands for one of the truth.
    """
    known, said = (_words(item, labels) for item in (truth, found))
    return (known & said).total(), known.total()


def _words(item: Detections, labels: Iterable[str]) -> Counter[str]:
    wanted = set(labels)
    texts = [text for text, label in zip(item.payloads or (), item.labels, strict=False) if label in wanted]
    words = (_EDGES.sub("", unicodedata.normalize("NFKC", word).casefold()) for text in texts for word in text.split())
    return Counter(word for word in words if word)
