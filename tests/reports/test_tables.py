from __future__ import annotations

import pytest

from conceptlib.reports.tables import find, markdown_table, share, spread, text_table

SCORE = {"subject": "base", "metric": "concept_rate", "value": 0.3125, "low": 0.274, "high": 0.3539, "n": 512}


def test_a_share_is_written_with_its_interval() -> None:
    assert share(SCORE) == "31.2 % [27.4, 35.4]"
    assert share(SCORE, interval=False) == "31.2 %"
    assert share(None) == spread(None) == "—"
    assert spread({"value": 0.0123, "low": 0.0113, "high": 0.0133}) == "0.0123 ± 0.0010"


def test_find_picks_subject_and_metric() -> None:
    assert find([SCORE], "base", "concept_rate") is SCORE
    assert find([SCORE], "base", "kid") is None
    assert find([SCORE], "checkpoint", "concept_rate") is None


def test_tables_align_and_escape() -> None:
    assert text_table(["a", "b"], [["long", "x"], ["s", ""]]) == "a     b\nlong  x\ns"
    assert markdown_table(["a", "b"], [["1|2", "x\ny"]]) == "| a | b |\n|---|---|\n| 1\\|2 | x y |"
    with pytest.raises(ValueError, match="3 cells under 2"):
        text_table(["a", "b"], [["1", "2", "3"]])
