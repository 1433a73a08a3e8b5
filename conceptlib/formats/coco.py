"""COCO ground truth: `annotations/instances_<split>.json` and `images/<split>/`; for pycocotools, detectron2, FiftyOne.

Boxes are `[x, y, width, height]` in pixels, not clipped. Where corners are known they are the segmentation, and `area`
is that of the polygon; else the segmentation is empty and `area` is the box's. Image ids are the pictures' places in
the whole dataset and category ids the concepts' places, both from 1: they are the same for every split and for
`coco-results`. Pictures also carry `image_id` and `sha256`, by which an import finds them again.

Reading takes any such file, and the folders that such files come in: `annotations/*.json`, `*.json`, a folder for every
split with its own (Roboflow's `train/_annotations.coco.json`), COCO 2017's, of which `instances_*.json` hold the boxes
and all others are left out with a note. Crowd regions are left out and counted, a missing box is made from the
segmentation.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from conceptlib.errors import ConceptlibError
from conceptlib.formats._entries import (
    OUTLINES,
    Box,
    Entry,
    Report,
    Where,
    around,
    keys_of,
    number,
    numbers,
    picture_size,
    shown,
    sized,
)
from conceptlib.formats._files import OtherKind, called, documents, listed, read_json
from conceptlib.formats._job import Job, Sample, short, xywh

ANNOTATIONS = "needed"

_PARTS = ("images", "annotations", "categories")


class JsonList:
    """Writes the items of a JSON list one by one, so that none has to be kept."""

    def __init__(self, file: IO[str]) -> None:
        self.file, self.count = file, 0

    def add(self, item: Mapping[str, Any]) -> None:
        self.file.write(f"{',' if self.count else ''}\n{json.dumps(item, ensure_ascii=False)}")
        self.count += 1


def write(job: Job, folder: Path) -> list[str]:
    """Write the pictures and a JSON file a split. The annotations wait in a temporary file while images are listed."""
    categories = [{"id": place, "name": name} for place, name in enumerate(job.categories, 1)]
    about = {"description": f"{job.dataset.ref}, exported by conceptlib"}
    head = json.dumps({"info": about, "licenses": [], "categories": categories}, ensure_ascii=False)
    (folder / "annotations").mkdir()
    done = 0
    for split in job.splits:
        path = folder / "annotations" / f"instances_{split}.json"
        with path.open("x", encoding="utf-8") as file, tempfile.TemporaryFile("w+", encoding="utf-8") as later:
            file.write(head[:-1] + ', "images": [')
            images, annotations = JsonList(file), JsonList(later)
            for sample in job.samples(split):
                job.save_picture(sample, folder / "images" / split)
                images.add(_image(sample))
                for row in _annotations(job, sample):
                    done += 1
                    annotations.add({"id": done, **row})
            file.write('\n], "annotations": [')
            later.seek(0)
            shutil.copyfileobj(later, file)
            file.write("\n]}\n")
    return []


def _image(sample: Sample) -> dict[str, Any]:
    row = sample.row
    width, height = sample.size
    names = {"image_id": row["image_id"], "sha256": row["image_sha256"]}
    return {"id": sample.number, "file_name": sample.file_name, "width": width, "height": height} | names


def _annotations(job: Job, sample: Sample) -> Iterator[dict[str, Any]]:
    found = sample.found
    for place, (box, label) in enumerate(zip(xywh(found), found.labels, strict=True)):
        quad = None if found.quads is None else found.quads[place]
        yield {
            "image_id": sample.number,
            "category_id": job.category(label) + 1,
            "bbox": box,
            "area": box[2] * box[3] if quad is None else _area(quad),
            "segmentation": [] if quad is None else [short(quad)],
            "iscrowd": 0,
        }


def _area(points: NDArray[np.float32]) -> float:
    """Square pixels inside a polygon (n, 2), by the shoelace formula."""
    x, y = points.astype(np.float64).T
    return float(round(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2, 3))


def read(source: Path, report: Report) -> Iterator[Entry]:
    """The pictures of a JSON file, or of all ground truth in a folder.

    Memory: the file's. Raises ConceptlibError where there is no such file.
    """
    files = _ground_truth(source, report) if source.is_dir() else [source]
    if not files and not report.rejects:
        raise ConceptlibError("no COCO annotations (*.json)", where=source, hint="give the JSON file itself")
    for path, file, data in documents([(path, called(path, source)) for path in files], _load, report):
        # Splits may call different pictures by one name: the folder's goes in front, unless it is not the pictures'.
        inside = path.parent not in (source, source / "annotations", source.parent)
        yield from _entries(file, path.parent.relative_to(source).as_posix() if inside else "", data, report)


def _ground_truth(source: Path, report: Report) -> list[Path]:
    """The JSON files of a folder that hold boxes: Roboflow's, else those nearest to its top, and of these
    `instances_*.json` alone where there are some; what is passed over is noted."""
    found = listed(source, ".json", report)
    if roboflow := [path for path in found if path.name == "_annotations.coco.json"]:
        return roboflow
    places = (source / "annotations", source)
    files = next((some for place in places if (some := [path for path in found if path.parent == place])), found)
    instances = [path for path in files if path.name.startswith("instances_")]
    if others := [path.name for path in files if path not in instances] if instances else []:
        report.notes.append(f"left out beside instances_*.json, which hold the boxes: {', '.join(others)}")
    return instances or files


def _load(path: Path) -> dict[str, Any]:
    """A file of ground truth. Raises ValueError, OtherKind."""
    data = read_json(path)
    if isinstance(data, list):
        raise OtherKind("a list is no COCO ground truth; results have no pictures: give the instances file")
    if not isinstance(data, dict) or not set(_PARTS) <= data.keys():
        raise OtherKind(f"no COCO ground truth: there must be `images`, `annotations` and `categories`{_is(data)}")
    for key in _PARTS:
        if not isinstance(data[key], list):
            raise ValueError(f"`{key}` must be a list of objects")
    return data


def _is(data: Any) -> str:
    """What a file that is no ground truth seems to be instead."""
    rows = data.get("annotations") if isinstance(data, dict) else None
    first = rows[0] if isinstance(rows, list) and rows else None
    return "; these are captions, not boxes" if isinstance(first, dict) and "caption" in first else ""


def _entries(file: str, folder: str, data: Mapping[str, Any], report: Report) -> Iterator[Entry]:
    names, faults = _names(data["categories"])
    ids = Counter(_id(row) for row in data["images"] if _id(row) is not None)
    boxes: dict[Any, list[Box]] = {}
    for place, row in enumerate(data["annotations"]):
        where = Where(file, f": annotations[{place}]")
        try:
            if not isinstance(row, dict):
                raise ValueError(f"must be an object, not {shown(row)}")
            where = where.at(f" (id {shown(row['id'])})" if "id" in row else "")
            image = _known(row, "image_id", ids, "image")
            category = _category(row, names, faults)
            if row.get("iscrowd"):
                report.skipped["crowd regions"] += 1
                continue
            xyxy, quad = _geometry(row)
            if not row.get("bbox") and quad is None:
                report.reduce(OUTLINES)
            boxes.setdefault(image, []).append(Box(category, xyxy, where, number(row.get("score", 1.0)), quad))
        except ValueError as error:
            report.object(where, str(error))
    for place, row in enumerate(data["images"]):
        where = Where(file, f": images[{place}]")
        image = _id(row)
        objects = tuple(boxes.get(image, ()))
        try:
            if image is None:
                raise ValueError("must have an id, a number or a text")
            if ids[image] > 1:
                raise ValueError(f"its id {shown(image)} comes twice; ids must be unique")
            yield Entry(_keys(row, folder), where, objects, picture_size(row.get("width"), row.get("height")))
        except ValueError as error:
            report.picture(where, str(error), len(objects))
            boxes.pop(image, None)  # those of an id that comes twice are counted once


def _id(row: Any) -> Any:
    """An entry's id; None where it has none that could be one."""
    value = row.get("id") if isinstance(row, dict) else None
    return value if isinstance(value, int | float | str) and value == value else None


