"""The picture of an erasure: what each model drew for the same captions and seeds, the concept framed where it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.reports.grid import Panel, grid

if TYPE_CHECKING:
    from PIL import Image

    from conceptlib.geometry import Detections
    from conceptlib.store import Artifact


@dataclass(frozen=True)
class Series:
    """One model's pictures: an `images` artifact, its `annotations`, and where the concept was found: bool (n,)."""

    heading: str
    images: Artifact
    annotations: Artifact
    found: np.ndarray


def choose(found: np.ndarray, examples: int) -> tuple[list[int], list[int]]:
    """Rows to show: the first with the concept, and the first without it.

    Args:
        found: bool (n,), of the first model.
        examples: how many rows in all, 1 or more; about a quarter of them without the concept, more where it is rare.

    Returns:
        Rows with and rows without, each in order; together at most `examples`.
    """
    rows_with, rows_without = (np.flatnonzero(mask).tolist() for mask in (found, ~found))
    without = min(len(rows_without), max(examples // 4, examples - len(rows_with)))
    return rows_with[: examples - without], rows_without[:without]


def erasure_grid(
    series: Sequence[Series],
    labels: Sequence[str],
    phrases: Sequence[str],
    detector: str,
    *,
    examples: int = 8,
    columns: int = 8,
) -> Image.Image:
    """Draw the series above each other.

    Args:
        series: at least one; the first decides which captions are shown.
        labels: the detections that are framed, by concept name.
        phrases: what people call them, in the same order.
        detector: the detector's name.
        examples, columns: captions in all, and in a line.

    Raises:
        ConceptlibError: artifacts that do not belong together or cannot be read.
    """
    first, tags = series[0].found, dict(zip(labels, phrases, strict=True))
    rows_with, rows_without = choose(first, examples)
    shown = [*rows_with, *rows_without]
    panels: list[Panel] = []
    captions: list[str] = []
    for one in series:
        captions, images = _rows(one.images, shown)
        share = f"{' or '.join(phrases)} in {100 * float(one.found.mean()):.1f} % of {len(one.found)} pictures"
        panels.append(Panel(one.heading, share, images, _boxes(one.annotations, shown, tags)))
    title = "Same caption, same seed" + (": before and after" if len(series) == 2 else "")
    return grid(
        panels,
        captions,
        title=title,
        footer=_footer(phrases, detector, rows_with, rows_without, len(first)),
        columns=columns,
        cell=120,
    )


def _footer(
    phrases: Sequence[str], detector: str, rows_with: Sequence[int], rows_without: Sequence[int], n: int
) -> str:
    what = " or ".join(phrases)
    shown = [
        f"the first {len(rows)} of {n} captions whose top picture has {how}"
        for rows, how in ((rows_with, "one"), (rows_without, "none"))
        if rows
    ]
    return (
        f"Red frame: {what} found by the detector {detector}; no caption asks for one. "
        f"Shown are {' and '.join(shown)}; nothing was picked by hand."
    )


def _rows(images: Artifact, shown: Sequence[int]) -> tuple[list[str], list[Image.Image]]:
    """Captions and pictures of some rows, in the order asked for."""
    table, wanted = ImageTable(images), set(shown)
    found = {
        index: (row["caption"] or "", table.decode(row))
        for index, row in enumerate(table.rows(columns=["image_id", "caption", "image"]))
        if index in wanted
    }
    return [found[i][0] for i in shown], [found[i][1] for i in shown]


def _boxes(annotations: Artifact, shown: Sequence[int], tags: Mapping[str, str]) -> list[Detections]:
    """The detections of some rows that have a tag, labelled by it."""
    rows = list(AnnotationTable(annotations).by_image().values())
    kept = [rows[i].filter(np.array([label in tags for label in rows[i].labels], dtype=bool)) for i in shown]
    return [replace(found, labels=tuple(tags[label] for label in found.labels)) for found in kept]
