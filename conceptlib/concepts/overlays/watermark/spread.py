"""Marks over all of the picture or across it: a tiling (size: width of one repeat), a band (size: its height)."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from conceptlib.concepts.drawing import words
from conceptlib.concepts.drawing.emblems import EMBLEMS
from conceptlib.concepts.drawing.layers import Paint, Placed, place, tile, turned
from conceptlib.concepts.drawing.layers import plain as inked
from conceptlib.concepts.drawing.letters import set_lines
from conceptlib.concepts.drawing.sketch import BLACK, WHITE, Drawing, Sketch
from conceptlib.concepts.overlays import Part, clip_polygon
from conceptlib.concepts.overlays.watermark.logos import assembled, ink_of, said


def tiling(sketch: Sketch) -> Drawing:
    """A name, with or without emblem, again and again along slanted rows, every other row shifted by half a step."""
    text, font = said(sketch, (*words.AGENCIES, *words.PROOFS))
    form = sketch.choose(("name", "name", "beside"))
    figure = sketch.choose(EMBLEMS)
    piece = assembled(form, figure, text, font, sketch.scale)
    ink = ink_of(sketch, (sketch.size[0] / 2, sketch.size[1] / 2), sketch.size)
    one = inked(piece, ink, shadow=sketch.shadow, depth=0.01 * sketch.scale)
    width, height = sketch.size
    # The repeat is turned once, on a canvas of its own, and then laid down at whole pixels.
    reach = math.ceil(math.hypot(*one.size)) + 2
    middle = reach / 2
    pattern = place(one, turned(piece.size, (middle, middle), sketch.rotation), (reach, reach))
    step = (
        piece.size[0] * sketch.uniform(1.3, 1.9),
        max(piece.size[1] * sketch.uniform(2.2, 4.0), 0.09 * sketch.short),
    )
    whole = [Image.new("L", sketch.size) for _ in pattern.paints]
    parts = []
    places = np.rint(_lattice(sketch, step) - middle).astype(int)
    for at, quad in zip(places.tolist(), pattern.quad + places[:, None], strict=True):
        if not _is_seen(quad, sketch.size):
            continue
        corner = (at[0] + pattern.origin[0], at[1] + pattern.origin[1])
        for canvas, paint in zip(whole, pattern.paints, strict=True):
            canvas.paste(255, corner, paint.mask)
        parts.append(Part("repeat", text, quad.astype(np.float32)))
    paints = tuple(Paint(mask, paint.ink, paint.solid) for mask, paint in zip(whole, pattern.paints, strict=True))
    quad = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    drawn = {"form": form, "ink": list(ink), "font": font.name, "step": list(step)}
    return Drawing(None, quad, text, drawn, Placed((0, 0), paints, quad, tuple(parts)))


def _is_seen(quad: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether any of a quad (4, 2) lies in a picture of `size`."""
    (left, top), (right, bottom) = quad.min(0), quad.max(0)
    if left >= 0 and top >= 0 and right <= size[0] and bottom <= size[1]:
        return True
    if right < 0 or bottom < 0 or left > size[0] or top > size[1]:
        return False
    return len(clip_polygon(quad, size)) >= 3


def _lattice(sketch: Sketch, step: tuple[float, float]) -> np.ndarray:
    """The repeats' centres (n, 2): a grid turned with the letters, over all of the picture; the start is random."""
    width, height = sketch.size
    angle = math.radians(sketch.rotation)
    along, down = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    start = np.array([width / 2, height / 2]) + sketch.uniform(0, step[0]) * along + sketch.uniform(0, step[1]) * down
    radius = math.hypot(width, height) / 2 + max(step)
    rows, columns = math.ceil(radius / step[1]) + 1, math.ceil(radius / step[0]) + 1
    row = np.arange(-rows, rows + 1)[:, None, None]
    column = np.arange(-columns, columns + 1)[None, :, None]
    points = (start + (column + 0.5 * (row % 2)) * step[0] * along + row * step[1] * down).reshape(-1, 2)
    return points[((points > -step[0]) & (points < np.array(sketch.size) + step[0])).all(1)]


def band(sketch: Sketch) -> Drawing:
    """A bar across the picture, light or dark, with words in it or cut out of it."""
    text, font = said(sketch, (*words.AGENCIES, *words.PROOFS))
    height = max(6, round(sketch.scale))
    em = height * sketch.uniform(0.42, 0.62)
    piece = set_lines([text], font, em, tracking=0.1)
    width = sketch.size[0]
    if piece.size[0] > 0.94 * width:  # a long name on a high band
        em *= 0.94 * width / piece.size[0]
        piece = set_lines([text], font, em, tracking=0.1)
    bar = Image.new("L", (width, height), 255)
    spare = width - piece.size[0]
    at = (sketch.choose((spare // 2, spare // 2, round(0.03 * width))), (height - piece.size[1]) // 2)
    letters = Image.new("L", bar.size)
    letters.paste(piece.fill, at)
    cut = sketch.chance(0.3)
    if cut:
        bar.paste(0, (0, 0), letters)
    spot = sketch.choose(("bottom", "bottom", "middle", "top"))
    low = {"top": 0.0, "middle": 0.35, "bottom": 0.75}[spot] * sketch.size[1]
    y = low + sketch.uniform(0, 0.08) * sketch.size[1] + height / 2
    center = (width / 2, min(y, sketch.size[1] - height / 2))
    light = sketch.chance(0.4)
    if sketch.contrast:
        light = sketch.luminance(center, bar.size) < 128
    elif sketch.mode in ("multiply", "screen"):
        light = sketch.mode == "screen"
    ground, ink = (WHITE, BLACK) if light else (BLACK, WHITE)
    masks = [(bar, ground)] if cut else [(bar, ground), (letters, ink)]
    made = tile(masks, [box.moved(*at) for box in piece.parts])
    drawn = {"place": spot, "cut": cut, "ground": list(ground), "font": font.name}
    return Drawing(made, turned(bar.size, center, sketch.rotation), text, drawn)
