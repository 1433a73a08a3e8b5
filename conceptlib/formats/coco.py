"""COCO ground truth: `annotations/instances_<split>.json` and `images/<split>/`; for pycocotools, detectron2, FiftyOne.

Boxes are `[x, y, width, height]` in pixels, not clipped. Where corners are known they are the segmentation, and `area`
is that of the polygon; else the segmentation is empty and `area` is the box's. Image ids are the pictures' places in
the whole dataset and category ids the concepts' places, both from 1: they are the same for every split and for
`coco-results`. Pictures also carry `image_id` and `sha256`, by which an import finds them again.

Reading takes any such file: crowd regions are left out and counted, a missing box is made from the segmentation.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from conceptlib.errors import ConceptlibError
from conceptlib.formats._entries import Box, Entry, Report, around, keys_of, number, sized
from conceptlib.formats._job import Job, Sample, short, xywh

ANNOTATIONS = "needed"


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
    """The pictures of a JSON file, or of all in a folder (`annotations/*.json`, else `*.json`).

    Memory: the file's. Raises ConceptlibError where there is no such file.
    """
    files = [source]
    if source.is_dir():
        files = sorted(source.glob("annotations/*.json")) or sorted(source.glob("*.json"))
    if not files:
        raise ConceptlibError("no COCO annotations (*.json)", where=source, hint="give the JSON file itself")
    for path in files:
        data = _load(path)
        if {"images", "annotations", "categories"} <= data.keys():
            yield from _entries(path.name, data, report)
        elif path == source:
            raise ConceptlibError(
                "no COCO ground truth: there must be `images`, `annotations` and `categories`", where=path
            )


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ConceptlibError(f"not valid JSON: {error}", where=path) from error
    if not isinstance(data, dict):
        raise ConceptlibError(
            "a list is no COCO ground truth", where=path, hint="results have no pictures; give the instances file"
        )
    for key in ("images", "annotations", "categories"):
        rows = data.get(key, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ConceptlibError(f"`{key}` must be a list of objects", where=path)
        ids = [row.get("id") for row in rows]
        if key != "annotations" and not all(isinstance(one, int | str) for one in ids):
            raise ConceptlibError(f"every entry of `{key}` must have an id", where=path)
        if key != "annotations" and len(set(ids)) < len(ids):
            raise ConceptlibError(f"an id comes twice in `{key}`", where=path, hint="ids must be unique")
    return data


def _entries(file: str, data: dict[str, Any], report: Report) -> Iterator[Entry]:
    names = {row.get("id"): str(row["name"]) for row in data["categories"] if row.get("name")}
    known = {row.get("id") for row in data["images"]}
    boxes: dict[Any, list[Box]] = {}
    for place, row in enumerate(data["annotations"]):
        where = f"{file}: annotations[{place}]" + (f" (id {row['id']})" if "id" in row else "")
        try:
            if row.get("image_id") not in known:
                raise ValueError(f"there is no image {row.get('image_id')!r}")
            if row.get("category_id") not in names:
                raise ValueError(f"there is no category {row.get('category_id')!r}")
            if row.get("iscrowd"):
                report.skipped["crowd regions"] += 1
                continue
            xyxy, quad = _geometry(row)
            score = number(row.get("score", 1.0))
            boxes.setdefault(row["image_id"], []).append(Box(names[row["category_id"]], xyxy, where, score, quad))
        except (ValueError, TypeError, OverflowError) as error:
            report.problem(where, str(error))
    for place, row in enumerate(data["images"]):
        where = f"{file}: images[{place}]"
        keys = [row[key] for key in ("image_id", "sha256") if isinstance(row.get(key), str)]
        if not keys and not isinstance(row.get("file_name"), str):
            report.problem(where, "has no file_name")
            continue
        keys += keys_of(row["file_name"]) if isinstance(row.get("file_name"), str) else []
        width, height = row.get("width"), row.get("height")
        size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        yield Entry(tuple(keys), where, tuple(boxes.get(row.get("id"), ())), size)


def _geometry(row: Mapping[str, Any]) -> tuple[tuple[float, float, float, float], tuple[float, ...] | None]:
    """Box and, where the segmentation is one quadrilateral, its corners. Raises ValueError."""
    polygons = row.get("segmentation")
    lines: list[list[float]] = []
    if isinstance(polygons, list):
        if not all(isinstance(points, list) for points in polygons):
            raise ValueError("the segmentation must be a list of polygons")
        lines = [[number(value) for value in points] for points in polygons]
    quad = tuple(lines[0]) if len(lines) == 1 and len(lines[0]) == 8 else None
    bbox = row.get("bbox")
    if bbox:
        if not isinstance(bbox, list) or len(bbox) != 4:
            raise ValueError(f"bbox must be [x, y, width, height], not {bbox!r}")
        return sized(*(number(value) for value in bbox)), quad
    if isinstance(polygons, dict):
        return sized(*_mask_box(polygons)), None
    if not lines:
        raise ValueError("has neither a bbox nor a segmentation")
    parts = np.array([around(points) for points in lines])
    low, high = parts[:, :2].min(axis=0), parts[:, 2:].max(axis=0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1])), quad


def _mask_box(mask: Mapping[str, Any]) -> list[float]:
    """`[x, y, width, height]` of a run-length encoded mask, compressed or not. Raises ValueError."""
    from pycocotools import mask as masks

    counts, size = mask.get("counts"), mask.get("size")
    whole = isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    if not whole or not isinstance(counts, str | list):
        raise ValueError("a mask must have `size` and `counts`")
    height, width = size  # type: ignore[misc]
    if isinstance(counts, list):
        if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) > height * width:
            raise ValueError("the mask's counts do not fit its size")
        return [float(value) for value in masks.toBbox(masks.frPyObjects(dict(mask), height, width))]
    return [float(value) for value in masks.toBbox({"size": size, "counts": counts.encode("ascii")})]
