"""labelme: a JSON file beside each picture, with `shapes` in pixels. Read only; AnyLabeling's files too.

Rectangles are boxes, and keep their corners where there are four; of polygons, circles and masks the box around them
is kept, and of polygons of four points their corners. Points and lines are no regions: left out and counted. The
picture that labelme puts into its files is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.formats._entries import (
    OUTLINES,
    Box,
    Entry,
    Report,
    Where,
    around,
    ellipse,
    keys_of,
    number,
    picture_size,
    points,
    shown,
)
from conceptlib.formats._files import OtherKind, documents, files_of, read_json

_NO_REGIONS = {"point": "points", "points": "points", "line": "lines", "linestrip": "lines"}


def read(source: Path, report: Report) -> Iterator[Entry]:
    """The JSON files of a folder and all below it, or one file. Raises ConceptlibError where there are none."""
    files = list(files_of(source, ".json", report))
    if not files and not report.rejects:
        raise ConceptlibError("no files of labelme (*.json)", where=source, hint="give the folder of them")
    for _, file, data in documents(files, _load, report):
        yield from _entry(data, Where(file), report)


def _load(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
        raise OtherKind("is no file of labelme: there is no list `shapes`")
    return data


def _entry(data: Mapping[str, Any], where: Where, report: Report) -> Iterator[Entry]:
    boxes = []
    for place, shape in enumerate(data["shapes"]):
        at = where.at(f": shapes[{place}]")
        try:
            if not isinstance(shape, dict):
                raise ValueError(f"must be an object, not {shown(shape)}")
            kind = shape.get("shape_type") or "polygon"  # the first versions had nothing else
            if isinstance(kind, str) and kind in _NO_REGIONS:
                report.skipped[_NO_REGIONS[kind]] += 1
            else:
                boxes.append(_box(shape, kind, at, report))
        except ValueError as error:
            report.object(at, str(error))
    stem = where.file.removesuffix(".json")
    name = data.get("imagePath")
    keys = [stem, *(keys_of(name) if isinstance(name, str) else ()), *keys_of(stem)]
    try:
        size = picture_size(data.get("imageWidth"), data.get("imageHeight"))
    except ValueError as error:
        report.picture(where, str(error), len(boxes))
        return
    yield Entry(tuple(dict.fromkeys(key for key in keys if key)), where, tuple(boxes), size)


def _box(shape: Mapping[str, Any], kind: Any, where: Where, report: Report) -> Box:
    """One shape. Raises ValueError."""
    label = shape.get("label")
    if not isinstance(label, str):
        raise ValueError(f"a label must be a text, not {shown(label)}")
    score = shape.get("score")
    sure = 1.0 if score is None else number(score)
    flat = points(shape.get("points"))
    if kind == "polygon" or (kind in ("rectangle", "rotation", "oriented_rectangle") and len(flat) == 8):
        quad = tuple(flat) if len(flat) == 8 else None
        if quad is None:
            report.reduce(OUTLINES)
        return Box(label, around(flat), where, sure, quad)
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"{shown(kind)} is no shape that is known")
    if len(flat) != 4:
        raise ValueError(f"a {kind} has two points, not {len(flat) // 2}")
    x1, y1, x2, y2 = flat
    if kind == "circle":  # its centre, and a point on it
        report.reduce(OUTLINES)
        radius = math.hypot(x2 - x1, y2 - y1)
        return Box(label, ellipse(x1, y1, radius, radius), where, sure)
    if kind == "mask":
        report.reduce(OUTLINES)
    return Box(label, (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), where, sure)
