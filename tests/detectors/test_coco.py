"""Average precision and the rest, against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conceptlib.detectors.coco import average_precision, bucket_of, measure
from conceptlib.geometry import Detections

LABEL = "qr-code"


def boxes(*scored: tuple[float, float, float, float, float], label: str = LABEL) -> Detections:
    rows = np.array(scored, np.float32).reshape(-1, 5)
    return Detections(rows[:, :4], rows[:, 4], (label,) * len(rows))


NONE = Detections.empty()
TRUTH = [boxes((0, 0, 10, 10, 1)), boxes((20, 20, 40, 40, 1), (0, 0, 40, 10, 1)), NONE, NONE]
# By score: hit (IoU 1), false alarm on a clean picture, hit with IoU 0.7, miss.
FOUND = [boxes((0, 0, 10, 10, 0.9)), boxes((20, 20, 34, 40, 0.6), (0, 20, 10, 30, 0.2)), boxes((5, 5, 9, 9, 0.8)), NONE]


def by_hand(hits: list[bool], truths: int) -> float:
    """COCO's 101-point interpolation: at each recall, the best precision at that recall or beyond."""
    true = np.cumsum(hits)
    recall, precision = true / truths, true / np.arange(1, len(hits) + 1)
    points = [
        max((p for r, p in zip(recall, precision, strict=True) if r >= at - 1e-9), default=0)
        for at in np.linspace(0, 1, 101)
    ]
    return float(np.mean(points))


def test_average_precision() -> None:
    map50, map50_95 = average_precision(TRUTH, FOUND, [LABEL])
    at_50 = by_hand([True, False, True, False], 3)
    at_75 = by_hand([True, False, False, False], 3)
    # Recall 1/3 at precision 1, up to 2/3 at precision 2/3, nothing beyond: 34 + 33 * 2/3 of 101 points.
    assert at_50 == pytest.approx((34 + 33 * 2 / 3) / 101)
    assert map50 == pytest.approx(at_50)
    # An IoU of 0.7 counts at 0.5, 0.55, 0.6 and 0.65 for sure; at 0.7 float rounding decides.
    assert map50_95 in (pytest.approx((4 * at_50 + 6 * at_75) / 10), pytest.approx((5 * at_50 + 5 * at_75) / 10))


def test_perfect_and_hopeless() -> None:
    assert average_precision(TRUTH, TRUTH, [LABEL]) == (pytest.approx(1), pytest.approx(1))
    assert average_precision(TRUTH, [NONE] * 4, [LABEL]) == (0, 0)
    assert all(map(math.isnan, average_precision([NONE], [boxes((0, 0, 9, 9, 0.5))], [LABEL])))


def test_labels_without_truth_do_not_count() -> None:
    assert average_precision(TRUTH, TRUTH, [LABEL, "text"])[0] == pytest.approx(1)


def test_measure_at_the_threshold() -> None:
    quality = measure(TRUTH, FOUND, [LABEL], 0.5)
    assert (quality.hits, quality.boxes, quality.reported) == (2, 3, 3)
    assert (quality.clean, quality.alarms, quality.polluted, quality.seen) == (2, 1, 2, 2)
    # Sides 10, 20 and sqrt(400) = 20 px.
    assert quality.by_size == {"tiny": (1, 1), "small": (1, 2), "medium": (0, 0), "large": (0, 0)}
    assert measure(TRUTH, FOUND, [LABEL], 0.85).alarms == 0


def test_other_concepts_are_left_out() -> None:
    quality = measure(
        [boxes((0, 0, 9, 9, 1), label="text"), *TRUTH], [boxes((0, 0, 9, 9, 0.9), label="text"), *FOUND], [LABEL], 0.5
    )
    assert (quality.boxes, quality.reported, quality.clean) == (3, 3, 3)


@pytest.mark.parametrize(
    ("side", "bucket"), [(0, "tiny"), (15.9, "tiny"), (16, "small"), (32, "medium"), (96, "large"), (5000, "large")]
)
def test_buckets(side: float, bucket: str) -> None:
    assert bucket_of(np.array([5, 5, 5 + side, 5 + side])) == bucket
