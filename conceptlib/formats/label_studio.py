"""Label Studio: the JSON export of a project, a list of tasks with annotations; JSON-MIN too. Read only.

Coordinates are percent of the picture. Rectangles are boxes, those that are turned keep their corners; of polygons and
ellipses the box around them is kept, and of polygons of four points their corners. Brushes, points, texts, choices and
relations are no regions with a place: left out and counted. What was skipped in Label Studio counts as not annotated;
where several people annotated a task, the one that is marked as ground truth counts, and else it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from conceptlib.concepts.images import SUFFIXES
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
    sized,
    turned,
)
from conceptlib.formats._files import OtherKind, documents, files_of, read_json

_REGIONS = ("rectangle", "polygon", "ellipse")
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?P<name>.+)")


def read(source: Path, report: Report) -> Iterator[Entry]:
    """The tasks of a JSON file, or of all in a folder. Raises ConceptlibError where there are none."""
    files = list(files_of(source, ".json", report))
    if not files and not report.rejects:
        raise ConceptlibError("no export of Label Studio (*.json)", where=source, hint="export the project as JSON")
    for _, file, data in documents(files, _load, report):
        for place, task in enumerate(data if isinstance(data, list) else [data]):
            yield from _entry(task, Where(file, f": task[{place}]" if isinstance(data, list) else ""), report)


def _load(path: Path) -> Any:
    data = read_json(path)
    if not isinstance(data, list) and not (
        isinstance(data, dict) and {"annotations", "data", "result"} & data.keys() and "categories" not in data
    ):
        raise OtherKind("is no export of Label Studio: there is no list of tasks")
    return data


def _entry(task: Any, where: Where, report: Report) -> Iterator[Entry]:
    boxes: list[Box] = []
    try:
        if not isinstance(task, dict):
            raise ValueError(f"a task must be an object, not {shown(task)}")
        if isinstance(task.get("task"), dict):  # a file an annotation, as storages have them
            task = {**task["task"], "annotations": [task]}
        results, size = _results(task, report)
        if results is None:
            return
        boxes = list(_boxes(results, where, report))
        keys = _keys(task)
        if not keys:
            raise ValueError("names no picture")
        yield Entry(keys, where, tuple(boxes), picture_size(*size), shares=True)
    except ValueError as error:
        report.picture(where, str(error), len(boxes))


def _results(task: Mapping[str, Any], report: Report) -> tuple[list[Any] | None, tuple[Any, Any]]:
    """What the annotation that counts consists of (None: there is none), and the picture's size. Raises ValueError."""
    made = task.get("annotations", task.get("completions"))  # as versions before 1.0 called them
    if made is None and "data" not in task:
        results = [item for value in task.values() if isinstance(value, list) for item in value if _is_region(item)]
    else:
        if not isinstance(made or [], list) or not all(isinstance(one, dict) for one in made or ()):
            raise ValueError("`annotations` must be a list of objects")
        given = [one for one in made or () if not one.get("was_cancelled")]
        given = [one for one in given if one.get("ground_truth")] or given
        if not given:
            report.unannotated += 1
            return None, (None, None)
        if len(given) > 1:
            raise ValueError(f"{len(given)} annotations of one task: which counts? mark one as ground truth")
        results = given[0].get("result")
        if not isinstance(results, list):
            raise ValueError("`result` must be a list")
    sizes = {(_get(item, "original_width"), _get(item, "original_height")) for item in results if _has_size(item)}
    if len(sizes) > 1:
        raise ValueError("regions of pictures of different sizes in one task")
    return results, next(iter(sizes), (None, None))


def _get(item: Any, key: str) -> Any:
    value = item.get(key) if isinstance(item, dict) else None
    return value if isinstance(value, int | float | str) else None


def _has_size(item: Any) -> bool:
    return _get(item, "original_width") is not None and _get(item, "original_height") is not None


def _is_region(item: Any) -> bool:
    return isinstance(item, dict) and ("original_width" in item or "points" in item or {"x", "y"} <= item.keys())


