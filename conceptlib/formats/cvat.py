"""CVAT for images 1.1: `annotations.xml`, pictures with boxes, polygons and other shapes, pixels from 0. Read only.

Boxes that are turned keep their corners; of polygons, ellipses and masks the box around them is kept, and of polygons
of four points their corners. Points, lines, skeletons, cuboids and tags are no regions: left out and counted. Tracks
(CVAT for video) name frames, not pictures, and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

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
    shown,
    sized,
    turned,
)
from conceptlib.formats._files import files_of, read_xml

_LIMIT = 1 << 30
_NO_REGIONS = {"points": "points", "polyline": "lines", "skeleton": "skeletons", "cuboid": "cuboids", "tag": "tags"}
_SHAPES = ("box", "polygon", "ellipse", "mask")


def read(source: Path, report: Report) -> Iterator[Entry]:
    """The pictures of an XML file, or of all in a folder. Memory: the file's, ten times.

    Raises ConceptlibError where there is no such file.
    """
    files = list(files_of(source, ".xml", report))
    if not files and not report.rejects:
        raise ConceptlibError("no annotations of CVAT (*.xml)", where=source, hint="give the file annotations.xml")
    for path, file in files:
        try:
            root, lines = read_xml(path, _LIMIT)
            if root.tag != "annotations":
                raise ValueError(f"is no file of CVAT for images: <{shown(root.tag)[1:-1]}>")
        except ValueError as error:
            report.file(file, str(error))
            continue
        for track in root.iter("track"):
            report.object(Where(file, f":{lines[track]}"), "a track: its frames have no names; export for images 1.1")
        for image in root.iter("image"):
            yield from _entry(image, file, lines, report)


def _entry(image: Element, file: str, lines: dict[Element, int], report: Report) -> Iterator[Entry]:
    where = Where(file, f":{lines[image]}")
    boxes = []
    for shape in image:
        place = Where(file, f":{lines[shape]}")
        if shape.tag in _NO_REGIONS:
            report.skipped[_NO_REGIONS[shape.tag]] += 1
            continue
        try:
            boxes.append(_box(shape, place, report))
        except ValueError as error:
            report.object(place, str(error))
    try:
        name = (image.get("name") or "").strip()
        if not name:
            raise ValueError("has no name")
        size = picture_size(image.get("width"), image.get("height"))
        yield Entry(tuple(keys_of(name)), where, tuple(boxes), size)
    except ValueError as error:
        report.picture(where, str(error), len(boxes))


def _box(shape: Element, where: Where, report: Report) -> Box:
    """One shape. Raises ValueError."""
    if shape.tag not in _SHAPES:
        raise ValueError(f"<{shown(shape.tag)[1:-1]}> is no shape that is known")
    label = shape.get("label") or ""
    if shape.tag == "polygon":
        corners = _points(shape.get("points") or "")
        if len(corners) != 8:
            report.reduce(OUTLINES)
        return Box(label, around(corners), where, quad=tuple(corners) if len(corners) == 8 else None)
    angle = number(shape.get("rotation") or 0)
    if shape.tag == "box":
        x1, y1, x2, y2 = (_value(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        box = sized(x1, y1, x2 - x1, y2 - y1)
        if not angle:
            return Box(label, box, where)
        xyxy, quad = turned(box, angle, ((x1 + x2) / 2, (y1 + y2) / 2))
        return Box(label, xyxy, where, quad=quad)
    report.reduce(OUTLINES)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (_value(shape, key) for key in ("cx", "cy", "rx", "ry"))
        return Box(label, ellipse(cx, cy, rx, ry, angle), where)
    left, top, width, height = (_value(shape, key) for key in ("left", "top", "width", "height"))
    return Box(label, sized(left, top, width, height), where)


def _value(shape: Element, key: str) -> float:
    text = shape.get(key)
    if text is None:
        raise ValueError(f"<{shape.tag}> without {key}")
    return number(text)


def _points(text: str) -> list[float]:
    """`x1,y1;x2,y2;...` as numbers. Raises ValueError."""
    pairs = [point.split(",") for point in text.split(";")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"points must be x,y;x,y;..., not {shown(text)}")
    return [number(value) for pair in pairs for value in pair]