def _known(row: Mapping[str, Any], key: str, known: Mapping[Any, Any], what: str) -> Any:
    value = row.get(key)
    if not isinstance(value, int | float | str) or value not in known:
        raise ValueError(f"there is no {what} {shown(value)}")
    return value


def _names(categories: Sequence[Any]) -> tuple[dict[Any, str], dict[Any, str]]:
    """Category id to name, and to what is wrong with those that cannot be used."""
    names: dict[Any, str] = {}
    faults: dict[Any, str] = {}
    for row in categories:
        key = _id(row)
        if key is None:
            continue  # no object can mean it
        name = row.get("name")
        name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
        if not isinstance(name, str) or not name.strip():
            faults[key] = f"must have a name, a text, not {shown(name)}"
        elif names.setdefault(key, name) != name:
            faults[key] = f"comes twice: {shown(names[key])} and {shown(name)}"
    return names, faults


def _category(row: Mapping[str, Any], names: Mapping[Any, str], faults: Mapping[Any, str]) -> str:
    key = row.get("category_id")
    if isinstance(key, int | float | str) and key in faults:
        raise ValueError(f"category {shown(key)} {faults[key]}")
    return names[_known(row, "category_id", names, "category")]


def _keys(row: Mapping[str, Any], folder: str) -> tuple[str, ...]:
    """Names of a picture, the surest first. Raises ValueError where there are none."""
    keys = [row[key] for key in ("image_id", "sha256") if isinstance(row.get(key), str)]
    name = row.get("file_name")
    if isinstance(name, str) and name:
        keys += keys_of(f"{folder}/{name}")[:2] if folder else []
        keys += keys_of(name)
    extra = row.get("extra")  # Roboflow's: what a picture was called before
    if isinstance(extra, dict) and isinstance(extra.get("name"), str):
        keys += keys_of(extra["name"])
    if not keys:
        raise ValueError("has no file_name")
    return tuple(keys)