def _boxes(results: Sequence[Any], where: Where, report: Report) -> Iterator[Box]:
    """The regions. Where geometry and label are two results of one id (templates for texts), they are put together."""
    names: dict[str, str] = {}
    for item in results:
        if isinstance(item, dict) and isinstance(item.get("id"), str) and (name := _label(_value(item))):
            names.setdefault(item["id"], name)
    done: set[str] = set()
    for place, item in enumerate(results):
        at = where.at(f": result[{place}]")
        try:
            if not isinstance(item, dict) or not isinstance(_value(item), dict):
                raise ValueError(f"must be an object with a value, not {shown(item)}")
            key = item["id"] if isinstance(item.get("id"), str) else ""
            if key in done:
                continue  # another part of it: its label, its text
            kind = _kind(item, _value(item))
            if kind is not None:
                done.update([key] if key else [])
                yield _box(kind, item, _label(_value(item)) or names.get(key, ""), at, report)
            elif key not in names or _label(_value(item)):
                report.skipped["no regions with a place"] += 1
        except ValueError as error:
            report.object(at, str(error))


def _value(item: Mapping[str, Any]) -> Any:
    """The region itself: JSON-MIN has it without a `value` around it."""
    return item.get("value", item)


def _kind(item: Mapping[str, Any], value: Mapping[str, Any]) -> str | None:
    """`rectangle`, `polygon` or `ellipse`; None for what is none of these."""
    said = item.get("type")
    if isinstance(said, str) and said.removesuffix("labels") in _REGIONS:
        return said.removesuffix("labels")
    if said is not None and said != "labels":
        return None
    if "points" in value:
        return "polygon"
    if "radiusX" in value:
        return "ellipse"
    return "rectangle" if {"x", "y", "width", "height"} <= value.keys() else None


def _label(value: Any) -> str:
    """The only label of a region; "" where there is none."""
    if not isinstance(value, dict):
        return ""
    lists = [one for key, one in value.items() if isinstance(key, str) and key.endswith("labels")]
    labels = [name for one in lists if isinstance(one, list) for name in one if isinstance(name, str)]
    return labels[0] if len(set(labels)) == 1 else ""


def _box(kind: str, item: Mapping[str, Any], label: str, where: Where, report: Report) -> Box:
    """One region, in shares of the picture. Raises ValueError."""
    value = _value(item)
    if not label:
        raise ValueError("a region without a label, or with several")
    if item.get("image_rotation"):
        raise ValueError(f"the picture was turned by {shown(item['image_rotation'])} degrees in Label Studio")
    sure = number(item["score"]) if item.get("score") is not None else 1.0
    if kind == "polygon":
        flat = [part / 100 for part in points(value.get("points"))]
        if len(flat) != 8:
            report.reduce(OUTLINES)
        return Box(label, around(flat), where, sure, tuple(flat) if len(flat) == 8 else None)
    # An angle is one of pixels, and percent of width and height are not the same length.
    angle = number(value.get("rotation") or 0)
    size = picture_size(_get(item, "original_width"), _get(item, "original_height"))
    if angle and size is None:
        raise ValueError("a region that is turned, in a picture whose size is not said")
    across, down = (one / 100 for one in size or (1, 1))
    x, y = number(value.get("x")) * across, number(value.get("y")) * down
    quad: tuple[float, ...] | None = None
    if kind == "ellipse":
        report.reduce(OUTLINES)
        xyxy = ellipse(x, y, number(value.get("radiusX")) * across, number(value.get("radiusY")) * down, angle)
    else:
        xyxy = sized(x, y, number(value.get("width")) * across, number(value.get("height")) * down)
        if angle:
            xyxy, quad = turned(xyxy, angle, (x, y))  # about its upper left corner
    whole = tuple(part / side for part, side in zip(quad or xyxy, (size or (1, 1)) * 4, strict=False))
    return Box(label, around(whole) if quad else (whole[0], whole[1], whole[2], whole[3]), where, sure, quad and whole)


def _keys(task: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the picture: of the upload, and of what the task's data points to."""
    inner = task.get("data")
    data = inner if isinstance(inner, dict) else task
    texts = [data.get("image"), data.get("img"), data.get("ocr"), *data.values()]
    names = [_path(text) for text in texts if isinstance(text, str)]
    named = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES][:1]
    upload = task.get("file_upload")
    keys = [key for name in [*named, *([upload] if isinstance(upload, str) else [])] for key in keys_of(name)]
    keys += [match["name"] for key in list(keys) if (match := _UPLOAD.fullmatch(key))]
    return tuple(dict.fromkeys(keys))


def _path(text: str) -> str:
    """The path in an address: `/data/local-files/?d=cats/a.jpg` is `cats/a.jpg`, `s3://bucket/a.jpg` `bucket/a.jpg`."""
    try:
        parts = urlsplit(text)
        local = parse_qs(parts.query).get("d")
        return local[0] if local else unquote(f"{parts.netloc}{parts.path}").lstrip("/")
    except ValueError:
        return text
