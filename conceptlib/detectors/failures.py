"""What a detector missed or wrongly found, as data beside its scores and as a picture to look at.

An evaluation's `failures.json` is a list of `{"image_id", "pictures", "missed", "alarms"}`: `pictures` is `dataset` or
`clean`, `missed` and `alarms` are lists of `{"label", "box", "score"}` with boxes x1, y1, x2, y2 in pixels, null where
a detector does not say where. What counts is a score of at least the threshold, and a box at IoU 0.5.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from conceptlib.concepts.tables import ImageTable
from conceptlib.detectors.base import Detector, locates
from conceptlib.detectors.batches import decoded
from conceptlib.detectors.calibrate import pairs
from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections
from conceptlib.progress import Progress
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_path

FAILURES = "failures.json"
CELL = 256
MISSED, ALARM = (0, 92, 230), (230, 0, 60)
_COLUMNS = ("image_id", "image", "width", "height")


def failures_in(image_id: str, truth: Detections, found: Detections, detector: Detector) -> list[dict[str, Any]]:
    """The row of one picture of the dataset, in a list; an empty one where nothing failed."""
    truth, sure = _wanted(truth, detector), _wanted(found, detector)
    sure = sure.filter(sure.scores >= detector.threshold)
    if locates(detector):
        hits = pairs(truth, sure)
        missed = np.array([index not in {one for _, one in hits} for index in range(len(truth))], bool)
        alarms = np.array([index not in {one for one, _ in hits} for index in range(len(sure))], bool)
    else:
        missed = np.array([label not in sure.labels for label in truth.labels], bool)
        alarms = np.array([label not in truth.labels for label in sure.labels], bool)
    return _row(image_id, "dataset", truth.filter(missed), sure.filter(alarms))


def alarms_in(
    detector: Detector, table: ImageTable, batch_size: int, progress: Progress | None
) -> tuple[list[dict[str, Any]], int]:
    """The rows of those clean pictures in which something is found, and how many pictures there are."""
    rows: list[dict[str, Any]] = []
    done, total = 0, table.count()
    if progress is not None:
        progress(f"clean pictures for {detector.name}", 0, total)
    for batch, images in decoded(table, table.rows(None, _COLUMNS), batch_size):
        for row, found in zip(batch, detector.detect(images), strict=True):
            sure = _wanted(found, detector)
            rows += _row(row["image_id"], "clean", Detections.empty(), sure.filter(sure.scores >= detector.threshold))
        done += len(batch)
        if progress is not None:
            progress(f"clean pictures for {detector.name}", done, total)
    return rows, done


def sheet(evaluations: Sequence[Artifact], store: Store, *, most: int = 18) -> Image.Image:
    """A picture of failures, a band for each evaluation: missed boxes blue, false alarms red.

    Args:
        evaluations: of `evaluate_detector`. most: pictures a band at most, spread evenly over all failures.

    Raises:
        ConceptlibError: an evaluation has no list of failures. NotFound: its pictures are no longer in the store.
    """
    from conceptlib.reports.grid import Panel, grid

    bands = []
    for evaluation in evaluations:
        rows = _read(evaluation)
        chosen = [rows[index] for index in np.unique(np.linspace(0, len(rows) - 1, most).astype(int))] if rows else []
        images = _pictures(evaluation, chosen, store)
        tiles = [_drawn(images[row["pictures"], row["image_id"]], row) for row in chosen]
        title = f"{evaluation.info['detector']} on {evaluation.info['dataset']}"
        missed, alarms = (sum(len(row[key]) for row in rows) for key in ("missed", "alarms"))
        told = f"{missed} missed (blue), {alarms} false alarms (red) in {len(rows)} pictures; {len(chosen)} shown"
        if not tiles:
            tiles, told = [Image.new("RGB", (CELL, CELL // 4), (245, 245, 245))], "nothing missed, no false alarm"
        captions = [row["image_id"] for row in chosen] or ["no failures"]
        bands.append(grid([Panel("", told, tiles)], captions, title=title, cell=CELL))
    page = Image.new("RGB", (max(band.width for band in bands), sum(band.height for band in bands)), (255, 255, 255))
    top = 0
    for band in bands:
        page.paste(band, (0, top))
        top += band.height
    return page


def save_sheet(evaluations: Sequence[Artifact], store: Store, path: Path) -> None:
    """Write `sheet` as a PNG, atomically. Raises ConceptlibError where that is not possible."""
    try:
        with atomic_path(path) as temporary:
            sheet(evaluations, store).save(temporary, "PNG")
    except OSError as error:
        raise ConceptlibError(f"the picture cannot be written: {error}", where=path) from error


def _wanted(found: Detections, detector: Detector) -> Detections:
    return found.filter(np.array([label in detector.labels for label in found.labels], bool))


def _row(image_id: str, pictures: str, missed: Detections, alarms: Detections) -> list[dict[str, Any]]:
    if not len(missed) and not len(alarms):
        return []
    return [{"image_id": image_id, "pictures": pictures, "missed": _listed(missed), "alarms": _listed(alarms)}]


def _listed(found: Detections) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "box": [round(float(edge), 2) for edge in box] if located else None,
            "score": round(float(value), 4),
        }
        for label, box, value, located in zip(found.labels, found.boxes, found.scores, found.located, strict=True)
    ]


def _read(evaluation: Artifact) -> list[dict[str, Any]]:
    path = evaluation.path / FAILURES
    try:
        return list(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ConceptlibError(
            f"the evaluation has no list of failures: {error}",
            where=path,
            hint="it was made by another version: remove it with `conceptlib rm`, and score the detector again",
        ) from error


def _pictures(evaluation: Artifact, rows: Iterable[dict[str, Any]], store: Store) -> dict[tuple[str, str], Image.Image]:
    """The pictures of some rows, by (`dataset` or `clean`, id)."""
    found: dict[tuple[str, str], Image.Image] = {}
    for role in ("dataset", "clean"):
        wanted = {row["image_id"] for row in rows if row["pictures"] == role}
        if not wanted:
            continue
        table = ImageTable(store.get(evaluation.parents[role]))
        split = evaluation.info["split"] if role == "dataset" else None
        for row in table.rows(split, _COLUMNS):
            if row["image_id"] in wanted:
                found[role, row["image_id"]] = table.decode(row)
    return found


def _drawn(image: Image.Image, row: dict[str, Any]) -> Image.Image:
    """A picture, its longer side `CELL` pixels, with its missed boxes and false alarms."""
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    tile = image.resize(size, Image.Resampling.BICUBIC)
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(11)
    for key, colour in (("missed", MISSED), ("alarms", ALARM)):
        for one in row[key]:
            x1, y1, x2, y2 = [edge * scale for edge in one["box"] or [0, 0, image.width, image.height]]
            draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=2)
            text = one["label"] if key == "missed" else f"{one['label']} {one['score']:.2f}"
            wide = draw.textlength(text, font=font) + 6
            left = min(max(0.0, x1), max(0.0, tile.width - wide))
            top = min(max(0.0, y1 - 14 if key == "missed" else y2), tile.height - 14)
            draw.rectangle((left, top, left + wide, top + 14), fill=colour)
            draw.text((left + 3, top + 1), text, font=font, fill=(255, 255, 255))
    return tile
