"""From which score on a detector should say "found": chosen on pictures that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from conceptlib.geometry import Detections, iou

MATCH_IOU = 0.5
DEFAULT = 0.25
"""The threshold where the pictures decide nothing: none of them holds the concept."""


@dataclass(frozen=True)
class Calibration:
    """The chosen threshold and what it gives on the pictures that it was chosen on.

    Args:
        threshold: in [0, 1]. precision, recall, f1: of boxes at IoU 0.5, in [0, 1].
        false_positive_rate: share of clean pictures with a box at or above the threshold, in [0, 1]. With several
            concepts a picture is clean for those that it is without, and this is the worst concept's share.
        images, clean: how many pictures, and how many of them are without the concept (of several: without that of
            which the fewest are clean).
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    false_positive_rate: float
    images: int
    clean: int

    def as_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)


def pairs(truth: Detections, found: Detections, least_iou: float = MATCH_IOU) -> list[tuple[int, int]]:
    """Which detection hits which truth, as (index in found, index in truth).

    Each detection, best score first, takes the truth of its label that it overlaps most and that is still free.
    """
    if not len(truth) or not len(found):
        return []
    overlap = iou(found.boxes, truth.boxes)
    overlap[np.array(found.labels)[:, None] != np.array(truth.labels)[None]] = 0
    taken = []
    for index in np.argsort(-found.scores, kind="stable"):
        best = int(overlap[index].argmax())
        if overlap[index, best] >= least_iou:
            taken.append((int(index), best))
            overlap[:, best] = 0
    return taken


def match(truth: Detections, found: Detections, least_iou: float = MATCH_IOU) -> np.ndarray:
    """Which detections hit, as `pairs` finds them: bool (len(found),)."""
    hit = np.zeros(len(found), bool)
    hit[[index for index, _ in pairs(truth, found, least_iou)]] = True
    return hit


def calibrate(truth: Sequence[Detections], found: Sequence[Detections], max_false_positive_rate: float) -> Calibration:
    """The threshold with the best F1 of boxes that raises a false alarm on at most this share of the clean pictures,
    whichever the concept.

    Usually a whole range of thresholds is best; its middle is taken, so that scores of other pictures may stray to
    either side.

    Args:
        truth: what is in each picture. found: what the detector reports for it at its lowest scores.
        max_false_positive_rate: in [0, 1].
    """
    scores = np.concatenate([item.scores for item in found]).astype(np.float64) if len(found) else np.zeros(0)
    hits = np.concatenate([match(t, f) for t, f in zip(truth, found, strict=True)]) if len(found) else np.zeros(0, bool)
    alarms = _alarms(truth, found)
    boxes = sum(map(len, truth))
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    # Candidate k keeps the k best boxes: thresholds in (scores[k], scores[k - 1]].
    kept = np.arange(len(scores) + 1)
    true = np.concatenate([[0], np.cumsum(hits)])
    upper = np.concatenate([[1.0], scores])
    lower = np.concatenate([scores, [0.0]])
    f1 = 2 * true / np.maximum(kept + boxes, 1)
    middle = (upper + lower) / 2
    rates = np.max([_share(best, middle) for best in alarms], axis=0)
    allowed = (lower < upper) & (rates <= max_false_positive_rate)
    if not boxes or not allowed.any() or f1[allowed].max() == 0:
        threshold = DEFAULT
    else:
        best = allowed & (f1 >= f1[allowed].max() - 1e-12)
        # Equally good candidates: the one with the widest gap between its neighbouring scores.
        threshold = float(middle[max(np.flatnonzero(best), key=lambda k: (upper[k] - lower[k], -k))])
    n = int((scores >= threshold).sum())
    precision, recall = float(true[n] / n) if n else 0.0, float(true[n] / boxes) if boxes else 0.0
    rate = float(max(_share(best, np.array([threshold]))[0] for best in alarms))
    return Calibration(threshold, precision, recall, float(f1[n]), rate, len(found), min(map(len, alarms)))


def _alarms(truth: Sequence[Detections], found: Sequence[Detections]) -> list[np.ndarray]:
    """For each concept the best score (-1: none) that each picture without it has for it, sorted; never empty."""
    concepts = sorted({label for item in (*truth, *found) for label in item.labels}) or [""]
    return [
        np.sort([_best(f, concept) for t, f in zip(truth, found, strict=True) if concept not in t.labels])
        for concept in concepts
    ]


def _best(found: Detections, concept: str) -> float:
    return max(
        (float(s) for s, label in zip(found.scores, found.labels, strict=True) if label == concept), default=-1.0
    )


def _share(ascending: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of the values that reach each threshold; 0 where there are none."""
    return (len(ascending) - np.searchsorted(ascending, thresholds, side="left")) / max(len(ascending), 1)
