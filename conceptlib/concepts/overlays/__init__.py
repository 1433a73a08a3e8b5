"""Overlays: what pollutes a picture behind its caption's back, drawn with exact geometry.

One module an overlay (`qr`, `watermark`, `text`); each has a `draw_*(image, rng, params)` that returns the polluted
picture, a new one, and a `Mark` saying exactly where the overlay lies. Here is what they share: the mark, clipping,
occlusion, the affine stamp and recompression; `conceptlib.concepts.drawing` has fonts, lettering and layers.
Coordinates are pixels, x to the right and y down, (0, 0) the outer corner of the top left pixel.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True, eq=False)
class Mask:
    """Which pixels an overlay covers: uint8 (height, width), 255 for all of the pixel, of the region whose top left
    pixel is (`left`, `top`); all of it inside the picture.
    """

    left: int
    top: int
    alpha: np.ndarray

    @property
    def area(self) -> int:
        """Pixels of which at least half is covered."""
        return int(np.count_nonzero(self.alpha >= 128))


@dataclass(frozen=True, eq=False)
class Part:
    """A part of an overlay.

    Args:
        kind: `line` or `word` of a text, `repeat` of a tiling.
        text: what it says.
        quad: float32 (4, 2), absolute pixels before clipping, as `Mark.quad`.
    """

    kind: str
    text: str
    quad: np.ndarray


@dataclass(frozen=True, eq=False)
class Mark:
    """One overlay as it was drawn.

    Args:
        concept: "qr-code", "watermark" or "text".
        quad: float32 (4, 2), the overlay's corners in absolute pixels before clipping: top left, top right, bottom
            right and bottom left of the unrotated overlay. Of a QR code: the code itself, without its quiet zone.
        bbox: float32 (4,), xyxy in absolute pixels: the quad's box clipped to the picture; zeros where nothing is
            visible.
        visible: share of the quad's area inside the picture, 0 to 1; after `occlude`, less what later overlays hide.
        payload: what the overlay says.
        drawn: the parameters it was drawn with (JSON types only).
        mask: the pixels it covers (a code with its quiet zone; letters, not what is between them).
        opacity: of the whole, 0 to 1.
        parts: lines, words or repeats, where the overlay has them.
    """

    concept: str
    quad: np.ndarray
    bbox: np.ndarray
    visible: float
    payload: str
    drawn: Mapping[str, Any] = field(default_factory=dict)
    mask: Mask = field(default_factory=lambda: Mask(0, 0, np.zeros((0, 0), np.uint8)))
    opacity: float = 1.0
    parts: tuple[Part, ...] = ()

    @property
    def area(self) -> int:
        """Pixels of the picture that it covers at least half of, whatever lies over it."""
        return self.mask.area


def make_mark(
    concept: str,
    quad: np.ndarray,
    size: tuple[int, int],
    payload: str,
    drawn: Mapping[str, Any],
    mask: Mask,
    opacity: float = 1.0,
    parts: tuple[Part, ...] = (),
) -> Mark:
    """The mark of a quad (4, 2) on a picture of `size` (width, height) pixels."""
    polygon = clip_polygon(quad, size)
    bbox = np.zeros(4) if len(polygon) < 3 else np.concatenate([polygon.min(0), polygon.max(0)])
    visible = polygon_area(polygon) / max(polygon_area(quad), 1e-9)
    return Mark(
        concept,
        quad.astype(np.float32),
        bbox.astype(np.float32),
        float(np.clip(visible, 0, 1)),
        payload,
        drawn,
        mask,
        opacity,
        parts,
    )


def occlude(marks: Sequence[Mark]) -> list[Mark]:
    """The marks of one picture, in the order in which they were drawn, with `visible` lessened by what lies over them.

    A pixel that a mark covers is hidden where the overlays drawn later together let less than half of it through.
    """
    return [replace(mark, visible=mark.visible * (1 - _hidden(mark, marks[k + 1 :]))) for k, mark in enumerate(marks)]


def _hidden(mark: Mark, later: Sequence[Mark]) -> float:
    """Share of the mark's own pixels that later ones hide."""
    own = mark.mask
    height, width = own.alpha.shape
    through: np.ndarray | None = None
    for other in later:
        over = other.mask
        left, top = max(own.left, over.left), max(own.top, over.top)
        right = min(own.left + width, over.left + over.alpha.shape[1])
        bottom = min(own.top + height, over.top + over.alpha.shape[0])
        if left >= right or top >= bottom:
            continue
        if through is None:
            through = np.ones((height, width), np.float32)
        seen = over.alpha[top - over.top : bottom - over.top, left - over.left : right - over.left]
        through[top - own.top : bottom - own.top, left - own.left : right - own.left] *= 1 - seen * (
            other.opacity / 255
        )
    if through is None or not own.area:
        return 0.0
    return np.count_nonzero((own.alpha >= 128) & (through < 0.5)) / own.area


