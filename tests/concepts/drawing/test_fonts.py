"""Fonts: found in a fixed order, used only for what they have glyphs of, left out with a reason where useless."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import ImageFont

from conceptlib.concepts.drawing import fonts, words
from conceptlib.concepts.drawing.fonts import Font, find_fonts, own, pick, shaping
from conceptlib.concepts.drawing.words import SCRIPTS
from conceptlib.errors import ConceptlibError

ASCII = "".join(map(chr, range(33, 127)))


def box(width: int, height: int) -> object:
    pen = TTGlyphPen(None)
    if height:
        pen.moveTo((100, 0))
        for point in ((100, height), (100 + width, height), (100 + width, 0)):
            pen.lineTo(point)
        pen.closePath()
    return pen.glyph()


def make_font(path: Path, characters: str, name: str = "Boxes", same: bool = False, blank: bool = False) -> Path:
    """A font whose glyphs are boxes: each of another size, or all the same, or without ink."""
    names = {".notdef": box(400, 700)} | {
        f"g{ord(c)}": box(0, 0) if blank else box(400, 700) if same else box(150 + 5 * (k % 60), 300 + 7 * (k % 50))
        for k, c in enumerate(characters)
    }
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(names))
    builder.setupCharacterMap({ord(c): f"g{ord(c)}" for c in characters})
    builder.setupGlyf(names)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200)
    builder.setupPost()
    path.parent.mkdir(parents=True, exist_ok=True)
    builder.save(str(path))
    return path


def test_the_default_is_pillows_own_and_has_latin_only() -> None:
    (font,) = find_fonts("default").fonts
    assert font == own() and font.scripts == ("latin",)
    assert font.has("Sale 2024!") and not font.has("Привет") and not font.has("出口") and not font.has("é")


def test_a_folder_is_searched_in_a_fixed_order(tmp_path: Path) -> None:
    make_font(tmp_path / "z" / "a.ttf", ASCII, "Beta")
    make_font(tmp_path / "b.ttf", ASCII, "Alpha")
    shutil.copy(tmp_path / "b.ttf", tmp_path / "copy.ttf")
    found = find_fonts(str(tmp_path))
    assert [font.name for font in found.fonts] == ["Alpha Regular", "Beta Regular"]
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(tmp_path / "z" / "a.ttf", moved / "0.ttf")
    shutil.copy(tmp_path / "b.ttf", moved / "1.ttf")
    assert find_fonts(str(moved)).lock() == found.lock()  # names and hashes, not paths


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path: Path) -> None:
    make_font(tmp_path / "good.ttf", ASCII, "Good")
    make_font(tmp_path / "placeholder.ttf", ASCII, "Placeholder", same=True)
    make_font(tmp_path / "blank.ttf", ASCII, "Blank", blank=True)
    make_font(tmp_path / "digits.ttf", "0123456789", "Digits")
    (tmp_path / "damaged.ttf").write_bytes((tmp_path / "good.ttf").read_bytes()[:300])
    (tmp_path / "nonsense.otf").write_bytes(b"nothing")
    found = find_fonts(str(tmp_path))
    assert [font.name for font in found.fonts] == ["Good Regular"]
    assert set(found.skipped) == {
        *("Placeholder Regular", "Blank Regular", "Digits Regular", "damaged.ttf", "nonsense.otf")
    }


def test_a_folder_without_fonts_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="no such folder"):
        find_fonts(str(tmp_path / "none"))
    (tmp_path / "nonsense.ttf").write_bytes(b"nothing")
    with pytest.raises(ConceptlibError, match=r"no usable font: nonsense\.ttf: cannot be read"):
        find_fonts(str(tmp_path))


def test_the_systems_fonts_come_with_pillows_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_font(tmp_path / "a.ttf", ASCII, "Zeta")
    monkeypatch.setattr(fonts, "system_folders", lambda: [tmp_path])
    assert [font.name for font in find_fonts("system").fonts] == [own().name, "Zeta Regular"]
    assert all(folder.is_dir() for folder in fonts.system_folders())


def test_a_font_is_never_picked_for_what_it_lacks(tmp_path: Path) -> None:
    make_font(tmp_path / "a.ttf", ASCII, "Latin")
    make_font(tmp_path / "b.ttf", "".join(SCRIPTS["cyrillic"].words), "Cyrillic")
    found = find_fonts(str(tmp_path)).fonts
    rng = np.random.default_rng(0)
    for text, name in (("sale", "Latin Regular"), ("мир", "Cyrillic Regular")):
        assert {pick(rng, found, text).name for _ in range(20)} == {name}
    assert pick(rng, found, "sale мир") is None
    assert [font.scripts for font in found] == [("cyrillic",), ("latin",)]


def test_scripts_that_must_be_shaped_need_the_shaper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_font(tmp_path / "a.ttf", "".join(SCRIPTS["hebrew"].words), "Square")
    font = Font("Square", str(tmp_path / "a.ttf"), 0, "0")
    assert font.has("שלום") == shaping()
    monkeypatch.setattr(fonts, "shaping", lambda: False)
    assert not font.has("שלום") and words.needs_shaping("שלום") and not words.needs_shaping("мир")


def test_faces_of_a_collection_count_by_themselves(tmp_path: Path) -> None:
    from fontTools.ttLib import TTCollection, TTFont

    collection = TTCollection()
    for name in ("One", "Two"):
        collection.fonts.append(TTFont(make_font(tmp_path / "parts" / f"{name}.ttf", ASCII, name)))
    (tmp_path / "all").mkdir()
    collection.save(str(tmp_path / "all" / "both.ttc"))
    found = find_fonts(str(tmp_path / "all")).fonts
    assert [(font.name, font.index) for font in found] == [("One Regular", 0), ("Two Regular", 1)]


def test_sizes_are_pixels_per_em() -> None:
    small, large = own().at(20.1), own().at(40)
    assert isinstance(small, ImageFont.FreeTypeFont) and small.size == 20.0  # in quarters of a pixel
    assert np.isclose(large.getlength("sale today") / small.getlength("sale today"), 2, rtol=0.05)


def test_made_up_words_are_of_the_script_and_of_what_the_font_has() -> None:
    rng = np.random.default_rng(0)
    for name, script in SCRIPTS.items():
        ranges = [*script.ranges] if name != "latin" else [(0x61, 0x7A)]
        for _ in range(30):
            word = words.made_up(rng, name)
            assert 2 <= len(word) <= 8 and all(any(a <= ord(c) <= b for a, b in ranges) for c in word), word
    assert set(words.made_up(rng, "greek", {ord("α"), ord("β")})) <= {"α", "β"}
