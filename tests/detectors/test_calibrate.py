"""Thresholds and pairs, by hand."""

from __future__ import annotations

import numpy as np
import pytest

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
