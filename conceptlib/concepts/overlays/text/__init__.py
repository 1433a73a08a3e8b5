"""Text that nobody mentions: words, captions, subtitles, memes, price tags, signs, paragraphs, handwriting, columns.

    image, mark = draw_text(image, rng, TextParams(kinds=("sign",)))
    image, mark = draw_text(image, rng, WORLD)          # a 64-pixel picture of the embedded world

The mark's quad is the tight box of all that was drawn (of a sign or a caption on a plate, the plate); `mark.parts` has
a quad and the string of every line and word, `mark.payload` the lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from conceptlib.concepts.drawing import sketch
from conceptlib.concepts.drawing.fonts import Font
from conceptlib.concepts.drawing.sketch import ByKind, Kind
from conceptlib.concepts.drawing.words import SCRIPTS
from conceptlib.concepts.overlays import Mark
from conceptlib.concepts.overlays.text import freehand, lines, plain, things

CONCEPT = "text"
_KINDS: dict[str, Kind] = {
    "word": lines.word,
    "caption": lines.caption,
    "subtitle": lines.subtitle,
    "meme": lines.meme,
    "paragraph": lines.paragraph,
    "price": things.price,
    "sign": things.sign,
    "handwriting": freehand.handwriting,
    "vertical": freehand.vertical,
}
KINDS = tuple(_KINDS)
INKS = ((16, 16, 16), (250, 250, 250), (200, 24, 24), (24, 40, 160))


@dataclass(frozen=True)
class TextParams(sketch.Params):
    """What a text is drawn from, each uniformly from its range or tuple; the defaults suit pictures of 256 px and more.

    Args:
        kinds: `KINDS` to choose from, or "plain": one word in Pillow's own font, for small pictures.
        words: what it may say; empty: built-in words of the `scripts`. Prices are always made up.
        scripts: writing systems (`drawing.words.SCRIPTS`); of these, the ones that the font has.
        random: share of built-in words replaced by made-up ones, 0 to 1.
        inks: RGB colours, 0 to 255. Letters without plate or outline mostly take the one that stands out.
        size: of the letters, from line top to line bottom (1 em), as a fraction of the picture's short side: one range,
            or one a kind. In kind plain the height of the word.
        rotation: degrees, clockwise: one range, or one a kind.
        opacity: 0 (invisible) to 1: one range, or one a kind.
        blends: blend modes (`drawing.blend.BLENDS`).
        shadow: share of texts with a soft shadow.
        overhang: share of the text's width and height that may lie outside the picture, of the kinds that may lie
            anywhere.
        fonts: to choose from; empty: Pillow's own.
    """

    kinds: tuple[str, ...] = KINDS
    words: tuple[str, ...] = ()
    scripts: tuple[str, ...] = tuple(SCRIPTS)
    random: float = 0.15
    inks: tuple[tuple[int, int, int], ...] = (*INKS, (250, 208, 32), (24, 120, 60))
    size: ByKind = field(default_factory=lambda: dict(SIZES))
    rotation: ByKind = field(default_factory=lambda: dict(ROTATIONS))
    opacity: ByKind = (0.85, 1.0)
    blends: tuple[str, ...] = ("normal",)
    shadow: float = 0.2
    overhang: float = 0.0
    fonts: tuple[Font, ...] = ()


SIZES: Mapping[str, tuple[float, float]] = {
    **{"word": (0.07, 0.18), "caption": (0.04, 0.065), "subtitle": (0.05, 0.075), "meme": (0.09, 0.13)},
    **{"paragraph": (0.032, 0.05), "price": (0.06, 0.12), "sign": (0.06, 0.11), "handwriting": (0.06, 0.12)},
    **{"vertical": (0.06, 0.11), "plain": (0.06, 0.14)},
}
ROTATIONS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("caption", "subtitle", "meme"), (0.0, 0.0)),
    **{"word": (-15.0, 15.0), "paragraph": (-2.0, 2.0), "price": (-20.0, 20.0), "sign": (-8.0, 8.0)},
    **{"handwriting": (-12.0, 6.0), "vertical": (-2.0, 2.0), "plain": (-8.0, 8.0)},
}

WORLD = TextParams(
    kinds=("plain",),
    words=plain.WORDS,
    scripts=("latin",),
    random=0.0,
    inks=INKS,
    size=(0.12, 0.16),
    rotation=(-8.0, 8.0),
    shadow=0.0,
)
"""For the embedded world's 64-pixel pictures: capitals of 8 to 10 px."""


def draw_text(
    image: Image.Image, rng: np.random.Generator, params: TextParams | None = None
) -> tuple[Image.Image, Mark]:
    """Write on an RGB picture; returns a new picture and the mark."""
    params = params or TextParams()
    # One kind alone draws no number: the world's pictures stay as they are.
    kind = params.kinds[int(rng.integers(len(params.kinds)))] if len(params.kinds) > 1 else params.kinds[0]
    if kind == "plain":
        return plain.draw(CONCEPT, image, rng, params)
    return sketch.draw(CONCEPT, image, rng, params, _KINDS, kind)
