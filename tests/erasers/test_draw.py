"""Pictures for people: what can be checked before they are drawn, and what stands beside them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from conceptlib.erasers.draw import Drawing, draw, target_of
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.reports.grid import INK


@pytest.mark.parametrize(
    "name", ["x.txt", "x", "x.jpg", ".png", "x.png/", "folder.png", "file/x.png", "file/deep/x.png"]
)
def test_where_it_cannot_be_written_is_said_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptlib.cli.main import main

    Path("folder.png").mkdir()
    Path("file").write_text("")
    if name == "x.png/":
        Path("x.png").mkdir()

    def drawn(*_: object, **__: object) -> None:
        raise AssertionError("something was drawn first")

    monkeypatch.setattr("conceptlib.erasers.draw.draw", drawn)
    with pytest.raises(ConceptlibError):
        target_of(name)
    assert main(["generate", "tiny", "a star", "--out", name]) == 1


def test_a_new_folder_is_no_hindrance() -> None:
    assert target_of("new/folder/x.PNG") == Path.cwd() / "new" / "folder" / "x.PNG"


@pytest.mark.parametrize("guidance", [math.nan, math.inf, -math.inf, -1.0])
def test_guidance_is_a_finite_number(guidance: float) -> None:
    with pytest.raises(UsageError, match="guidance"):
        draw("tiny", "a star", guidance=guidance)


def test_a_prompt_that_is_cut_is_said(base: Path) -> None:
    drawing = draw(str(base), "star " * 200, count=1, steps=1, device="cpu")
    assert len(drawing.notes) == 1 and "were cut off" in drawing.notes[0]
    assert draw(str(base), "star", count=1, steps=1, device="cpu").notes == ()


def test_rows_of_a_comparison_have_their_names() -> None:
    pixels = np.zeros((2, 3, 8, 8, 3), np.uint8)
    pixels[1] = 255
    one = Drawing(pixels[:1], ("tiny",), "").image()
    assert one.size == (28, 8)
    both = Drawing(pixels, ("tiny (without erasure)", "uce/object"), "a word", "a star", seed=7).image()
    other = Drawing(pixels, ("tiny (without erasure)", "esd/object"), "a word", "a star", seed=7).image()
    assert both.size == other.size and both.width >= 3 * 128
    assert np.any(np.asarray(both) != np.asarray(other))  # the name is drawn
    assert (np.asarray(both) == INK).all(axis=2).any()
