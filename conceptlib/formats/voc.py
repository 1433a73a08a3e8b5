"""Pascal VOC: `Annotations/*.xml`, `JPEGImages/`, `ImageSets/Main/<split>.txt`; for torchvision and labelling tools.

VOC counts pixels from 1 and a box holds its last pixel: our `[x1, x2)` is `xmin = x1 + 1`, `xmax = x2`, both rounded to
whole pixels, as readers expect: at most half a pixel is lost. Boxes are cut to the picture, and those of which no pixel
is left are left out and counted. Readers open `JPEGImages/NAME.jpg`: pictures that are no JPEG are encoded as JPEG of
quality 95, and the export says how many. The split validation is `val.txt`.

Reading takes fractions too, XML files beside the pictures (Roboflow's `train/`, `valid/`, `test/`), and no XML with
entities, DTDs or references.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from conceptlib.concepts.images import encode
from conceptlib.errors import ConceptlibError
from conceptlib.formats._entries import Box, Entry, Report, Where, keys_of, number, picture_size, shown
from conceptlib.formats._files import files_of, read_xml
from conceptlib.formats._job import Job, Sample, inside, write_new

ANNOTATIONS = "needed"
QUALITY = 95
_SPLITS = {"validation": "val"}


def write(job: Job, folder: Path) -> list[str]:
    """Write a picture, an XML file and a line in the split's list a row."""
    converted = dropped = 0
    for split in job.splits:
        listed = folder / "ImageSets" / "Main" / f"{_SPLITS.get(split, split)}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        with listed.open("x", encoding="utf-8") as names:
            for sample in job.samples(split):
                converted += sample.suffix != ".jpg"
                write_new(folder / "JPEGImages" / f"{sample.name}.jpg", _jpeg(job, sample), sample)
                tree, boxes = _tree(sample)
                dropped += len(sample.found) - boxes
                buffer = io.BytesIO()
                tree.write(buffer, encoding="utf-8")
                write_new(folder / "Annotations" / f"{sample.name}.xml", buffer.getvalue() + b"\n", sample)
                names.write(f"{sample.name}\n")
    notes = [f"{converted} picture(s) were no JPEG and were encoded as such, quality {QUALITY}"] if converted else []
    return notes + ([f"{dropped} box(es) without a pixel in their picture were left out"] if dropped else [])


def _jpeg(job: Job, sample: Sample) -> bytes:
    return sample.data if sample.suffix == ".jpg" else encode(job.table.decode(sample.row), "jpeg", QUALITY)


def _tree(sample: Sample) -> tuple[ElementTree[Any], int]:
    """The XML of a picture, and the number of its boxes."""
    root = Element("annotation")
    width, height = sample.size
    texts = {"folder": "JPEGImages", "filename": f"{sample.name}.jpg"}
    for tag, text in texts.items():
        SubElement(root, tag).text = text
    size = SubElement(root, "size")
    for tag, value in {"width": width, "height": height, "depth": 3}.items():
        SubElement(size, tag).text = str(value)
    SubElement(root, "segmented").text = "0"
    found = inside(sample.found, sample.size)
    count = 0
    whole = np.rint(found.boxes).astype(int).tolist()
    shares = np.ones(len(found)) if found.visible is None else found.visible
    for box, label, visible in zip(whole, found.labels, shares, strict=True):
        if box[0] < box[2] and box[1] < box[3]:
            _add_object(root, label, box, truncated=bool(visible < 1))
            count += 1
    indent(root)
    return ElementTree(root), count


def _add_object(root: Element, label: str, box: list[int], *, truncated: bool) -> None:
    """box: whole pixels, xyxy."""
    one = SubElement(root, "object")
    texts = {"name": label, "pose": "Unspecified", "truncated": str(int(truncated)), "difficult": "0"}
    for tag, text in texts.items():
        SubElement(one, tag).text = text
    corners = SubElement(one, "bndbox")
    values = {"xmin": box[0] + 1, "ymin": box[1] + 1, "xmax": box[2], "ymax": box[3]}
    for tag, value in values.items():
        SubElement(corners, tag).text = str(value)


def read(source: Path, report: Report) -> Iterator[Entry]:
    """The XML files of a folder, those below `Annotations/` if there is such a folder, or one file.

    Raises ConceptlibError where there are none.
    """
    files = list(files_of(source, ".xml", report))
    files = [(path, file) for path, file in files if "Annotations" in file.split("/")[:-1]] or files
    if not files and not report.rejects:
        raise ConceptlibError("no VOC annotations (Annotations/*.xml)", where=source, hint="give the folder of them")
    for path, file in files:
        entry = _entry(path, Where(file), report)
        if entry is not None:
            yield entry


def _entry(path: Path, where: Where, report: Report) -> Entry | None:
    try:
        root, lines = read_xml(path)
        if root.tag != "annotation":
            raise ValueError(f"is no VOC annotation: <{shown(root.tag)[1:-1]}>")
    except ValueError as error:
        report.file(where.file, str(error))
        return None
    boxes = []
    for item in root.findall("object"):
        place = where.at(f":{lines[item]}")
        try:
            boxes.append(_box(item, place))
        except ValueError as error:
            report.object(place, str(error))
    name = (root.findtext("filename") or "").strip()
    folder, stem = where.file.rpartition("/")[0], where.file.rpartition("/")[2][: -len(".xml")]
    beside = [] if folder.endswith("Annotations") or not folder else [f"{folder}/{stem}"]
    try:
        size = _size(root)
    except ValueError as error:
        report.picture(where, str(error), len(boxes))
        return None
    return Entry((*beside, *(keys_of(name) if name else ()), *keys_of(stem)), where, tuple(boxes), size)


def _box(item: Element, where: Where) -> Box:
    """One object. Raises ValueError."""
    label = (item.findtext("name") or "").strip()
    if not label:
        raise ValueError("an object without a name")
    corners = item.find("bndbox")
    if corners is None:
        raise ValueError("an object without a bndbox")
    xmin, ymin, xmax, ymax = (_value(corners, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    if xmax < xmin or ymax < ymin:
        raise ValueError(f"a box of negative size: x {xmin:g} to {xmax:g}, y {ymin:g} to {ymax:g}")
    return Box(label, (xmin - 1, ymin - 1, xmax, ymax), where)


def _value(parent: Element, tag: str) -> float:
    text = parent.findtext(tag)
    if text is None:
        raise ValueError(f"<{parent.tag}> without <{tag}>")
    return number(text.strip())


def _size(root: Element) -> tuple[int, int] | None:
    """What the file says of the picture's size; labelling tools write 0 where they do not know. Raises ValueError."""
    size = root.find("size")
    return None if size is None else picture_size(_value(size, "width"), _value(size, "height"))
