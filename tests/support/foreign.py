"""Annotations as other tools write them, of pictures of `mixed`, and what an import must make of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

KINDS = ("good", "outside", "bad", "skipped", "polygon")
"""Objects: a box in the picture, one beside it, one of negative size, something that is no region (where the format
has such), and a triangle (where the format has polygons)."""

NAMES = ("two", "six", "five", "lost", "")
"""Pictures: three of the dataset's, one that it lacks, and one that is no good itself."""

SIZES = {"two": (640, 480), "six": (64, 64), "five": (1000, 40)}


@dataclass(frozen=True)
class Picture:
    name: str
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    named: int
    kept: int
    rejected_pictures: int
    rejected_objects: int
    rejects: int


def pictures(form: str) -> st.SearchStrategy[list[Picture]]:
    names = NAMES[:-1] if form == "yolo" else NAMES  # a file of YOLO says nothing of its picture
    objects = st.lists(st.sampled_from(KINDS), max_size=4).map(tuple)
    return st.lists(st.builds(Picture, st.sampled_from(names), objects), min_size=1, max_size=5)


def expected(form: str, wanted: Sequence[Picture]) -> Expected:
    named: set[str] = set()
    kept = pictures = objects = bad = 0
    for picture in wanted:
        count = {kind: picture.objects.count(kind) for kind in KINDS}
        bad += count["bad"]
        held = count["good"] + count["outside"] + count["polygon"]
        if form in ("voc", "yolo"):
            held += count["skipped"]
        if picture.name == "" or picture.name in named:
            pictures, objects = pictures + 1, objects + held
        elif picture.name != "lost":
            named.add(picture.name)
            kept += count["good"] + count["polygon"]
    return Expected(len(named), kept, pictures, bad + objects, bad + pictures)


def coco(folder: Path, wanted: Sequence[Picture]) -> Path:
    boxes = {"good": [10, 10, 20, 20], "outside": [5000, 10, 20, 20], "bad": [10, 10, -5, 20]}
    images: list[dict[str, Any]] = []
    annotations = []
    for place, picture in enumerate(wanted):
        images.append({"id": place, "file_name": f"{place}/{picture.name}.jpg"} if picture.name else {"id": place})
        for kind in picture.objects:
            row: dict[str, Any] = {"image_id": place, "category_id": 1}
            row["bbox"] = boxes.get(kind, boxes["good"])
            if kind == "polygon":
                row = row | {"bbox": [], "segmentation": [[10, 10, 30, 10, 10, 30]]}
            annotations.append(row | ({"iscrowd": 1} if kind == "skipped" else {}))
    data = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "good"}]}
    path = folder / "instances_all.json"
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def voc(folder: Path, wanted: Sequence[Picture]) -> Path:
    boxes = {"outside": (5000, 10, 5040, 40), "skipped": (5000, 10, 5040, 40), "bad": (40, 10, 10, 40)}
    folder.mkdir(exist_ok=True)
    for place, picture in enumerate(wanted):
        size = "" if picture.name else "<size><width>7</width><height>7</height></size>"
        items = []
        for kind in picture.objects:
            corners = zip(("xmin", "ymin", "xmax", "ymax"), boxes.get(kind, (10, 10, 40, 40)), strict=True)
            tags = "".join(f"<{tag}>{value}</{tag}>" for tag, value in corners)
            items.append(f"<object><name>good</name><bndbox>{tags}</bndbox></object>")
        text = f"<annotation><filename>{picture.name or 'four v1.5'}.jpg</filename>{size}{''.join(items)}</annotation>"
        (folder / f"{place}.xml").write_text(text)
    return folder


def yolo(folder: Path, wanted: Sequence[Picture]) -> Path:
    lines = {
        "good": "0 0.5 0.5 0.2 0.2",
        "outside": "0 3.5 0.5 0.2 0.2",
        "skipped": "0 3.5 0.5 0.2 0.2",
        "bad": "0 0.5 0.5 -0.2 0.2",
        "polygon": "0 0.1 0.1 0.3 0.1 0.1 0.3",
    }
    (folder / "labels").mkdir(parents=True)
    (folder / "classes.txt").write_text("good\n")
    for place, picture in enumerate(wanted):
        path = folder / "labels" / str(place) / f"{picture.name}.txt"
        path.parent.mkdir()
        path.write_text("".join(f"{lines[kind]}\n" for kind in picture.objects))
    return folder


