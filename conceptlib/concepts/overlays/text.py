"""Stray text: a short word at a random place, as stickers, signs and captions leave it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from conceptlib.concepts.overlays import Mark, make_mark, rectangle, stamp

CONCEPT = "text"
WORDS = (
    *("SALE", "OPEN", "HELLO", "STOP", "NEW", "WOW", "YES", "FREE"),
    *("EXIT", "NEWS", "SHOP", "2024", "TAXI", "CAFE", "HOT"),
)
INKS = ((16, 16, 16), (250, 250, 250), (200, 24, 24), (24, 40, 160))


@dataclass(frozen=True)
class TextParams:
    """Ranges that a word is drawn from, each uniformly.

    Args:
        words: what it may say.
        inks: RGB colours, 0 to 255.
        height: height of a capital letter as a fraction of the picture's short side, above 0.
        rotation: degrees, clockwise.
        opacity: 0 (invisible) to 1.
    """

    words: tuple[str, ...] = WORDS
    inks: tuple[tuple[int, int, int], ...] = INKS
    height: tuple[float, float] = (0.06, 0.14)
    rotation: tuple[float, float] = (-8.0, 8.0)
    opacity: tuple[float, float] = (0.85, 1.0)


WORLD = TextParams(height=(0.12, 0.16))
"""For the embedded world's 64-pixel pictures: capitals of 8 to 10 px."""


def draw_text(
    image: Image.Image, rng: np.random.Generator, params: TextParams | None = None
) -> tuple[Image.Image, Mark]:
    """Write a word on an RGB picture; returns a new picture and the mark of the word's tight box."""
    params = params or TextParams()
    word = params.words[int(rng.integers(len(params.words)))]
    ink = params.inks[int(rng.integers(len(params.inks)))]
    height = float(rng.uniform(*params.height)) * min(image.size)
    rotation, opacity = float(rng.uniform(*params.rotation)), float(rng.uniform(*params.opacity))
    tile = word_tile(word, ink)
    width = height * tile.width / tile.height
    reach = np.ptp(rectangle((0, 0), width, height, rotation), axis=0) / 2
    x, y = (float(rng.uniform(min(r, s / 2), max(s - r, s / 2))) for r, s in zip(reach, image.size, strict=True))
    quad = rectangle((x, y), width, height, rotation)
    out = stamp(image, tile, quad, opacity, Image.Resampling.BILINEAR)
    drawn = {"ink": list(ink), "height": height, "rotation": rotation, "opacity": opacity}
    return out, make_mark(CONCEPT, quad, image.size, word, drawn)


@lru_cache(maxsize=256)
def word_tile(word: str, ink: tuple[int, int, int], font_size: int = 64) -> Image.Image:
    """A word in Pillow's own font, cropped to its ink: RGBA with premultiplied colours."""
    font = ImageFont.load_default(font_size)
    left, top, right, bottom = (int(v) for v in font.getbbox(word))
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).text((-left, -top), word, fill=255, font=font)
    mask = mask.crop(mask.getbbox())
    alpha = np.asarray(mask, dtype=np.float32)[..., None] / 255
    return Image.fromarray(np.concatenate([alpha * ink, alpha * 255], -1).round().astype(np.uint8))