def polygon_area(polygon: np.ndarray) -> float:
    """Area of a simple polygon (n, 2), in square pixels; 0 below three points."""
    if len(polygon) < 3:
        return 0.0
    points = polygon.tolist()  # few: numbers are faster than arrays of them
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(points, [*points[1:], points[0]], strict=True))) / 2


def clip_polygon(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a convex polygon (n, 2) inside a picture of `size` (width, height), after Sutherland and Hodgman.

    Returns points (m, 2); m is 0 if nothing is inside.
    """
    points = [(float(x), float(y)) for x, y in polygon]
    for axis, bound, sign in ((0, 0.0, 1), (0, float(size[0]), -1), (1, 0.0, 1), (1, float(size[1]), -1)):
        kept: list[tuple[float, float]] = []
        for a, b in zip(points, points[1:] + points[:1], strict=True):
            da, db = sign * (a[axis] - bound), sign * (b[axis] - bound)
            if da >= 0:
                kept.append(a)
            if (da > 0 > db) or (da < 0 < db):
                t = da / (da - db)
                cut = [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])]
                cut[axis] = bound
                kept.append((cut[0], cut[1]))
        points = kept
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def rectangle(center: tuple[float, float], width: float, height: float, rotation: float) -> np.ndarray:
    """Corners (4, 2) of a rectangle turned by `rotation` degrees clockwise about `center`.

    In the order top left, top right, bottom right, bottom left of the unturned rectangle.
    """
    angle = math.radians(rotation)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([(-width, -height), (width, -height), (width, height), (-width, height)]) / 2
    return corners @ turn.T + center


def stamp(
    image: Image.Image, tile: Image.Image, quad: np.ndarray, opacity: float, resample: Image.Resampling
) -> tuple[Image.Image, Mask]:
    """Lay a tile over a picture so that its corners fall on `quad`, a parallelogram (4, 2) in pixels.

    Args:
        image: RGB.
        tile: RGBA with premultiplied colours (black where transparent), or L: grey, opaque.
        opacity: 0 to 1, multiplies the tile's alpha.
        resample: how the tile is sampled; the stamp averages several samples a pixel, so NEAREST keeps a code's edges
            exact.

    Returns:
        A new picture, and the tile's alpha there, opacity not included.
    """
    left, top = np.maximum(np.floor(quad.min(0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(quad.max(0)), image.size).astype(int)
    if left >= right or top >= bottom:
        return image.copy(), Mask(0, 0, np.zeros((0, 0), np.uint8))
    factor = 4 if max(right - left, bottom - top) <= 256 else 3
    # Picture pixel p = quad[0] + u * along + v * down, with (u, v) in 0..1 over the tile; Pillow wants tile pixel as
    # function of p.
    along, down = quad[1] - quad[0], quad[3] - quad[0]
    inverse = np.linalg.inv(np.stack([along / tile.width, down / tile.height], 1))
    offset = inverse @ (np.array([left, top]) - quad[0])
    inverse = inverse / factor
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    fine = (int(right - left) * factor, int(bottom - top) * factor)

    def placed(layer: Image.Image) -> np.ndarray:
        return np.asarray(layer.transform(fine, Image.Transform.AFFINE, coefficients, resample=resample).reduce(factor))

    if tile.mode == "L":  # a fourth of the bytes
        colours, alpha = placed(tile)[..., None], placed(Image.new("L", tile.size, 255))
    else:
        # Mode RGBa says that the colours are premultiplied; in RGBA, Pillow would premultiply them once more.
        both = placed(Image.frombytes("RGBa", tile.size, tile.tobytes()))
        colours, alpha = both[..., :3], both[..., 3]
    box = (int(left), int(top), int(right), int(bottom))
    mixed = np.asarray(image.crop(box), dtype=np.float32)
    mixed *= (1 - alpha.astype(np.float32) * (opacity / 255))[..., None]
    mixed += colours.astype(np.float32) * opacity
    np.clip(np.rint(mixed, out=mixed), 0, 255, out=mixed)
    out = image.copy()
    out.paste(Image.fromarray(mixed.astype(np.uint8)), box[:2])
    return out, Mask(box[0], box[1], alpha)


def recompress(image: Image.Image, rng: np.random.Generator, quality: tuple[int, int]) -> tuple[Image.Image, int]:
    """Pass a picture through JPEG at a quality drawn from `quality` (1 to 100, both ends included).

    Returns it and the quality.
    """
    drawn = int(rng.integers(quality[0], quality[1] + 1))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=drawn)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"), drawn
