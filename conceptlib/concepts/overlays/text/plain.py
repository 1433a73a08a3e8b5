"""A short word in Pillow's own font, which even a picture of 64 pixels has room for. Size: height of the word."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from conceptlib.concepts.drawing.fonts import own
from conceptlib.concepts.drawing.sketch import of_kind
from conceptlib.concepts.overlays import Mark, make_mark, rectangle, stamp
from conceptlib.errors import ConceptlibError

WORDS = (
    *("SALE", "OPEN", "HELLO", "STOP", "NEW", "WOW", "YES", "FREE"),
    *("EXIT", "NEWS", "SHOP", "2024", "TAXI", "CAFE", "HOT"),
)


def draw(concept: str, image: Image.Image, rng: np.random.Generator, params: Any) -> tuple[Image.Image, Mark]:
    """Write a word of `params.words` (TextParams) anywhere; the mark is the word's tight box."""
    words = writable(params.words or WORDS)
    word = words[int(rng.integers(len(words)))]
    ink = params.inks[int(rng.integers(len(params.inks)))]
    height = float(rng.uniform(*of_kind(params.size, "plain"))) * min(image.size)
    rotation, opacity = (
        float(rng.uniform(*of_kind(params.rotation, "plain"))),
        float(rng.uniform(*of_kind(params.opacity, "plain"))),
    )
    tile = word_tile(word, ink)
    width = height * tile.width / tile.height
    reach = np.ptp(rectangle((0, 0), width, height, rotation), axis=0) / 2
    x, y = (float(rng.uniform(min(r, s / 2), max(s - r, s / 2))) for r, s in zip(reach, image.size, strict=True))
    quad = rectangle((x, y), width, height, rotation)
    out, mask = stamp(image, tile, quad, opacity, Image.Resampling.BILINEAR)
    drawn = {"kind": "plain", "ink": list(ink), "height": height, "rotation": rotation, "opacity": opacity}
    return out, make_mark(concept, quad, image.size, word, drawn, mask, opacity)


@lru_cache(maxsize=64)
def writable(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words that Pillow's own font has every character of; `ConceptlibError` if there are none."""
    kept = tuple(word for word in words if own().has(word) and word.strip())
    if not kept:
        raise ConceptlibError(
            "Pillow's own font has the characters of none of the words",
            where="words",
            hint="the kind `plain` knows no other font; take larger pictures and other kinds, or other words",
        )
    return kept


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