def _geometry(row: Mapping[str, Any]) -> tuple[tuple[float, float, float, float], tuple[float, ...] | None]:
    """Box and, where the segmentation is one quadrilateral, its corners. Raises ValueError."""
    polygons = row.get("segmentation")
    lines = _polygons(polygons) if isinstance(polygons, list) else []
    quad = tuple(lines[0]) if len(lines) == 1 and len(lines[0]) == 8 else None
    bbox = row.get("bbox")
    if bbox:
        x, y, width, height = numbers(bbox, 4, "bbox must be [x, y, width, height]")
        return sized(x, y, width, height), quad
    if isinstance(polygons, dict):
        return sized(*_mask_box(polygons)), None
    if not lines:
        raise ValueError("has neither a bbox nor a segmentation")
    parts = np.array([around(points) for points in lines])
    low, high = parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1])), quad


def _polygons(value: list[Any]) -> list[list[float]]:
    """A list of polygons `[x1, y1, x2, y2, ...]`. Some tools write a single polygon without the outer list, or points
    as pairs: there is no other way to read that. Raises ValueError."""
    if value and not any(isinstance(item, list) for item in value):
        value = [value]
    if not all(isinstance(item, list) for item in value):
        raise ValueError("the segmentation must be a list of polygons")
    if len(value) > 2 and all(len(item) == 2 for item in value):
        value = [[part for item in value for part in item]]
    value = [[part for pair in item for part in pair] if _is_pairs(item) else item for item in value]
    return [[number(part) for part in item] for item in value]


def _is_pairs(item: list[Any]) -> bool:
    return bool(item) and all(isinstance(pair, list) and len(pair) == 2 for pair in item)


def _mask_box(mask: Mapping[str, Any]) -> list[float]:
    """`[x, y, width, height]` of a run-length encoded mask, compressed or not. Raises ValueError."""
    from pycocotools import mask as masks

    counts, size = mask.get("counts"), mask.get("size")
    whole = isinstance(size, list) and len(size) == 2 and all(type(side) is int and 0 < side < 1 << 20 for side in size)
    if not whole or not isinstance(counts, str | list):
        raise ValueError("a mask must have `size` and `counts`")
    height, width = size  # type: ignore[misc]
    if isinstance(counts, str):
        counts = _runs(counts)
    if not all(type(run) is int and run >= 0 for run in counts) or sum(counts) > height * width:
        raise ValueError("the mask's counts do not fit its size")
    return [float(value) for value in masks.toBbox(masks.frPyObjects({"size": size, "counts": counts}, height, width))]


def _runs(text: str) -> list[int]:
    """The runs of a compressed mask, as COCO's maskApi packs them: 5 bits a character from 48 on, a sixth says that
    there are more, and from the third run on the difference to the run before the last is written.

    Read here, not by pycocotools, whose C code trusts the text. Raises ValueError.
    """
    runs: list[int] = []
    value = bits = 0
    for char in text:
        code = ord(char) - 48
        if not 0 <= code < 64 or bits > 30:
            raise ValueError("the mask's counts are no run lengths")
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            if code & 16:
                value -= 1 << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError("the mask's counts end in the middle of a number")
    return runs
