"""Lettering: boxes of words and lines are those of the ink, whatever the alignment, outline or direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from conceptlib.concepts.drawing.emblems import EMBLEMS, emblem
from conceptlib.concepts.drawing.fonts import own
from conceptlib.concepts.drawing.letters import Box, Piece, fitted, glyphs, join, set_column, set_lines, wobbler

WORD = st.text(alphabet="abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789!?", min_size=1, max_size=8)
LINES = st.lists(st.lists(WORD, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=3)


def ink_box(piece: Piece) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(np.asarray(piece.edge or piece.fill))
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def of(piece: Piece, kind: str) -> list[Box]:
    return [box for box in piece.parts if box.kind == kind]


@given(LINES, st.sampled_from(["left", "center", "right"]), st.floats(10, 60), st.sampled_from([0, 2]), st.booleans())
@settings(max_examples=40)
def test_boxes_hold_the_ink_and_no_more(lines: list[str], align: str, em: float, edge: int, tracked: bool) -> None:
    piece = set_lines(lines, own(), em, align=align, edge=edge, tracking=0.1 if tracked else 0.0)
    assert ink_box(piece) == (0, 0, *piece.size)
    assert [box.text for box in of(piece, "line")] == [" ".join(line.split()) for line in lines]
    assert [box.text for box in of(piece, "word")] == [word for line in lines for word in line.split()]
    ink = np.asarray(piece.edge or piece.fill) > 0
    covered = np.zeros_like(ink)
    for box in of(piece, "word"):
        left, top, right, bottom = (round(v) for v in box.xyxy)
        covered[top:bottom, left:right] = True
        inside = ink[top:bottom, left:right]
        assert inside.any(0)[[0, -1]].all() and inside.any(1)[[0, -1]].all()  # ink at all four sides
    assert not (ink & ~covered).any()
    for line in of(piece, "line"):
        members = [b for b in of(piece, "word") if b.xyxy[1] >= line.xyxy[1] and b.xyxy[3] <= line.xyxy[3]]
        assert min(b.xyxy[0] for b in members) == line.xyxy[0] and max(b.xyxy[2] for b in members) == line.xyxy[2]


def test_alignment() -> None:
    edges = {}
    for align in ("left", "center", "right"):
        piece = set_lines(["a", "wide enough"], own(), 30, align=align)
        first, second = of(piece, "line")
        edges[align] = (first.xyxy[0] - second.xyxy[0], second.xyxy[2] - first.xyxy[2])
    assert edges["left"][0] == 0 and edges["right"][1] == 0
    assert abs(edges["center"][0] - edges["center"][1]) <= 1 and edges["center"][0] > 20


def test_an_outline_grows_the_letters_and_lies_around_them() -> None:
    bare, edged = (set_lines(["sale"], own(), 40, edge=edge) for edge in (0, 3))
    assert [b - a for a, b in zip(bare.size, edged.size, strict=True)] == [6, 6]
    assert np.array_equal(np.asarray(edged.fill)[3:-3, 3:-3], np.asarray(bare.fill))
    assert (np.asarray(edged.edge) >= np.asarray(edged.fill)).all()
    assert np.asarray(edged.ring)[np.asarray(edged.fill) == 255].max() == 0


def test_a_column_reads_downwards() -> None:
    piece = set_column("TAXI STOP", own(), 24)
    taxi, stop = of(piece, "word")
    assert (taxi.text, stop.text) == ("TAXI", "STOP") and taxi.xyxy[3] < stop.xyxy[1]
    assert piece.size[1] > 5 * piece.size[0] and ink_box(piece) == (0, 0, *piece.size)
    assert [box.text for box in of(piece, "line")] == ["TAXI STOP"]


@pytest.mark.parametrize("length", [40, 133.0, 300])
def test_a_piece_is_fitted_to_its_width(length: float) -> None:
    piece = fitted(lambda em: set_lines(["Stock Orchard"], own(), em), length)
    assert abs(piece.size[0] - length) <= max(3, 0.06 * length)


def test_pieces_are_joined_without_overlap_and_parts_move_along() -> None:
    word = set_lines(["sale"], own(), 30)
    figure = Piece(emblem("peaks", 40))
    beside, below = join([figure, word], "x", 7), join([figure, word], "y", 7)
    assert beside.size == (figure.size[0] + 7 + word.size[0], max(figure.size[1], word.size[1]))
    assert below.size == (max(figure.size[0], word.size[0]), figure.size[1] + 7 + word.size[1])
    left, top, right, bottom = (int(v) for v in of(beside, "word")[0].xyxy)
    assert left == figure.size[0] + 7
    assert np.array_equal(np.asarray(beside.fill)[top:bottom, left:right], np.asarray(word.fill))


def test_dancing_letters_stay_in_their_boxes() -> None:
    piece = set_lines(["all them", "my doge"], own(), 40, wobble=wobbler(np.random.default_rng(0)))
    assert ink_box(piece) == (0, 0, *piece.size)
    still = set_lines(["all them", "my doge"], own(), 40)
    assert np.asarray(piece.fill).sum() != np.asarray(still.fill).sum()


def test_words_run_from_right_to_left_where_the_script_does() -> None:
    from conceptlib.concepts.drawing.fonts import find_fonts

    font = next((font for font in find_fonts("system").fonts if "hebrew" in font.scripts), None)
    text = "שלום בית" if font else "sale today"
    first, second = of(set_lines([text], font or own(), 30), "word")
    assert [first.text, second.text] == text.split()
    assert (first.xyxy[0] > second.xyxy[0]) == (font is not None)


@given(text=st.text("aAgjQ.-/é ", max_size=8), size=st.floats(4, 90), edge=st.integers(0, 5))
def test_letters_are_those_that_imagedraw_writes(text: str, size: float, edge: int) -> None:
    face = own().at(size, text)
    canvas = Image.new("L", (1200, 300))
    ImageDraw.Draw(canvas).text((100, 150), text, fill=255, font=face, anchor="ls", stroke_width=edge)
    mask, x, y, pen = glyphs(text, own(), size, edge)
    assert pen == face.getlength(text)
    ink = canvas.getbbox()
    if ink is None:
        assert mask.size == (0, 0)
    else:
        assert (100 + x, 150 + y) == ink[:2] and mask.tobytes() == canvas.crop(ink).tobytes()


def test_nothing_to_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="no ink"):
        set_lines(["   "], own(), 20)


@pytest.mark.parametrize("name", EMBLEMS)
def test_emblems_are_shapes_of_about_the_size_asked_for(name: str) -> None:
    mask = np.asarray(emblem(name, 60))
    assert 40 <= max(mask.shape) <= 62 and mask.any(0)[[0, -1]].all() and mask.any(1)[[0, -1]].all()
    assert 0.1 < (mask > 127).mean() < 0.95
    assert len({emblem(other, 60).tobytes() for other in EMBLEMS}) == len(EMBLEMS)
