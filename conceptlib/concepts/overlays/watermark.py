"""Watermarks: a half-transparent word, along a diagonal of the picture or in one of its corners."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from conceptlib.concepts.overlays import Mark, make_mark, rectangle, stamp
from conceptlib.concepts.overlays.text import word_tile

CONCEPT = "watermark"
WORDS = ("SAMPLE", "PROOF", "PREVIEW", "STOCK", "DEMO", "PHOTO")
FORMS = ("diagonal", "corner")


@dataclass(frozen=True)
class WatermarkParams:
    """Ranges that a watermark is drawn from, each uniformly.

    Args:
        words: what it may say.
        forms: "diagonal" (across the picture) or "corner" (bottom right).
        diagonal: length of a diagonal mark as a fraction of the picture's diagonal, above 0.
        corner: width of a corner mark as a fraction of the picture's width, above 0.
        opacity: 0 (invisible) to 1.
        grey: grey level of the ink, 0 to 255.
    """

    words: tuple[str, ...] = WORDS
    forms: tuple[str, ...] = FORMS
    diagonal: tuple[float, float] = (0.6, 0.8)
    corner: tuple[float, float] = (0.4, 0.6)
    opacity: tuple[float, float] = (0.35, 0.6)
    grey: tuple[int, int] = (190, 255)


WORLD = WatermarkParams(words=("SAMPLE", "PROOF", "STOCK", "DEMO"), grey=(150, 230), opacity=(0.45, 0.7))
"""For the embedded world's 64-pixel pictures, some of them white: darker and denser."""


def draw_watermark(
    image: Image.Image, rng: np.random.Generator, params: WatermarkParams | None = None
) -> tuple[Image.Image, Mark]:
    """Lay a watermark over an RGB picture; returns a new picture and the mark of the word's tight box."""
    params = params or WatermarkParams()
    word = params.words[int(rng.integers(len(params.words)))]
    form = str(rng.choice(params.forms))
    grey = int(rng.integers(params.grey[0], params.grey[1] + 1))
    opacity = float(rng.uniform(*params.opacity))
    tile = word_tile(word, (grey, grey, grey))
    width, height = image.size
    if form == "diagonal":
        length = float(rng.uniform(*params.diagonal)) * math.hypot(width, height)
        center, rotation = (width / 2, height / 2), -math.degrees(math.atan2(height, width))
    else:
        length, rotation = float(rng.uniform(*params.corner)) * width, 0.0
        margin = 0.03 * min(width, height)
        center = (width - margin - length / 2, height - margin - length * tile.height / tile.width / 2)
    quad = rectangle(center, length, length * tile.height / tile.width, rotation)
    out = stamp(image, tile, quad, opacity, Image.Resampling.BILINEAR)
    drawn = {"form": form, "grey": grey, "opacity": opacity, "length": length, "rotation": rotation}
    return out, make_mark(CONCEPT, np.asarray(quad), image.size, word, drawn)
