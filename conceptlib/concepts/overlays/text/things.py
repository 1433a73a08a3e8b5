"""Text on things: price tags, and signs in perspective. Size: 1 em of the letters."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from conceptlib.concepts.drawing.layers import tile, turned
from conceptlib.concepts.drawing.letters import set_lines
from conceptlib.concepts.drawing.sketch import BLACK, WHITE, Drawing, Sketch, text_of
from conceptlib.concepts.drawing.words import price as random_price
from conceptlib.concepts.overlays.text.lines import on_plate, rounded

TAGS = (
    ((200, 24, 24), WHITE),
    ((250, 208, 32), (24, 24, 24)),
    (WHITE, (200, 24, 24)),
    (WHITE, BLACK),
    ((24, 120, 60), WHITE),
    ((250, 120, 16), WHITE),
)
SIGNS = (
    ((24, 72, 150), WHITE),
    ((20, 106, 66), WHITE),
    ((170, 28, 28), WHITE),
    ((248, 248, 244), (24, 24, 24)),
    ((250, 206, 40), (20, 20, 20)),
    ((34, 36, 40), (244, 240, 226)),
    ((112, 76, 44), (246, 236, 210)),
)


def price(sketch: Sketch) -> Drawing:
    """A price on a burst, a disc, a sticker or a tag with a hole."""
    em = sketch.scale
    font = sketch.font("0123456789.$")
    text = random_price(sketch.rng, [sign for sign in "$€£" if font.has(sign)])
    piece = set_lines([text], font, em)
    form = sketch.choose(("burst", "disc", "sticker", "tag"))
    ground, ink = sketch.choose(TAGS)
    width, height = piece.size
    if form in ("burst", "disc"):
        across = round(math.hypot(width, height) * (1.35 if form == "burst" else 1.2))
        size = (across, across)
        plate = _burst(across) if form == "burst" else rounded(size, across / 2)
    elif form == "sticker":
        size = (width + round(0.9 * em), height + round(0.8 * em))
        plate = rounded(size, 0.2 * em)
    else:
        size = (width + round(1.9 * em), height + round(0.9 * em))
        plate = _tag(size)
    at = ((size[0] - width) // 2, (size[1] - height) // 2)
    if form == "tag":
        at = (size[0] - width - round(0.45 * em), at[1])
    made = on_plate(piece, plate, at, ink, ground, sketch.shadow or 0.35, em * 0.1)
    quad = turned(size, sketch.anywhere(size), sketch.rotation)
    return Drawing(made, quad, text_of([text]), {"font": font.name, "ink": list(ink), "form": form})


def sign(sketch: Sketch) -> Drawing:
    """One to three lines on a plate with a rim, seen at an angle."""
    writer, em = sketch.writer(), sketch.scale
    # Seen from the side it is at most this wide; what is too wide for the picture was never hung there.
    lines = writer.lines(em, 0.7 * sketch.size[0], int(sketch.rng.integers(1, 4)), 3, upper=sketch.chance(0.6))
    piece = set_lines(lines, writer.font, em, align="center", spacing=1.3)
    pad, rim = round(0.65 * em), max(1, round(0.08 * em))
    size = (piece.size[0] + 2 * pad, piece.size[1] + 2 * pad)
    ground, ink = sketch.choose(SIGNS)
    radius = 0.3 * em if sketch.chance(0.6) else 0.0
    plate = rounded(size, radius)
    face = Image.new("L", size)
    inset = 2 * rim
    face.paste(rounded((size[0] - 2 * inset, size[1] - 2 * inset), max(0.0, radius - inset)), (inset, inset))
    hollow = Image.new("L", size)
    deep = inset + rim
    hollow.paste(rounded((size[0] - 2 * deep, size[1] - 2 * deep), max(0.0, radius - deep)), (deep, deep))
    letters = Image.new("L", size)
    letters.paste(piece.fill, (pad, pad))
    masks = [(plate, ground), (face, ink), (hollow, ground), (letters, ink)]
    made = tile(masks, [box.moved(pad, pad) for box in piece.parts], sketch.shadow or 0.4, em * 0.12)
    quad = _seen_from_the_side(sketch, turned(size, (0.0, 0.0), sketch.rotation))
    low, high = quad.min(0), quad.max(0)
    reach = np.maximum((high - low) * sketch.params.overhang, 0)
    spare = np.array(sketch.size) - high
    where = [sketch.uniform(a, b) if a < b else (a + b) / 2 for a, b in zip(-low - reach, spare + reach, strict=True)]
    drawn = {"font": writer.font.name, "ink": list(ink), "ground": list(ground)}
    return Drawing(made, quad + where, text_of(lines), drawn)


def _seen_from_the_side(sketch: Sketch, quad: np.ndarray) -> np.ndarray:
    """The quad (4, 2), around the origin, turned about its upright axis by up to 50 degrees and tilted by up to 20."""
    yaw, tilt = (math.radians(sketch.uniform(-angle, angle)) for angle in (50, 20))
    distance = 2.2 * float(np.ptp(quad, axis=0).max())
    x, y = quad[:, 0] * math.cos(yaw), quad[:, 1] * math.cos(tilt)
    depth = distance + quad[:, 0] * math.sin(yaw) + quad[:, 1] * math.sin(tilt)
    return np.stack([x, y], 1) * (distance / depth)[:, None]


def _burst(across: int) -> Image.Image:
    fine = across * 3
    points = []
    for k in range(32):
        radius = fine / 2 * (1.0 if k % 2 == 0 else 0.86)
        angle = math.radians(360 / 32 * k)
        points.append((fine / 2 + radius * math.cos(angle), fine / 2 + radius * math.sin(angle)))
    mask = Image.new("L", (fine, fine))
    ImageDraw.Draw(mask).polygon(points, fill=255)
    return mask.reduce(3)


def _tag(size: tuple[int, int]) -> Image.Image:
    width, height = (3 * side for side in size)
    mask = Image.new("L", (width, height))
    pen = ImageDraw.Draw(mask)
    cut = 0.4 * height
    pen.polygon([(0, cut), (cut, 0), (width, 0), (width, height), (cut, height), (0, height - cut)], fill=255)
    x, y, r = 0.42 * height, height / 2, 0.13 * height
    pen.ellipse((x - r, y - r, x + r, y + r), fill=0)
    return mask.reduce(3)
