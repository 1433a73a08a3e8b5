"""A grey word along the diagonal or bottom right, which even a picture of 64 pixels has room for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

from conceptlib.concepts.drawing.sketch import of_kind
from conceptlib.concepts.overlays import Mark, make_mark, rectangle, stamp
from conceptlib.concepts.overlays.text.plain import word_tile, writable

WORDS = ("SAMPLE", "PROOF", "PREVIEW", "STOCK", "DEMO", "PHOTO")
FORMS = ("diagonal", "corner")
DIAGONAL = (0.6, 0.8)
"""Length of a diagonal mark as a fraction of the picture's diagonal."""
CORNER = (0.4, 0.6)
"""Width of a corner mark as a fraction of the picture's width."""


def draw(concept: str, image: Image.Image, rng: np.random.Generator, params: Any) -> tuple[Image.Image, Mark]:
    """Lay a word of `params.words` (WatermarkParams) over a picture; the mark is the word's tight box."""
    words = writable(params.words or WORDS)
    word = words[int(rng.integers(len(words)))]
    form = str(rng.choice(FORMS))
    grey = int(rng.integers(params.grey[0], params.grey[1] + 1))
    opacity = float(rng.uniform(*of_kind(params.opacity, "plain")))
    tile = word_tile(word, (grey, grey, grey))
    width, height = image.size
    if form == "diagonal":
        length = float(rng.uniform(*DIAGONAL)) * math.hypot(width, height)
        center, rotation = (width / 2, height / 2), -math.degrees(math.atan2(height, width))
    else:
        length, rotation = float(rng.uniform(*CORNER)) * width, 0.0
        margin = 0.03 * min(width, height)
        center = (width - margin - length / 2, height - margin - length * tile.height / tile.width / 2)
    quad = rectangle(center, length, length * tile.height / tile.width, rotation)
    out, mask = stamp(image, tile, quad, opacity, Image.Resampling.BILINEAR)
    drawn = {"kind": "plain", "form": form, "grey": grey, "opacity": opacity, "length": length, "rotation": rotation}
    return out, make_mark(concept, np.asarray(quad), image.size, word, drawn, mask, opacity)
