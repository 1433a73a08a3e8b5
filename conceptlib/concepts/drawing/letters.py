"""Lettering: words set in lines or columns, as masks, with the exact box of every word and line.

    piece = set_lines(["Open today", "until six"], font, 32.0, align="center", edge=2)
    piece.fill, piece.edge                       # L masks of one size, cropped to the ink
    piece.parts                                  # [Box("line", "Open today", ...), Box("word", "Open", ...), ...]

A piece is letters or an emblem, or several of them put together by `join`. Boxes are xyxy in the piece's pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops

from conceptlib.concepts.drawing.fonts import Font
from conceptlib.concepts.drawing.words import right_to_left


@dataclass(frozen=True)
class Box:
    """A part and its tight box (xyxy): a `line` or a `word` with its text, or something else that a kind names."""

    kind: str
    text: str
    xyxy: tuple[float, float, float, float]

    def moved(self, x: float, y: float) -> Box:
        left, top, right, bottom = self.xyxy
        return replace(self, xyxy=(left + x, top + y, right + x, bottom + y))


@dataclass(frozen=True, eq=False)
class Piece:
    """Masks (L) of one size, cropped to their ink, and the boxes of what is in them.

    Args:
        fill: the letters or the emblem.
        edge: the letters grown by their outline, fill included; None without outline.
    """

    fill: Image.Image
    parts: tuple[Box, ...] = ()
    edge: Image.Image | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.fill.size

    @property
    def ring(self) -> Image.Image:
        """The outline alone."""
        return self.fill if self.edge is None else ImageChops.subtract(self.edge, self.fill)


def glyphs(text: str, font: Font, size: float, edge: int = 0) -> tuple[Image.Image, int, int, float]:
    """A run of letters without a break: its tight mask, where the mask's corner lies from the pen, and the advance.

    The pen stands on the baseline; a run without ink gives a mask of no size.
    """
    return _glyphs(text, font, round(size * 4) / 4, edge)  # as `Font.at` rounds it: a word is often set at few sizes


@lru_cache(maxsize=4096)
def _glyphs(text: str, font: Font, size: float, edge: int) -> tuple[Image.Image, int, int, float]:
    face = font.at(size, text)
    # What `ImageDraw.text` draws; it would have to be asked for the size first, a quarter more time.
    drawn, (left, top) = face.getmask2(text, "L", anchor="ls", stroke_width=edge, stroke_filled=True, start=(0, 0))
    mask = Image.new("L", drawn.size)
    mask.im.paste(drawn, (0, 0, *drawn.size))
    ink = mask.getbbox()
    if ink is None:
        return Image.new("L", (0, 0)), 0, 0, face.getlength(text)
    return mask.crop(ink), ink[0] + left, ink[1] + top, face.getlength(text)


def set_lines(
    lines: Sequence[str],
    font: Font,
    size: float,
    *,
    align: str = "left",
    spacing: float = 1.25,
    tracking: float = 0.0,
    edge: int = 0,
    wobble: Callable[[], float] | None = None,
) -> Piece:
    """Set lines of words.

    Args:
        lines: text; a run of blanks parts words.
        size: pixels per em.
        align: left, center or right.
        spacing: from baseline to baseline, in em. tracking: more room between letters, in em.
        edge: width of the outline, in pixels; 0 for none.
        wobble: draws a number from [-1, 1]; letters then dance about the baseline, as handwriting does (without edge).

    Raises:
        ValueError: nothing to be seen in any line.
    """
    runs: list[tuple[str, list[_Run]]] = []
    for line in lines:
        pen, placed = 0.0, []
        words = line.split()
        for word in reversed(words) if right_to_left(line) else words:
            run, pen = _word(word, font, size, pen, tracking, edge, wobble)
            placed.append(run)
            pen += _space(font, size) + tracking * size
        runs.append((" ".join(words), placed[::-1] if right_to_left(line) else placed))
    return _compose(runs, align, round(spacing * size), bool(edge))


def set_column(text: str, font: Font, size: float, *, edge: int = 0, spacing: float = 1.1) -> Piece:
    """Letters one under the other, as on a vertical sign; words are parted by half a letter."""
    columns: list[_Run] = []
    y = 0.0
    for word in text.split():
        letters = []
        for letter in word:
            mask, _, y0, _ = glyphs(letter, font, size, edge)
            letters.append(_Letter(letter, -mask.width / 2, y + y0, mask, glyphs(letter, font, size)[0]))
            y += spacing * size
        columns.append(_Run(word, letters))
        y += 0.5 * size
    # One column is one line, whatever its length.
    return _compose([(" ".join(text.split()), columns)], "left", 0, bool(edge))


@dataclass(frozen=True, eq=False)
class _Letter:
    text: str
    x: float
    y: float
    mask: Image.Image
    inner: Image.Image


@dataclass(frozen=True, eq=False)
class _Run:
    text: str
    letters: list[_Letter]

    def box(self) -> tuple[float, float, float, float]:
        seen = [letter for letter in self.letters if letter.mask.width]
        if not seen:
            return (0.0, 0.0, 0.0, 0.0)
        return (
            min(round(a.x) for a in seen),
            min(round(a.y) for a in seen),
            max(round(a.x) + a.mask.width for a in seen),
            max(round(a.y) + a.mask.height for a in seen),
        )


def _word(
    word: str, font: Font, size: float, pen: float, tracking: float, edge: int, wobble: Callable[[], float] | None
) -> tuple[_Run, float]:
    pieces = list(word) if (tracking or wobble) and not right_to_left(word) else [word]
    letters = []
    for piece in pieces:
        mask, x, y, advance = glyphs(piece, font, size, edge)
        inner = glyphs(piece, font, size)[0] if edge else mask
        lift = 0.0
        if wobble is not None and mask.width:
            lift = 0.04 * size * wobble() + y + mask.height / 2
            turned = mask.rotate(4 * wobble(), Image.Resampling.BILINEAR, expand=True)
            mask = inner = turned.crop(turned.getbbox())
            lift -= y + mask.height / 2
        letters.append(_Letter(piece, pen + x, y + lift, mask, inner))
        pen += advance + tracking * size
    return _Run(word, letters), pen - tracking * size


def _compose(runs: Sequence[tuple[str, list[_Run]]], align: str, leading: int, edged: bool) -> Piece:
    """Put lines under each other, crop to the ink, and say where everything lies."""
    lines = []
    for k, (text, words) in enumerate(runs):
        boxes = [run.box() for run in words]
        seen = [box for box in boxes if box[2] > box[0]]
        if seen:
            lines.append((k * leading, text, words, boxes, _hull(seen)))
    if not lines:
        raise ValueError("no ink in the text")
    width = max(hull[2] - hull[0] for *_, hull in lines)
    shifts = []
    for y, _, _, _, hull in lines:
        spare = {"left": 0.0, "center": 0.5, "right": 1.0}[align] * (width - (hull[2] - hull[0]))
        shifts.append((round(spare) - hull[0], y))
    whole = _hull([_shift(hull, *shift) for (*_, hull), shift in zip(lines, shifts, strict=True)])
    size = (math.ceil(whole[2] - whole[0]), math.ceil(whole[3] - whole[1]))
    fill = Image.new("L", size)
    outer = Image.new("L", size) if edged else None
    parts = []
    for (_, text, words, boxes, hull), shift in zip(lines, shifts, strict=True):
        dx, dy = shift[0] - whole[0], shift[1] - whole[1]
        parts.append(Box("line", text, _shift(hull, dx, dy)))
        for run, box in zip(words, boxes, strict=True):
            if box[2] <= box[0]:
                continue
            parts.append(Box("word", run.text, _shift(box, dx, dy)))
            for letter in run.letters:
                at = (round(letter.x) + int(dx), round(letter.y) + int(dy))
                if outer is not None:
                    outer.paste(255, at, letter.mask)
                inset = tuple((a - b) // 2 for a, b in zip(letter.mask.size, letter.inner.size, strict=True))
                fill.paste(255, (at[0] + inset[0], at[1] + inset[1]), letter.inner)
    return Piece(fill, tuple(parts), outer)


def join(pieces: Sequence[Piece], axis: str = "x", gap: int = 0) -> Piece:
    """Pieces side by side (`x`) or one under the other (`y`), centred across, `gap` pixels apart."""
    along, across = (0, 1) if axis == "x" else (1, 0)
    length = sum(piece.size[along] for piece in pieces) + gap * (len(pieces) - 1)
    breadth = max(piece.size[across] for piece in pieces)
    size = (length, breadth) if axis == "x" else (breadth, length)
    fill, edge = Image.new("L", size), Image.new("L", size)
    parts: list[Box] = []
    pen = 0
    for piece in pieces:
        beside = (breadth - piece.size[across]) // 2
        at = (pen, beside) if axis == "x" else (beside, pen)
        fill.paste(piece.fill, at)
        edge.paste(piece.edge or piece.fill, at)
        parts += [box.moved(*at) for box in piece.parts]
        pen += piece.size[along] + gap
    edged = any(piece.edge is not None for piece in pieces)
    return Piece(fill, tuple(parts), edge if edged else None)


def fitted(make: Callable[[float], Piece], length: float, axis: int = 0, guess: float = 32.0) -> Piece:
    """The piece at the size (pixels per em) that makes it `length` pixels wide (axis 0) or high (axis 1), within 2 %
    or as near as hinted letters, whose widths are whole pixels, come to it.
    """
    em, best = guess, make(guess)
    got = best.size[axis]
    for _ in range(3):
        em = max(4.0, em * length / max(got, 1))
        piece = make(em)
        got = piece.size[axis]
        if abs(got - length) < abs(best.size[axis] - length):
            best = piece
        if abs(got - length) <= 0.02 * length:
            break
    return best


def wobbler(rng: np.random.Generator) -> Callable[[], float]:
    """Numbers from [-1, 1] for `set_lines`."""
    return lambda: float(rng.uniform(-1, 1))


def advance(text: str, font: Font, size: float, like: str = "") -> float:
    """How far the pen goes over a text, in pixels.

    like: a text whose layout is used; by default the text's own.
    """
    return _advance(text, font, round(size * 4) / 4, like or text)


@lru_cache(maxsize=1 << 14)
def _advance(text: str, font: Font, size: float, like: str) -> float:
    return font.at(size, like).getlength(text)


def _space(font: Font, size: float) -> float:
    return advance(" ", font, size) if font.has("\u0020") and 0x20 in font.glyphs else 0.28 * size


def _hull(boxes: Sequence[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _shift(box: tuple[float, float, float, float], x: float, y: float) -> tuple[float, float, float, float]:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y
