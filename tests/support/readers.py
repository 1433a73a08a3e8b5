"""Exports as their own ecosystems read them: file name without ending, to the boxes with their labels."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Boxes = list[tuple[str, tuple[float, ...]]]
"""Label and xyxy in pixels."""


def coco(folder: Path) -> dict[str, Boxes]:
    """By pycocotools."""
    found: dict[str, Boxes] = {}
    for path in sorted((folder / "annotations").glob("*.json")):
        known = load_coco(path)
        names = {row["id"]: row["name"] for row in known.loadCats(known.getCatIds())}
        for image in known.loadImgs(known.getImgIds()):
            rows = known.loadAnns(known.getAnnIds(imgIds=[image["id"]]))
            found[Path(image["file_name"]).stem] = [(names[r["category_id"]], _from_xywh(r["bbox"])) for r in rows]
    return found


def load_coco(path: Path) -> Any:
    """pycocotools' index of a file, without its prints."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def load_results(known: Any, path: Path) -> Any:
    """Results against their ground truth."""
    with contextlib.redirect_stdout(io.StringIO()):
        return known.loadRes(str(path))


def yolo(folder: Path) -> dict[str, Boxes]:
    """By ultralytics' dataset class."""
    from conceptlib.detectors.adapters._ultralytics import prepare

    prepare()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    found: dict[str, Boxes] = {}
    for split in sorted({str(data[key]) for key in ("train", "val", "test") if data.get(key)}):
        pictures = YOLODataset(img_path=split, data=data, task="detect", augment=False, imgsz=64)
        for label in pictures.labels:
            height, width = label["shape"]
            boxes: Boxes = []
            for kind, (x, y, w, h) in zip(label["cls"].ravel(), label["bboxes"].astype(float), strict=True):
                corners = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
                boxes.append((data["names"][int(kind)], corners))
            found[Path(label["im_file"]).stem] = boxes
    return found


def voc(folder: Path) -> dict[str, Boxes]:
    """By torchvision, which wants the folder of the challenge around it and knows train, val and (of 2007) test."""
    from torchvision.datasets import VOCDetection

    found: dict[str, Boxes] = {}
    with tempfile.TemporaryDirectory() as root:
        devkit = Path(root, "VOCdevkit")
        devkit.mkdir()
        (devkit / "VOC2007").symlink_to(folder)
        for listed in sorted((folder / "ImageSets" / "Main").glob("*.txt")):
            pictures = VOCDetection(root, year="2007", image_set=listed.stem)
            for index, (image, target) in enumerate(pictures):
                size = target["annotation"]["size"]
                assert image.size == (int(size["width"]), int(size["height"]))
                found[Path(pictures.images[index]).stem] = [
                    (one["name"], _from_voc(one["bndbox"])) for one in target["annotation"]["object"]
                ]
    return found


def hub(folders: list[Path], cache: Path) -> dict[str, Boxes]:
    """By `datasets`: image folders and Parquet."""
    found: dict[str, Boxes] = {}
    for rows in (rows for folder in folders for rows in load_hub(folder, cache).values()):
        category = rows.features["objects"]["category"].feature
        for row in rows:
            assert row["image"].size == (row["width"], row["height"])
            labels = row["objects"]["category"]
            labels = [category.int2str(one) if hasattr(category, "int2str") else one for one in labels]
            boxes = [_from_xywh(box) for box in row["objects"]["bbox"]]
            found[row["image_id"]] = list(zip(labels, boxes, strict=True))
    return found


def load_hub(folder: Path, cache: Path) -> Any:
    """`load_dataset(folder)`, with a cache of its own."""
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    return load_dataset(str(folder.resolve()), cache_dir=str(cache))


def webdataset(folder: Path) -> dict[str, Boxes]:
    """By the `webdataset` library."""
    found: dict[str, Boxes] = {}
    for sample in web_samples(folder):
        objects = sample["json"]["objects"]
        boxes = [_from_xywh(box) for box in objects["bbox"]]
        found[sample["__key__"]] = list(zip(objects["category"], boxes, strict=True))
    return found


def web_samples(folder: Path) -> list[dict[str, Any]]:
    """Decoded samples of all tar files in order; the JSON parsed, the pictures PIL."""
    import webdataset as wds

    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    return list(wds.WebDataset(shards, shardshuffle=False).decode("pil"))


def lines(path: Path) -> list[dict[str, Any]]:
    """A JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _from_xywh(box: Any) -> tuple[float, ...]:
    x, y, width, height = np.asarray(box, float)
    return float(x), float(y), float(x + width), float(y + height)


def _from_voc(box: dict[str, str]) -> tuple[float, ...]:
    """The devkit's convention: from 1, the last pixel inside."""
    return int(box["xmin"]) - 1, int(box["ymin"]) - 1, int(box["xmax"]), int(box["ymax"])
