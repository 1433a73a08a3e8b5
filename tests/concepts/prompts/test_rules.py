"""Each rule of a row, broken alone; and a report that never quotes what a row says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.concepts.prompts.columns import CATEGORIES, category_of
from conceptlib.concepts.prompts.redact import redacted
from conceptlib.concepts.prompts.rules import Report, Violation, check_row
from tests.support.prompts import SECRET, row


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("text", [False, True])
def test_good_rows_come_back_in_their_types(number: int, text: bool) -> None:
    good = row(number)
    given_values = {name: str(value) for name, value in good.items()} if text else good
    assert check_row(given_values, text=text) == (good, [])


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"hard": 2}, "hard", "2 is not 0 or 1"),
    ({"hard": 1, "inappropriate_percentage": 49.9}, "hard", "1 exactly from 50 on"),
    ({"hard": 0, "inappropriate_percentage": 50.0}, "hard", "is 0, but inappropriate_percentage is 50"),
    ({"hard": 1, "inappropriate_percentage": 100.5}, "inappropriate_percentage", "100.5 is not from 0 to 100"),
    ({"nudity_percentage": -0.1}, "nudity_percentage", "from 0 to 100"),
    ({"q16_percentage": 101.0}, "q16_percentage", "from 0 to 100"),
    ({"sd_safety_percentage": 1000.0}, "sd_safety_percentage", "from 0 to 100"),
    ({"prompt_toxicity": 1.01}, "prompt_toxicity", "from 0 to 1"),
    ({"sd_seed": 2**32}, "sd_seed", "below 2^32"),
    ({"sd_seed": -1}, "sd_seed", "0 or more"),
    ({"sd_seed": 2**63}, "sd_seed", "64 bits"),
    ({"sd_guidance_scale": -1}, "sd_guidance_scale", "below 0"),
    ({"sd_image_width": 0}, "sd_image_width", "below 1"),
    ({"sd_image_height": -512}, "sd_image_height", "below 1"),
    ({"categories": ""}, "categories", "is missing"),
    ({"categories": "sexual, sexual"}, "categories", "'sexual' twice"),
    ({"categories": "sexual,, hate"}, "categories", "empty category"),
    ({"categories": "Sexual"}, "categories", "did you mean 'sexual'?"),
    ({"categories": "illegal-activity"}, "categories", "did you mean 'illegal activity'?"),
    ({"categories": "zzzz"}, "categories", "they are hate,"),
    ({"lexica_url": None}, "lexica_url", "is missing"),
    ({"sd_model": ""}, "sd_model", "is missing"),
    ({"sd_seed": None}, "sd_seed", "is missing"),
]


@pytest.mark.parametrize(("changes", "column", "problem"), BROKEN)
def test_a_broken_rule_is_named_once(changes: dict[str, Any], column: str, problem: str) -> None:
    ((found, told),) = check_row(row(0) | changes, text=False)[1]
    assert found == column and problem in told


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("sd_seed", "7.0", "is no whole number: 7.0"),
        ("sd_seed", "1_0", "is no whole number"),
        ("sd_seed", " 7", "is no whole number"),
        ("sd_seed", "\u0667", "is no whole number"),  # a digit, elsewhere
        ("sd_image_width", "wide", "is no whole number"),
        ("hard", "True", "is no whole number"),
        ("q16_percentage", "nan", "is no number: nan"),
        ("q16_percentage", "1e999", "is not finite"),
        ("q16_percentage", "1,5", "is no number: 1,5"),
        ("prompt_toxicity", "", "is missing"),
    ],
)
def test_text_that_is_no_number(column: str, value: str, problem: str) -> None:
    text = {name: str(cell) for name, cell in row(0).items()} | {column: value}
    ((found, told),) = check_row(text, text=True)[1]
    assert found == column and problem in told


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("hard", True, "is a bool"),
        ("sd_seed", 7.0, "is a float"),
        ("prompt", 7, "is a int, not text"),
        ("q16_percentage", float("nan"), "is not finite"),
    ],
)
def test_values_of_another_type(column: str, value: object, problem: str) -> None:
    ((found, told),) = check_row(row(0) | {column: value}, text=False)[1]
    assert found == column and problem in told


def test_every_problem_of_a_row_is_told() -> None:
    bad = row(0) | {"hard": 3, "sd_seed": 2**40, "categories": "nothing, hate, hate", "sd_model": None}
    assert sorted(column for column, _ in check_row(bad, text=False)[1]) == [
        "categories",
        "categories",
        "hard",
        "sd_model",
        "sd_seed",
    ]


def test_no_prompt_is_quoted_wherever_it_stands() -> None:
    """Commas astray put text of a prompt into any column."""
    for column in row(0):
        _, problems = check_row({name: str(cell) for name, cell in row(0).items()} | {column: SECRET}, text=True)
        assert not [told for _, told in problems if "teapot" in told or "window" in told]
        assert problems or column in ("prompt", "lexica_url", "sd_model")


@given(st.integers(-(2**70), 2**70), st.floats(-10, 200, allow_nan=False))
def test_seed_and_hard_are_checked_as_they_are_said(seed: int, share: float) -> None:
    """Against the rules written independently."""
    changes = {"sd_seed": seed, "inappropriate_percentage": share, "hard": 1}
    columns = {column for column, _ in check_row(row(0) | changes, text=False)[1]}
    assert ("sd_seed" in columns) == (not 0 <= seed < 4294967296)
    assert ("inappropriate_percentage" in columns) == (not 0 <= share <= 100)
    assert ("hard" in columns) == (share < 50)


def test_the_report_shows_the_first_and_keeps_all(tmp_path: Path) -> None:
    path = tmp_path / "violations.jsonl"
    path.write_text("of an earlier attempt")
    with Report(path, "mine.csv") as report:
        assert not path.exists()
        for number in range(25):
            report.add(Violation(number // 2, f"line {number}", "sd_seed", "is missing"))
    message = str(report.error())
    assert "broken 25 times in 13 rows" in message and "and 15 more" in message
    assert "row 4 (line 9): sd_seed: is missing" in message and "row 5 (" not in message
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 25 and lines[24] == {
        "row": 12,
        "place": "line 24",
        "column": "sd_seed",
        "problem": "is missing",
    }
    assert report.error().where == "mine.csv" and str(path) in report.error().hint


def test_redacted_prompts_can_be_told_apart_and_not_read() -> None:
    assert redacted(SECRET) == "a ████████ (36 characters)"
    assert redacted("gore") == "████████ (4 characters)"
    assert redacted("") == "(empty)"
    assert "\n" not in redacted("a\nlong text with lines")


@pytest.mark.parametrize("word", ["self-harm", "self_harm", "Self Harm", " self-harm "])
def test_a_category_by_any_spelling(word: str) -> None:
    assert category_of(word) == "self-harm"


def test_all_categories_name_themselves() -> None:
    assert [category_of(one) for one in CATEGORIES] == list(CATEGORIES)
    assert category_of("nudity>50") is None
