"""How scores are written: by what their metrics mean."""

from __future__ import annotations

from typing import Any

import pytest

from conceptlib.evaluators.figures import figure, intervals_note
from conceptlib.scores import find

SCORE = {"subject": "base", "metric": "concept_rate", "value": 0.3125, "low": 0.274, "high": 0.3539, "n": 512}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (SCORE, "31.2 % [27.4, 35.4]"),
        (SCORE | {"metric": "concept_rate.qr-code", "interval": "wilson95"}, "31.2 % [27.4, 35.4]"),
        (SCORE | {"metric": "concept_rate_change", "value": -0.328, "low": -0.35, "high": -0.301},
         "-32.8 points [-35.0, -30.1]"),
        (SCORE | {"metric": "kid", "value": 0.0123, "low": 0.0113, "high": 0.0133, "interval": "std"},
         "0.0123 ± 0.0010"),
        (SCORE | {"metric": "target_clip_score", "value": 0.7012, "low": 0.69, "high": 0.712}, "0.7012 [0.69, 0.712]"),
        (SCORE | {"metric": "erase_seconds", "value": 81.5, "low": None, "high": None, "interval": "none"}, "81.5 s"),
        (SCORE | {"metric": "mAP50", "value": 0.87, "low": None, "high": None, "interval": None}, "87.0 %"),
        (SCORE | {"metric": "nobody-knows", "value": 0.25, "low": 0.2, "high": 0.3}, "0.25 [0.2, 0.3]"),
        (SCORE | {"metric": "accuracy_colour_change", "value": -0.1, "low": -0.2, "high": 0.0},
         "-10.0 points [-20.0, +0.0]"),
        (SCORE | {"metric": "concept_rate", "low": None}, "31.2 %"),
        (SCORE | {"value": None}, "—"),
        (None, "—"),
    ],
)  # fmt: skip
def test_a_score_is_written_as_its_metric_means(row: dict[str, Any] | None, text: str) -> None:
    assert figure(row) == text
    assert figure(row, interval=False) == text.partition(" [")[0].partition(" ±")[0]


def test_a_metric_of_somebody_else_is_written_as_the_evaluation_says() -> None:
    told = {"warmth": {"unit": "share", "higher_is_better": True, "interval": "wilson95"}}
    row = SCORE | {"metric": "warmth"}
    assert figure(row, told) == "31.2 % [27.4, 35.4]" and figure(row) == "0.3125 [0.274, 0.3539]"
    assert figure(row | {"metric": "warmth_change"}, told) == "+31.2 points [+27.4, +35.4]"
    assert figure(row, {"warmth": {"unit": "share", "made": "up"}}) == "0.3125 [0.274, 0.3539]"


def test_no_standard_deviation_is_called_an_interval_of_95() -> None:
    kid = SCORE | {"metric": "kid", "interval": "std"}
    assert intervals_note([kid]) == "± is one standard deviation, of kid"
    both = [SCORE | {"interval": "wilson95"}, kid]
    assert intervals_note(both) == "intervals in brackets are 95 %; ± is one standard deviation, of kid"
    assert intervals_note([SCORE | {"low": None}]) == ""


def test_find_picks_subject_and_metric() -> None:
    assert find([SCORE], "base", "concept_rate") is SCORE
    assert find([SCORE], "base", "kid") is None
    assert find([SCORE], "checkpoint", "concept_rate") is None
