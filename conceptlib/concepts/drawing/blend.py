"""Blend modes (W3C, Compositing and Blending Level 1, section 10.1) of an overlay with the picture beneath it.

With backdrop cb and source cs in 0..1: normal cs; multiply cb cs; screen cb + cs - cb cs; overlay 2 cb cs where
cb <= 1/2, else 1 - 2 (1 - cb)(1 - cs). The picture is opaque, so the result is (1 - a) cb + a B(cb, cs), with the
overlay's alpha a.
"""

from __future__ import annotations

from PIL import Image, ImageChops

BLENDS = ("normal", "screen", "multiply", "overlay")

_FUNCTIONS = {"screen": ImageChops.screen, "multiply": ImageChops.multiply, "overlay": ImageChops.overlay}


def blend(backdrop: Image.Image, source: Image.Image, alpha: Image.Image, mode: str) -> Image.Image:
    """The backdrop under the source: a new RGB picture, within two of 255 levels of the formula.

    Args:
        backdrop, source: RGB of one size.
        alpha: L of that size.
        mode: one of `BLENDS`.
    """
    mixed = source if mode == "normal" else _FUNCTIONS[mode](backdrop, source)
    return Image.composite(mixed, backdrop, alpha)
