"""Watermarks as they occur: corner logos, agencies' marks, tilings, signatures, bands, outlines, date stamps.

    image, mark = draw_watermark(image, rng, WatermarkParams(kinds=("tiling",)))
    image, mark = draw_watermark(image, rng, WORLD)          # a 64-pixel picture of the embedded world

The mark's quad is the tight box of letters and emblem; of a band the band, of a tiling the whole picture, with a part
for every repeat. `mark.parts` has the lines and words of the others; `mark.payload` is what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from conceptlib.concepts.drawing import sketch
from conceptlib.concepts.drawing.blend import BLENDS
from conceptlib.concepts.drawing.fonts import Font
from conceptlib.concepts.drawing.sketch import ByKind, Kind
from conceptlib.concepts.overlays import Mark
from conceptlib.concepts.overlays.watermark import corners, logos, plain, spread

CONCEPT = "watermark"
_KINDS: dict[str, Kind] = {
    "logo": logos.logo,
    "agency": logos.agency,
    "outline": logos.outline,
    "tiling": spread.tiling,
    "band": spread.band,
    "signature": corners.signature,
    "date": corners.date,
}
KINDS = tuple(_KINDS)

SIZES: Mapping[str, tuple[float, float]] = {
    **{"logo": (0.14, 0.32), "agency": (0.35, 0.75), "outline": (0.4, 0.85), "tiling": (0.16, 0.34)},
    **{"band": (0.07, 0.16), "signature": (0.18, 0.36), "date": (0.2, 0.34)},
}
ROTATIONS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("logo", "band", "date"), (0.0, 0.0)),
    **{"agency": (-30.0, 10.0), "outline": (-40.0, 0.0), "tiling": (-45.0, -15.0), "signature": (-12.0, 3.0)},
}
OPACITIES: Mapping[str, tuple[float, float]] = {
    **{"logo": (0.2, 0.6), "agency": (0.12, 0.5), "outline": (0.3, 0.6), "tiling": (0.08, 0.4)},
    **{"band": (0.15, 0.6), "signature": (0.25, 0.6), "date": (0.35, 0.6), "plain": (0.35, 0.6)},
}


@dataclass(frozen=True)
class WatermarkParams(sketch.Params):
    """What a watermark is drawn from, each uniformly from its range or tuple; the defaults suit pictures of 256 px and
    more.

    Args:
        kinds: `KINDS` to choose from, or "plain": a grey word in Pillow's own font, for small pictures.
        words: what it may say; empty: invented agencies and photographers, PROOF and the like. Dates are always made
            up.
        scripts, random: as `TextParams` has them; they matter where a mark's words are neither `words` nor a name.
        grey: grey level of light inks, 0 to 255.
        dark: share of marks in dark ink. coloured: share of marks in a colour.
            Multiplied marks are never light, screened ones never dark: they could not be seen.
        size: of the mark, as a fraction of the picture's short side: one range, or one a kind. The width of the mark;
            of a tiling, of one repeat; of a band, its height. Kind plain has its own.
        rotation: degrees, clockwise: one range, or one a kind.
        opacity: 0 (invisible) to 1: one range, or one a kind.
        blends: blend modes (`drawing.blend.BLENDS`).
        shadow: share of marks with a soft shadow.
        overhang: share of the mark's width and height that may lie outside the picture: of kinds at an edge.
        fonts: to choose from; empty: Pillow's own.
    """

    kinds: tuple[str, ...] = KINDS
    words: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ("latin",)
    random: float = 0.0
    grey: tuple[int, int] = (190, 255)
    dark: float = 0.15
    coloured: float = 0.15
    size: ByKind = field(default_factory=lambda: dict(SIZES))
    rotation: ByKind = field(default_factory=lambda: dict(ROTATIONS))
    opacity: ByKind = field(default_factory=lambda: dict(OPACITIES))
    blends: tuple[str, ...] = BLENDS
    shadow: float = 0.25
    overhang: float = 0.0
    fonts: tuple[Font, ...] = ()


WORLD = WatermarkParams(
    kinds=("plain",), words=("SAMPLE", "PROOF", "STOCK", "DEMO"), grey=(150, 230), opacity=(0.45, 0.7), overhang=0.5
)
"""For the embedded world's 64-pixel pictures, some of them white: darker and denser."""


def draw_watermark(
    image: Image.Image, rng: np.random.Generator, params: WatermarkParams | None = None
) -> tuple[Image.Image, Mark]:
    """Lay a watermark over an RGB picture; returns a new picture and the mark."""
    params = params or WatermarkParams()
    # One kind alone draws no number: the world's pictures stay as they are.
    kind = params.kinds[int(rng.integers(len(params.kinds)))] if len(params.kinds) > 1 else params.kinds[0]
    if kind == "plain":
        return plain.draw(CONCEPT, image, rng, params)
    return sketch.draw(CONCEPT, image, rng, params, _KINDS, kind)
