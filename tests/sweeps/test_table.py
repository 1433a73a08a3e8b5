"""Averaging runs: hand-made rows, means worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from conceptlib.sweeps.table import average_neighbours, base_line, cell, heading, markdown, shown, summarise, wanted

COLUMNS = (
    *("target_accuracy", "retain_accuracy", "cross_accuracy", "kid"),
    *("base_target_accuracy", "base_retain_accuracy", "retain_of_base", "cross_of_base"),
    *("erase_seconds", "peak_memory_mb", "draw_seconds"),
)


def row(recipe: str, target: str, seed: int, accuracy: float | None, **more: Any) -> dict[str, Any]:
    empty = dict.fromkeys(COLUMNS)
    known = {"recipe": recipe, "target": target, "seed": seed, "error": None, "target_accuracy": accuracy}
    return {**empty, **known, **more}


def test_seeds_are_what_the_interval_is_over() -> None:
    """Seed means 0.1, 0.2 and 0.3: sd 0.1, t = 4.3027 at 2 degrees of freedom."""
    rows = [
        row("esd", t, s, a)
        for s, pair in enumerate([(0.0, 0.2), (0.1, 0.3), (0.2, 0.4)])
        for t, a in zip("ab", pair, strict=True)
    ]
    (line,) = summarise(rows, ["recipe"])
    found = line["target_accuracy"]
    assert found["value"] == pytest.approx(0.2) and found["n"] == 3 and found["interval"] == "t95"
    assert found["high"] == pytest.approx(0.2 + 4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert found["low"] == 0  # a share is never below
    assert (line["runs"], line["failed"], line["targets"], line["seeds"]) == (6, 0, ["a", "b"], 3)
    assert line["kid"] is None


def test_lines_keep_their_order_and_count_failures() -> None:
    rows = [row("b", "x", 0, 0.5), row("a", "x", 0, 0.25), row("b", "x", 1, None, error="broken")]
    lines = summarise(rows, ["recipe", "target"])
    assert [(line["recipe"], line["runs"], line["failed"]) for line in lines] == [("b", 1, 1), ("a", 1, 0)]
    assert lines[0]["target_accuracy"] == {"value": 0.5, "low": None, "high": None, "n": 1, "interval": "t95"}
    text = markdown(lines, ["recipe", "target"], ["target_accuracy", "kid"])
    assert text.splitlines()[2:] == ["| b | x (1 failed) | 50.0 | — |", "| a | x | 25.0 | — |"]


def test_a_recipe_of_which_everything_failed_is_a_line_all_the_same() -> None:
    (line,) = summarise([row("a", "x", 0, None, error="no")], ["recipe"])
    assert line["runs"] == 0 and line["target_accuracy"] is None and base_line([line], ["recipe"]) is None


def test_the_base_is_a_line_from_the_same_pictures() -> None:
    lines = summarise([row("a", "x", 0, 0.0, base_target_accuracy=0.9, base_retain_accuracy=1.0)], ["recipe"])
    base = base_line(lines, ["recipe"])
    assert base is not None and base["recipe"] == "base" and base["target_accuracy"]["value"] == 0.9
    assert "kid" not in base and "cross_accuracy" not in base


@pytest.mark.parametrize(
    ("metric", "estimate", "text"),
    [
        ("target_accuracy", {"value": 0.031, "low": 0.0, "high": 0.07}, "3.1 ± 3.9"),
        ("retain_of_base", {"value": 0.97, "low": 0.95, "high": 0.99}, "97.0 ± 2.0"),
        ("kid", {"value": 0.01234, "low": 0.01, "high": 0.02}, "0.0123 ± 0.0077"),
        ("peak_memory_mb", {"value": 812.4, "low": None, "high": None}, "812"),
        ("erase_seconds", None, "—"),
    ],
)
def test_cells(metric: str, estimate: dict[str, Any] | None, text: str) -> None:
    assert cell(estimate, metric) == text


def test_neighbours_are_averaged_over_seeds() -> None:
    rows = [
        {"recipe": "a", "target": "star", "neighbour": n, "distance": d, "accuracy": a, "base": 1.0}
        for n, d, a in [("moon", 0.5, 1.0), ("moon", 0.5, 0.5), ("plain", None, 0.25)]
    ]
    moon, plain = average_neighbours(rows)
    assert (moon["accuracy"], moon["distance"], plain["distance"]) == (0.75, 0.5, None)
    (some,) = average_neighbours([rows[0] | {"base": None}, rows[1]])
    (none,) = average_neighbours([rows[0] | {"base": None}])
    assert (some["base"], none["base"]) == (1.0, None)


def test_columns_are_titled_by_what_their_metrics_mean() -> None:
    rows = [row("a", "x", 0, 0.5)]
    assert [heading(name) for name in shown(rows)] == [
        "target accuracy, % ↓", "retain, in-domain, % ↑", "of the base's, % ↑", "retain, cross-domain, % ↑", "KID ↓",
        "erasing, s ↓", "peak memory, MiB ↓", "drawing an image, s ↓",
    ]  # fmt: skip
    assert heading("target_clip_score") == "target clip score ↓" and heading("nobodys") == "nobodys"
    assert wanted(["kid", "concept_rate", "caption_accuracy"]) == ("kid", "caption_accuracy")
    assert wanted(["nobodys"]) == (None, None)