def cvat(folder: Path, wanted: Sequence[Picture]) -> Path:
    corners = {"outside": (5000, 10, 5040, 40), "bad": (40, 10, 10, 40)}
    images = []
    for place, picture in enumerate(wanted):
        shapes = []
        for kind in picture.objects:
            if kind == "polygon":
                shapes.append('<polygon label="good" points="10,10;40,10;10,40"/>')
            elif kind == "skipped":
                shapes.append('<points label="good" points="10,10"/>')
            else:
                keys = zip(("xtl", "ytl", "xbr", "ybr"), corners.get(kind, (10, 10, 40, 40)), strict=True)
                attributes = " ".join(f'{key}="{value}"' for key, value in keys)
                shapes.append(f'<box label="good" {attributes}/>')
        name = f"{place}/{picture.name}.jpg" if picture.name else ""
        images.append(f'<image id="{place}" name="{name}">{"".join(shapes)}</image>')
    folder.mkdir(exist_ok=True)
    path = folder / "annotations.xml"
    path.write_text(f"<annotations><version>1.1</version>{''.join(images)}</annotations>")
    return path


def labelme(folder: Path, wanted: Sequence[Picture]) -> Path:
    for place, picture in enumerate(wanted):
        shapes: list[dict[str, Any]] = []
        for kind in picture.objects:
            shape: dict[str, Any] = {"label": "good", "shape_type": "rectangle", "points": [[40, 10], [10, 40]]}
            if kind == "polygon":
                shape |= {"shape_type": "polygon", "points": [[10, 10], [40, 10], [10, 40]]}
            elif kind == "skipped":
                shape |= {"shape_type": "point", "points": [[10, 10]]}
            elif kind == "outside":
                shape |= {"points": [[5000, 10], [5040, 40]]}
            elif kind == "bad":
                shape |= {"points": [[10, 10]]}
            shapes.append(shape)
        size: dict[str, Any] = {"imageWidth": None, "imageHeight": None}
        if not picture.name:
            size = {"imageWidth": "wide", "imageHeight": 10}
        path = folder / str(place) / f"{picture.name or 'x'}.json"
        path.parent.mkdir(parents=True)
        data = {"version": "5.5.0", "shapes": shapes, "imagePath": f"..\\{picture.name}.jpg", "imageData": None}
        path.write_text(json.dumps(data | size))
    return folder


def label_studio(folder: Path, wanted: Sequence[Picture]) -> Path:
    tasks = []
    for place, picture in enumerate(wanted):
        results: list[dict[str, Any]] = []
        for number, kind in enumerate(picture.objects):
            value: dict[str, Any] = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
            value["rectanglelabels"] = ["good"]
            result = {"id": f"{place}-{number}", "type": "rectanglelabels", "value": value}
            if kind == "polygon":
                value = {"points": [[10, 10], [40, 10], [10, 40]], "polygonlabels": ["good"]}
                result = {"id": f"{place}-{number}", "type": "polygonlabels", "value": value}
            elif kind == "skipped":
                result = {"id": f"{place}-{number}", "type": "choices", "value": {"choices": ["blurred"]}}
            elif kind == "outside":
                value["x"] = 500
            elif kind == "bad":
                value["width"] = -5
            results.append(result)
        image = f"/data/upload/1/0123abcd-{picture.name}.jpg" if picture.name else "a text"
        tasks.append({"id": place, "data": {"image": image}, "annotations": [{"id": 1, "result": results}]})
    folder.mkdir(exist_ok=True)
    path = folder / "project.json"
    path.write_text(json.dumps(tasks))
    return path


WRITERS: dict[str, Callable[[Path, Sequence[Picture]], Path]] = {
    "coco": coco,
    "cvat": cvat,
    "label-studio": label_studio,
    "labelme": labelme,
    "voc": voc,
    "yolo": yolo,
}
