"""The words of a dataset's own label columns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from conceptlib.concepts.label_values import class_values, column_of, words_of
from conceptlib.concepts.tables import ImageTable, image_row, shard_name
from conceptlib.errors import ConceptlibError

ROWS = [("Monet", "winter", 1899.0), ("Degas", None, None), ("Monet", "summer", 1874.5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        image_row(str(k), Image.new("RGB", (8, 8)), artist=artist, season=season, year=year)
        for k, (artist, season, year) in enumerate(ROWS)
    ]
    ImageTable.write(tmp_path / "data" / shard_name("train", 0, 1), rows)
    return tmp_path


def test_the_words_are_those_of_the_rows_where_no_manifest_lists_them(folder: Path) -> None:
    values = class_values(SimpleNamespace(path=folder))
    assert values == {"artist": ("Degas", "Monet"), "season": ("summer", "winter")}  # a year is no class


def test_a_manifest_that_lists_them_is_believed(folder: Path) -> None:
    listed = {"artist": {"kind": "class", "values": {"Monet": 2, "Degas": 1}}, "season": {"kind": "text"}}
    known = SimpleNamespace(path=folder, info={"label_columns": listed})
    assert class_values(known) == {"artist": ("Degas", "Monet")}


def test_a_word_belongs_to_one_column() -> None:
    values = {"artist": ("Degas", "May"), "month": ("May",)}
    assert column_of("Degas", values) == "artist"
    assert column_of("heart", values) == ""
    with pytest.raises(ConceptlibError, match="'May' is a value of artist and of month"):
        column_of("May", values)


def test_a_column_without_words_is_said_with_those_that_have_some() -> None:
    assert words_of("artist", {"artist": ("Degas",)}, "x") == ("Degas",)
    with pytest.raises(ConceptlibError, match="no classes in a label column 'season'") as caught:
        words_of("season", {"artist": ("Degas",), "season": ()}, "icd@1")
    assert "artist" in caught.value.hint
