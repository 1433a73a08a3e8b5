"""Handwriting, in letters that dance and lean, and columns of letters one under the other. Size: 1 em."""

from __future__ import annotations

from conceptlib.concepts.drawing.layers import plain as inked
from conceptlib.concepts.drawing.layers import turned
from conceptlib.concepts.drawing.letters import set_column, set_lines, wobbler
from conceptlib.concepts.drawing.sketch import Drawing, Sketch, text_of
from conceptlib.concepts.drawing.words import needs_shaping
from conceptlib.concepts.overlays.text.lines import ink_for, on_plate, opposite, rounded


def handwriting(sketch: Sketch) -> Drawing:
    """One to three lines: in a font that looks written by hand where there is one, else in one that is made to lean."""
    writer, em = sketch.writer(handwriting=True), sketch.scale
    lean = 0.0 if writer.font.handwriting else sketch.uniform(0.15, 0.35)
    lines = writer.lines(em, 0.7 * sketch.size[0], int(sketch.rng.integers(1, 4)), 4)
    wobble = None if needs_shaping("".join(lines)) else wobbler(sketch.rng)
    piece = set_lines(lines, writer.font, em, spacing=1.2, wobble=wobble)
    center = sketch.anywhere(piece.size, lean)
    ink = ink_for(sketch, piece, center)
    made = inked(piece, ink, shadow=sketch.shadow, depth=em * 0.05)
    quad = turned(piece.size, center, sketch.rotation, lean)
    return Drawing(made, quad, text_of(lines), {"font": writer.font.name, "ink": list(ink), "lean": lean})


def vertical(sketch: Sketch) -> Drawing:
    """A word or two read downwards: letter under letter, or, of scripts whose letters join, turned by 90 degrees."""
    writer, em = sketch.writer(), sketch.scale
    most = int(0.9 * sketch.size[1] / (1.1 * em))
    word = next((w for w in (writer.cased(writer.word(), True) for _ in range(12)) if len(w) <= most), None)
    text = word or min(writer.words, key=len)
    quarter = needs_shaping(text)
    if quarter:
        piece = set_lines([text], writer.font, em)
    else:
        piece = set_column(text, writer.font, em, edge=max(1, round(0.06 * em)) if sketch.chance(0.3) else 0)
    side = (piece.size[1], piece.size[0]) if quarter else piece.size
    drawn = {"font": writer.font.name}
    turn = sketch.rotation + (90 if quarter else 0)
    if sketch.chance(0.35) and not quarter:
        pad = round(0.35 * em)
        size = (piece.size[0] + 2 * pad, piece.size[1] + 2 * pad)
        ground = sketch.choose(sketch.params.inks)
        center, ink = sketch.anywhere(size), opposite(ground)
        made = on_plate(piece, rounded(size, 0.15 * em), (pad, pad), ink, ground, sketch.shadow, em * 0.08)
    else:
        size, center = piece.size, sketch.anywhere(side)
        ink = ink_for(sketch, piece, center)
        made = inked(piece, ink, opposite(ink), sketch.shadow, em * 0.06)
    return Drawing(made, turned(size, center, turn), text_of([text]), {**drawn, "ink": list(ink)})
