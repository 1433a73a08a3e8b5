from __future__ import annotations

import pytest

from conceptlib.reports.tables import markdown_table, text_table


def test_tables_align_and_escape() -> None:
    assert text_table(["a", "b"], [["long", "x"], ["s", ""]]) == "a     b\nlong  x\ns"
    assert markdown_table(["a", "b"], [["1|2", "x\ny"]]) == "| a | b |\n|---|---|\n| 1\\|2 | x y |"
    with pytest.raises(ValueError, match="3 cells under 2"):
        text_table(["a", "b"], [["1", "2", "3"]])
