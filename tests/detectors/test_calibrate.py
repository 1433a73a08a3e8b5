"""Thresholds and pairs, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.detectors.calibrate import DEFAULT, calibrate, match, pairs
from conceptlib.geometry import Detections

BOX = [10.0, 10.0, 30.0, 30.0]
FAR = [40.0, 40.0, 60.0, 60.0]


def at(*scored: tuple[list[float], float], label: str = "qr-code") -> Detections:
    return Detections(
        np.array([b for b, _ in scored]).reshape(-1, 4), np.array([s for _, s in scored]), (label,) * len(scored)
    )


NONE = Detections.empty()


def test_a_truth_is_hit_once_and_by_its_own_label() -> None:
    truth = at((BOX, 1), (FAR, 1))
    found = at((BOX, 0.5), (BOX, 0.9), (FAR, 0.2))
    assert match(truth, found).tolist() == [False, True, True]
    assert sorted(pairs(truth, found)) == [(1, 0), (2, 1)]
    assert match(truth, at((BOX, 0.9), label="text")).tolist() == [False]
    assert match(NONE, found).tolist() == [False] * 3 and match(truth, NONE).tolist() == []


def test_the_middle_of_the_gap() -> None:
    truth = [at((BOX, 1)), at((FAR, 1)), NONE, NONE]
    found = [at((BOX, 0.9)), at((FAR, 0.7)), at((BOX, 0.1)), NONE]
    chosen = calibrate(truth, found, 0.0)
    assert chosen.threshold == pytest.approx(0.4, abs=1e-6)
    assert (chosen.precision, chosen.recall, chosen.f1, chosen.false_positive_rate) == (1, 1, 1, 0)
    assert (chosen.images, chosen.clean) == (4, 2)


def test_false_alarms_are_bought_with_recall() -> None:
    truth = [at((BOX, 1)), at((BOX, 1)), at((BOX, 1)), NONE, NONE]
    found = [at((BOX, 0.9)), at((BOX, 0.3)), at((BOX, 0.2)), at((BOX, 0.5)), NONE]
    strict = calibrate(truth, found, 0.0)
    assert 0.5 < strict.threshold <= 0.9 and strict.recall == pytest.approx(1 / 3) and strict.false_positive_rate == 0
    loose = calibrate(truth, found, 0.5)
    assert loose.threshold < 0.2 and loose.recall == 1 and loose.false_positive_rate == 0.5
    assert loose.precision == pytest.approx(3 / 4) and loose.f1 == pytest.approx(6 / 7)


def test_a_wrong_box_on_a_polluted_picture_is_no_false_alarm_but_costs_precision() -> None:
    chosen = calibrate([at((BOX, 1)), NONE], [at((BOX, 0.8), (FAR, 0.6)), NONE], 0.0)
    assert 0.6 < chosen.threshold <= 0.8 and chosen.precision == 1


@pytest.mark.parametrize(
    ("truth", "found"),
    [([], []), ([NONE], [at((BOX, 0.4))]), ([at((BOX, 1))], [NONE]), ([at((BOX, 1))], [at((FAR, 0.9))])],
)
def test_nothing_to_decide_by(truth: list[Detections], found: list[Detections]) -> None:
    assert calibrate(truth, found, 0.0).threshold == DEFAULT


def test_the_threshold_is_at_most_one() -> None:
    assert calibrate([at((BOX, 1))], [at((BOX, 1.0))], 0.0).threshold == pytest.approx(0.5)


def test_a_picture_is_clean_for_each_concept_that_it_is_without() -> None:
    """Nine pictures with text, one of which is taken for a watermark too, and one with a watermark: no picture is clean
    of both, and one of the nine is a false alarm."""
    text, mark = at((BOX, 1), label="text"), at((BOX, 1), label="watermark")
    wrong = Detections(np.array([BOX, FAR]), np.array([0.9, 0.6]), ("text", "watermark"))
    truth, found = [text] * 9 + [mark], [at((BOX, 0.9), label="text")] * 8 + [wrong, at((BOX, 0.5), label="watermark")]
    strict, loose = calibrate(truth, found, 0.1), calibrate(truth, found, 0.12)
    assert strict.threshold > 0.6 and strict.false_positive_rate == 0 and strict.recall == pytest.approx(0.9)
    assert loose.threshold < 0.5 and loose.false_positive_rate == pytest.approx(1 / 9) and loose.recall == 1
    assert strict.images == 10 and strict.clean == 1  # of text one picture is clean


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.sampled_from([0.0, 0.1, 0.3, 1.0]))
def test_no_threshold_that_is_allowed_is_better(seed: int, count: int, most: float) -> None:
    """Against trying every threshold between two scores."""
    rng = np.random.default_rng(seed)
    labels, boxes = ("a", "b"), (BOX, FAR)

    def some() -> Detections:
        n = int(rng.integers(0, 3))
        return Detections(
            np.array([boxes[i] for i in range(n)]).reshape(-1, 4),
            np.round(rng.uniform(0.05, 0.95, n), 1),
            tuple(labels[int(rng.integers(2))] for _ in range(n)),
        )

    truth, found = [some() for _ in range(count)], [some() for _ in range(count)]

    def judged(threshold: float) -> tuple[float, float]:
        kept = [item.filter(item.scores >= threshold) for item in found]
        hits = sum(int(match(t, k).sum()) for t, k in zip(truth, kept, strict=True))
        worst = 0.0
        for label in labels:
            clean = [label in k.labels for t, k in zip(truth, kept, strict=True) if label not in t.labels]
            worst = max(worst, float(np.mean(clean)) if clean else 0.0)
        return 2 * hits / max(1, sum(map(len, kept)) + sum(map(len, truth))), worst

    chosen = calibrate(truth, found, most)
    best = max((f1 for f1, rate in map(judged, np.arange(0.0, 1.0, 0.1) + 0.05) if rate <= most), default=0.0)
    f1, rate = judged(chosen.threshold)
    assert chosen.f1 == pytest.approx(f1) and chosen.false_positive_rate == pytest.approx(rate)
    if best > 0:
        assert f1 >= best - 1e-9 and rate <= most
