"""Average precision by pycocotools (Lin et al., "Microsoft COCO", arXiv 1405.0312), for boxes in memory.

COCO's own size buckets (32 and 96 px) suit pictures of 640 px; here a bucket is an interval of the side of the
truth's box, the square
root of its area in pixels of the picture: tiny below 16, small 16 to 32, medium 32 to 96, large from 96.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from conceptlib.detectors.calibrate import pairs
from conceptlib.geometry import Detections, xyxy_to_xywh

OPACITIES: dict[str, tuple[float, float]] = {
    "below 0.2": (0, 0.2),
    "0.2-0.4": (0.2, 0.4),
    "0.4-0.6": (0.4, 0.6),
    "0.6-0.8": (0.6, 0.8),
    "from 0.8": (0.8, 1.001),
}
"""Opacity that an overlay was drawn with, from (included) to (excluded)."""

BUCKETS: dict[str, tuple[float, float]] = {"tiny": (0, 16), "small": (16, 32), "medium": (32, 96), "large": (96, 1e5)}
"""Side in pixels, from (included) to (excluded)."""

MOST = 100
"""Boxes a picture that count, best scores first, as in COCO."""


@dataclass(frozen=True)
class Quality:
    """How well detections fit the truth; every share in [0, 1].

    Args:
        map50: average precision at IoU 0.5. map50_95: mean over IoU 0.5, 0.55, ..., 0.95. Both over 101 recall
            points, averaged over labels.
        hits: boxes found with a score of at least the threshold, at IoU 0.5. boxes: boxes in the truth. reported:
            boxes reported so.
        by_size: bucket to (hits, boxes in the truth). by_opacity: the same by the opacity that the box's overlay was
            drawn with, where it is known.
        ap50: average precision at IoU 0.5 of each label that the truth holds.
        other_clean, other_alarms: clean pictures from elsewhere, and how many of them have such a box.
        level: what a box stands for, see `conceptlib.detectors.levels`. words, words_read: words of the truth, and
            those that the detector read; 0 where it does not read.
        located: whether the detector says where things are; if not, only what counts pictures means something.
        clean, alarms: pictures without the concept, and how many of them have a box at or above the threshold.
        polluted, seen: pictures with it, and how many of them have such a box.
    """

    map50: float
    map50_95: float
    hits: int
    boxes: int
    reported: int
    by_size: dict[str, tuple[int, int]]
    clean: int
    alarms: int
    polluted: int
    seen: int
    by_opacity: dict[str, tuple[int, int]] = field(default_factory=dict)
    ap50: dict[str, float] = field(default_factory=dict)
    other_clean: int = 0
    other_alarms: int = 0
    located: bool = True
    level: str = "object"
    words: int = 0
    words_read: int = 0


def measure(
    truth: Sequence[Detections],
    found: Sequence[Detections],
    labels: Sequence[str],
    threshold: float,
    opacities: Sequence[Sequence[float | None]] | None = None,
) -> Quality:
    """Compare what was found with the truth, picture by picture.

    Args:
        truth, found: one a picture, in the same order; `found` down to the lowest scores, for the whole
            precision-recall curve.
        labels: the concepts that count.
        threshold: score from which a box counts where no curve is meant, in [0, 1].
        opacities: of every box of the truth, in [0, 1]; None where unknown.
    """
    wanted = set(labels)
    masks = [np.array([label in wanted for label in item.labels], bool) for item in truth]
    known = [
        [one for one, keep in zip(given, mask, strict=True) if keep]
        for given, mask in zip(opacities or [[None] * len(item) for item in truth], masks, strict=True)
    ]
    truth = [item.filter(mask) for item, mask in zip(truth, masks, strict=True)]
    found = [item.filter(np.array([label in wanted for label in item.labels], bool)) for item in found]
    precision = precisions(truth, found, labels)
    sure = [item.filter(item.scores >= threshold) for item in found]
    by_size = {name: [0, 0] for name in BUCKETS}
    by_opacity = {name: [0, 0] for name in OPACITIES}
    hits = 0
    for item, boxes, given in zip(truth, sure, known, strict=True):
        reached = {index for _, index in pairs(item, boxes)}
        hits += len(reached)
        for index, (box, opacity) in enumerate(zip(item.boxes, given, strict=True)):
            buckets = [by_size[bucket_of(box)]] + ([] if opacity is None else [by_opacity[opacity_of(opacity)]])
            for bucket in buckets:
                bucket[0] += index in reached
                bucket[1] += 1
    return Quality(
        map50=_mean(precision[:1]),
        map50_95=_mean(precision),
        hits=hits,
        boxes=sum(map(len, truth)),
        reported=sum(map(len, sure)),
        by_size={name: (found_, all_) for name, (found_, all_) in by_size.items()},
        clean=sum(not len(item) for item in truth),
        alarms=sum(not len(item) and len(boxes) > 0 for item, boxes in zip(truth, sure, strict=True)),
        polluted=sum(len(item) > 0 for item in truth),
        seen=sum(len(item) > 0 and len(boxes) > 0 for item, boxes in zip(truth, sure, strict=True)),
        by_opacity={name: (found_, all_) for name, (found_, all_) in by_opacity.items() if all_},
        ap50={
            label: _mean(precision[:1, :, index])
            for index, label in enumerate(labels)
            if any(label in item.labels for item in truth)
        },
    )


def bucket_of(box: np.ndarray) -> str:
    """The bucket of a box (4,) xyxy in pixels."""
    side = float(np.sqrt(max(0.0, float(box[2] - box[0]) * float(box[3] - box[1]))))
    return next(name for name, (low, high) in BUCKETS.items() if low <= side < high)


def opacity_of(opacity: float) -> str:
    """The bucket of an opacity in [0, 1]."""
    return next(name for name, (low, high) in OPACITIES.items() if low <= opacity < high)


def average_precision(
    truth: Sequence[Detections], found: Sequence[Detections], labels: Sequence[str]
) -> tuple[float, float]:
    """mAP at IoU 0.5 and over IoU 0.5 to 0.95, in [0, 1], of labels that the truth holds; nan where it holds none."""
    precision = precisions(truth, found, labels)
    return _mean(precision[:1]), _mean(precision)


def precisions(truth: Sequence[Detections], found: Sequence[Detections], labels: Sequence[str]) -> np.ndarray:
    """Precision at 10 IoU thresholds (0.5, 0.55, ..., 0.95), 101 recall points and every label: (10, 101, labels), in
    [0, 1]; -1 for labels that the truth does not hold."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    ids = {label: index for index, label in enumerate(labels, 1)}
    results = _rows(found, ids, scored=True)
    if not results:  # pycocotools cannot load an empty list
        held = [0.0 if any(label in item.labels for item in truth) else -1.0 for label in labels]
        return np.tile(held, (10, 101, 1))
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        known = COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": index} for index in range(1, len(truth) + 1)],
            "categories": [{"id": index, "name": label} for label, index in ids.items()],
            "annotations": _rows(truth, ids, scored=False),
        }
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        evaluation.params.maxDets = [MOST]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"][..., 0, -1])


def _mean(precision: np.ndarray) -> float:
    """Over labels that the truth holds; nan if it holds none of them."""
    held = precision[precision > -1]
    return float(held.mean()) if held.size else float("nan")


def _rows(items: Sequence[Detections], ids: dict[str, int], *, scored: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for image, item in enumerate(items, 1):
        for box, score, label in zip(xyxy_to_xywh(item.boxes).tolist(), item.scores.tolist(), item.labels, strict=True):
            row = {
                "id": len(rows) + 1,
                "image_id": image,
                "category_id": ids[label],
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            rows.append(row | ({"score": score} if scored else {}))
    return rows
