"""Marks of an emblem, a name, or both: a logo in a corner, an agency's mark in the middle, an outline. Size: width."""

from __future__ import annotations

from conceptlib.concepts.drawing import words
from conceptlib.concepts.drawing.emblems import EMBLEMS, emblem
from conceptlib.concepts.drawing.fonts import Font
from conceptlib.concepts.drawing.layers import Ink, tile, turned
from conceptlib.concepts.drawing.layers import plain as inked
from conceptlib.concepts.drawing.letters import Piece, fitted, join, set_lines
from conceptlib.concepts.drawing.sketch import Drawing, Sketch

COLOURS: tuple[Ink, ...] = ((220, 40, 40), (30, 90, 200), (240, 150, 20), (30, 150, 90), (150, 60, 170), (250, 220, 60))


def logo(sketch: Sketch) -> Drawing:
    """An emblem, or an emblem with a name beside or below it, or a name alone, in a corner."""
    text, font = said(sketch, words.AGENCIES)
    form = sketch.choose(("emblem", "beside", "below", "name"))
    figure = sketch.choose(EMBLEMS)
    width = sketch.scale * (0.55 if form == "emblem" else 1.0)
    piece = assembled(form, figure, text, font, width)
    place = sketch.choose(("bottom right", "bottom right", "bottom left", "top right", "top left"))
    center = at_margin(sketch, piece, place, sketch.uniform(0.02, 0.06))
    ink = ink_of(sketch, center, piece.size)
    made = inked(piece, ink, shadow=sketch.shadow, depth=0.02 * sketch.scale)
    drawn = {"form": form, "place": place, "ink": list(ink), "font": font.name}
    drawn |= {"emblem": figure} if form != "name" else {}
    # An emblem alone says nothing; its name stands for it.
    return Drawing(made, turned(piece.size, center, sketch.rotation), figure if form == "emblem" else text, drawn)


def agency(sketch: Sketch) -> Drawing:
    """A stock agency's mark in the middle: its emblem and name, or its name between lines."""
    text, font = said(sketch, words.AGENCIES)
    form = sketch.choose(("below", "beside", "ruled"))
    figure = sketch.choose(EMBLEMS)
    if form == "ruled":
        name = fitted(lambda em: set_lines([text], font, em, tracking=0.12), sketch.scale)
        piece = _ruled(name)
    else:
        piece = assembled(form, figure, text, font, sketch.scale)
    width, height = sketch.size
    center = (width * sketch.uniform(0.47, 0.53), height * sketch.uniform(0.44, 0.56))
    ink = ink_of(sketch, center, piece.size)
    made = inked(piece, ink, shadow=sketch.shadow, depth=0.01 * sketch.scale)
    drawn = {"form": form, "ink": list(ink), "font": font.name} | ({"emblem": figure} if form != "ruled" else {})
    return Drawing(made, turned(piece.size, center, sketch.rotation), text, drawn)


def outline(sketch: Sketch) -> Drawing:
    """The outline of large letters, hollow inside, across the middle."""
    text, font = said(sketch, (*words.PROOFS, *words.AGENCIES))

    def hollow(em: float) -> Piece:
        return set_lines([text], font, em, edge=max(2, round(em * 0.035)), tracking=0.08)

    piece = fitted(hollow, sketch.scale)
    width, height = sketch.size
    center = (width * sketch.uniform(0.46, 0.54), height * sketch.uniform(0.4, 0.6))
    ink = ink_of(sketch, center, piece.size)
    made = tile([(piece.ring, ink)], piece.parts, sketch.shadow, 0.01 * sketch.scale)
    return Drawing(made, turned(piece.size, center, sketch.rotation), text, {"ink": list(ink), "font": font.name})


def said(sketch: Sketch, names: tuple[str, ...]) -> tuple[str, Font]:
    """What the mark says, and a font that can: the spec's words, or one of the names."""
    p = sketch.params
    if p.words or "latin" not in p.scripts or sketch.chance(p.random):
        writer = sketch.writer()
        return writer.cased(writer.word(), not p.words and sketch.chance(0.5)), writer.font
    text = words.choice(sketch.rng, names)
    return text, sketch.font(text)


def assembled(form: str, figure: str, text: str, font: Font, width: float) -> Piece:
    """Emblem and name, `width` pixels wide."""

    def make(em: float) -> Piece:
        name = set_lines([text], font, em, tracking=0.04)
        if form == "name":
            return name
        if form == "beside":
            return join([Piece(emblem(figure, round(1.35 * em))), name], "x", round(0.35 * em))
        if form == "below":
            return join([Piece(emblem(figure, round(2.3 * em))), name], "y", round(0.4 * em))
        return Piece(emblem(figure, round(em)))

    return fitted(make, width)


def ink_of(sketch: Sketch, center: tuple[float, float], size: tuple[int, int]) -> Ink:
    """Light grey to white; or dark; or a colour; where the sketch asks for contrast, the one of these that gives it."""
    p = sketch.params
    roll = sketch.uniform(0, 1)
    light = int(sketch.rng.integers(p.grey[0], p.grey[1] + 1))
    dark = int(sketch.rng.integers(0, 50))
    if sketch.contrast:
        level = dark if sketch.luminance(center, size) > 127 else light
        return (level, level, level)
    if p.dark <= roll < p.dark + p.coloured:
        return sketch.choose(COLOURS)
    level = dark if sketch.mode == "multiply" or (roll < p.dark and sketch.mode != "screen") else light
    return (level, level, level)


def at_margin(sketch: Sketch, piece: Piece, place: str, share: float) -> tuple[float, float]:
    """A centre at an edge: `share` of the short side away from it, or, where overhang is allowed, beyond it."""
    margin = share * sketch.short
    if sketch.params.overhang:
        margin -= sketch.uniform(0, sketch.params.overhang) * min(piece.size)
    return sketch.at_edge(piece.size, place, margin)


def _ruled(name: Piece) -> Piece:
    """A name between two thin lines."""
    from PIL import Image

    width, height = name.size
    thick, gap = max(1, round(0.05 * height)), round(0.4 * height)
    rule = Piece(Image.new("L", (width, thick), 255))
    return join([rule, name, rule], "y", gap)
