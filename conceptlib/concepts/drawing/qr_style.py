"""QR codes as they occur: in colours, inverted, with round modules and a logo, a little blurred, seen at an angle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from conceptlib.concepts.drawing.layers import homography
from conceptlib.concepts.overlays import Mask

LOGO_SHARE = {"Q": 0.2, "H": 0.25}
"""Side of a logo, of the code's: what the error correction of these levels makes up for. Others carry none."""
_PIXELS = 8  # a module


@dataclass(frozen=True)
class Style:
    """How one code is drawn.

    Args:
        dark, light: RGB, 0 to 255, of the modules and of the ground; exchanged where `inverted`.
        rounded: modules are dots, but for the finders' squares. logo: a disc of this colour in the middle; None: none.
        blur: radius, in modules. shrink: (4,), how far each corner moves to the middle, a share of its distance.
    """

    dark: tuple[int, int, int]
    light: tuple[int, int, int]
    rounded: bool = False
    logo: tuple[int, int, int] | None = None
    inverted: bool = False
    blur: float = 0.0
    shrink: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)

    def told(self) -> dict[str, Any]:
        """For `Mark.drawn`."""
        return {
            **{"rounded": self.rounded, "logo": self.logo is not None, "inverted": self.inverted, "blur": self.blur},
            **{"shrink": list(self.shrink), "ink": list(self.dark), "ground": list(self.light)},
        }


def draw_style(rng: np.random.Generator, params: Any, level: str, dark: int, light: int) -> Style | None:
    """A style by the shares and ranges of `overlays.qr.QrParams`; None, and no number drawn, where all are 0."""
    shares = (params.coloured, params.rounded, params.logo, params.inverted)
    if not any(shares) and not params.blur[1] and not params.perspective[1]:
        return None
    coloured, rounded, logo, inverted = (bool(rng.random() < share) for share in shares)
    hue = rng.integers(0, 256, 6).tolist()
    # The one channel that a code must not lose is lightness: inks stay dark, grounds light.
    ink = tuple(int(dark + 0.35 * value) for value in hue[:3]) if coloured else (dark,) * 3
    ground = tuple(int(light - 0.15 * value) for value in hue[3:]) if coloured else (light,) * 3
    disc = tuple(int(value) for value in rng.integers(0, 256, 3))
    return Style(
        (ink[0], ink[1], ink[2]),
        (ground[0], ground[1], ground[2]),
        rounded,
        (disc[0], disc[1], disc[2]) if logo and level in LOGO_SHARE else None,
        inverted,
        float(rng.uniform(*params.blur)),
        tuple(rng.uniform(*params.perspective) * rng.random(4)),
    )


def tile(modules: np.ndarray, quiet: int, style: Style, level: str) -> Image.Image:
    """RGB, `_PIXELS` a module; modules bool (side, side) with the quiet zone of `quiet` modules around."""
    ink, ground = (style.light, style.dark) if style.inverted else (style.dark, style.light)
    size = len(modules) * _PIXELS
    shape = Image.fromarray(np.kron(modules, np.ones((_PIXELS, _PIXELS), bool)).astype(np.uint8) * 255)
    if style.rounded:
        dots = Image.new("L", (size, size))
        draw = ImageDraw.Draw(dots)
        for row, column in np.argwhere(modules).tolist():
            draw.ellipse(
                (column * _PIXELS, row * _PIXELS, (column + 1) * _PIXELS - 1, (row + 1) * _PIXELS - 1), fill=255
            )
        side = 7 * _PIXELS
        near, far = quiet * _PIXELS, size - quiet * _PIXELS - side
        for corner in ((near, near), (far, near), (near, far)):
            box = (*corner, corner[0] + side, corner[1] + side)
            dots.paste(shape.crop(box), box)
        shape = dots
    out = Image.new("RGB", (size, size), ground)
    out.paste(ink, (0, 0), shape)
    if style.logo is not None:
        reach = LOGO_SHARE[level] * (len(modules) - 2 * quiet) * _PIXELS / 2
        middle = size / 2
        draw = ImageDraw.Draw(out)
        draw.ellipse((middle - reach, middle - reach, middle + reach, middle + reach), fill=ground)
        reach *= 0.8
        draw.ellipse((middle - reach, middle - reach, middle + reach, middle + reach), fill=style.logo)
    return out.filter(ImageFilter.GaussianBlur(style.blur * _PIXELS)) if style.blur else out


def seen(quad: np.ndarray, shrink: tuple[float, ...]) -> np.ndarray:
    """A quad (4, 2) at an angle: each corner moved to the middle by its share of the way."""
    return np.asarray(quad + (quad.mean(0) - quad) * np.asarray(shrink)[:, None])


def inner(quad: np.ndarray, share: float) -> np.ndarray:
    """The corners (4, 2) of the square in the middle, `share` of the side, of a square that is seen as `quad`."""
    edge = (1 - share) / 2
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
    points = np.array([(edge, edge), (1 - edge, edge), (1 - edge, 1 - edge), (edge, 1 - edge)])
    mapped = np.c_[points, np.ones(4)] @ homography(unit, quad).T
    return mapped[:, :2] / mapped[:, 2:]


def stamp(image: Image.Image, code: Image.Image, quad: np.ndarray, opacity: float) -> tuple[Image.Image, Mask]:
    """Lay an RGB tile over an RGB picture, its corners on `quad` (4, 2); returns a new one, and what is covered."""
    left, top = np.maximum(np.floor(quad.min(0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(quad.max(0)), image.size).astype(int).tolist()
    if left >= right or top >= bottom:
        return image.copy(), Mask(0, 0, np.zeros((0, 0), np.uint8))
    factor = 3
    corners = np.array([(0, 0), (code.width, 0), (code.width, code.height), (0, code.height)], np.float64)
    finer = np.array([[1 / factor, 0, left], [0, 1 / factor, top], [0, 0, 1]])
    back = np.linalg.inv(homography(corners, quad)) @ finer
    coefficients = tuple((back / back[2, 2]).reshape(-1)[:8])
    fine = ((right - left) * factor, (bottom - top) * factor)

    def placed(layer: Image.Image) -> Image.Image:
        turned = layer.transform(fine, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
        return turned.reduce(factor)

    mask = placed(Image.new("L", code.size, 255))
    covered = np.asarray(mask)
    # Pixels at the edge hold black from outside the tile: their colours are those of their covered part.
    colours = np.asarray(placed(code), np.float32) * 255 / np.maximum(covered, 1)[..., None]
    solid = Image.fromarray(np.clip(np.rint(colours), 0, 255).astype(np.uint8))
    out = image.copy()
    out.paste(solid, (left, top), mask.point(lambda value: round(value * opacity)))
    return out, Mask(left, top, covered)
