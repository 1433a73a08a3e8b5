"""The page and the entry that are made of eight trainings; the trainings themselves are commands, tested elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import steady
from conceptlib.stats import wilson


def run(seed: int, threads: int, codes: int, right: int) -> dict[str, Any]:
    """A row as `measure` makes it: `codes` and `right` of 256 pictures."""
    scores = [
        wilson(count, 256).score(subject, metric)
        for subject, metric, count in (
            ("base", "concept_rate", 80),
            ("base", "caption_accuracy", 250),
            ("checkpoint", "concept_rate", codes),
            ("checkpoint", "caption_accuracy", right),
        )
    ]
    return {"seed": seed, "threads": threads, "n": 256, "checkpoint": "0" * 16, "scores": scores}


def test_a_page_has_every_training_and_says_whether_the_worst_is_good_enough(tmp_path: Path) -> None:
    for row in (run(1, 2, 0, 250), run(0, 1, 2, 248), run(1, 1, 5, 249)):
        steady.keep(tmp_path, row)
    text = steady.write_page(tmp_path).read_text()
    assert text.index("| 0 | 1 |") < text.index("| 1 | 1 |") < text.index("| 1 | 2 |")
    assert "0.0 to 2.0 %, mean 0.9 %" in text and "96.9 to 97.7 %" in text and "**not met**" not in text
    steady.keep(tmp_path, run(1, 1, 6, 245))  # measured again: 2.3 % and 95.7 %
    text = steady.write_page(tmp_path).read_text()
    assert "3 times: 2 seeds" in text and text.count("**not met**") == 2


def test_the_entry_has_mean_and_range(tmp_path: Path) -> None:
    for row in (run(0, 1, 0, 250), run(1, 1, 4, 245)):
        steady.keep(tmp_path, row)
    entry = steady.summary(steady.load(tmp_path))
    assert entry["target_range"] == [0.0, 0.0156] and entry["target"] == 0.0078
    assert entry["retain_range"] == [0.98, 1.0] and (entry["seeds"], entry["trainings"], entry["n"]) == (2, 2, 256)


def test_results_of_other_parameters_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steady.keep(tmp_path, run(0, 1, 0, 250))
    assert len(json.loads((tmp_path / steady.RESULTS).read_text())["runs"]) == 1
    monkeypatch.setattr(steady, "fingerprint", lambda path: "another")
    steady.keep(tmp_path, run(1, 1, 0, 250))
    assert [one["seed"] for one in steady.load(tmp_path)["runs"]] == [1]
