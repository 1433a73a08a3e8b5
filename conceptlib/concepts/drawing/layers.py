"""Tiles of ink, and laying them over a picture: shifted, turned, sheared or in perspective, at one opacity and blend.

A `Tile` has a mask for each ink, the lowest first, and the boxes of its parts. `place` brings it to the picture's
pixels, on its own region only; `lay` composes the inks over each other and then, as one group, over the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from conceptlib.concepts.drawing.blend import blend
from conceptlib.concepts.drawing.letters import Box, Piece
from conceptlib.concepts.overlays import Mask, Part, rectangle

Ink = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Paint:
    """One ink: RGB and its mask (L). `solid` paints make up the mark; others, shadows, only go with it."""

    mask: Image.Image
    ink: Ink
    solid: bool = True


@dataclass(frozen=True, eq=False)
class Tile:
    """Paints of one size, the lowest first, with `margin` empty pixels around the ink, and the parts' boxes in it."""

    paints: tuple[Paint, ...]
    parts: tuple[Box, ...]
    margin: int

    @property
    def size(self) -> tuple[int, int]:
        return self.paints[0].mask.size

    @property
    def box(self) -> tuple[int, int, int, int]:
        """xyxy of the ink, shadow not included."""
        return self.margin, self.margin, self.size[0] - self.margin, self.size[1] - self.margin


@dataclass(frozen=True, eq=False)
class Placed:
    """A tile in the picture: paints on the region that starts at `origin`, and the geometry in absolute pixels."""

    origin: tuple[int, int]
    paints: tuple[Paint, ...]
    quad: np.ndarray
    parts: tuple[Part, ...]


def tile(
    masks: Sequence[tuple[Image.Image, Ink]], parts: Sequence[Box] = (), shadow: float = 0.0, depth: float = 0.0
) -> Tile:
    """A tile of masks of one size, cropped to their ink, the lowest first.

    Args:
        masks: each with its ink.
        parts: boxes in the masks' pixels.
        shadow: strength of a soft shadow below, to the right, 0 (none) to 1. depth: how far it falls, in pixels.
    """
    reach = max(1, round(depth)) if shadow else 0
    margin = 2 + 2 * reach
    width, height = masks[0][0].size
    size = (width + 2 * margin, height + 2 * margin)
    paints = []
    for mask, ink in masks:
        canvas = Image.new("L", size)
        canvas.paste(mask, (margin, margin))
        paints.append(Paint(canvas, ink))
    if shadow:
        cast = Image.new("L", size)
        for mask, _ in masks:
            cast.paste(255, (margin + reach, margin + reach), mask)
        cast = cast.filter(ImageFilter.BoxBlur(max(1, reach / 2)))
        paints.insert(0, Paint(_scaled(cast, shadow), (0, 0, 0), solid=False))
    return Tile(tuple(paints), tuple(box.moved(margin, margin) for box in parts), margin)


def plain(piece: Piece, ink: Ink, edge: Ink | None = None, shadow: float = 0.0, depth: float = 0.0) -> Tile:
    """A piece in one ink, and its outline, where it has one, in another."""
    masks = [(piece.fill, ink)]
    if piece.edge is not None:
        masks.insert(0, (piece.edge, edge or (0, 0, 0)))
    return tile(masks, piece.parts, shadow, depth)


def turned(size: tuple[int, int], center: tuple[float, float], rotation: float = 0.0, lean: float = 0.0) -> np.ndarray:
    """Where the corners of ink of `size` (width, height) go, (4, 2): around `center`, `rotation` degrees clockwise.

    lean: how far the top is pushed to the right, as a share of the height, as italics are. Without turn and lean the
    corners lie on whole pixels, so that nothing is resampled.
    """
    width, height = size
    if not rotation and not lean:
        x, y = round(center[0] - width / 2), round(center[1] - height / 2)
        return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float64)
    quad = rectangle((0, 0), width, height, 0)
    quad[:, 0] -= lean * quad[:, 1]
    unit = rectangle((0, 0), 2, 2, rotation)
    along, down = (unit[1] - unit[0]) / 2, (unit[3] - unit[0]) / 2
    return quad @ np.stack([along, down]) + center


def place(tile: Tile, quad: np.ndarray, size: tuple[int, int]) -> Placed:
    """Bring a tile into a picture of `size` (width, height), the corners of its ink to `quad` (4, 2).

    The ink that falls outside the picture is cut off; the geometry is not.
    """
    box = tile.box
    corners = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])], np.float64)
    forth = homography(corners, quad)
    quads = _map(forth, np.concatenate([_corners(part.xyxy) for part in tile.parts])) if tile.parts else np.zeros(0)
    parts = tuple(
        Part(part.kind, part.text, where)
        for part, where in zip(tile.parts, quads.astype(np.float32).reshape(-1, 4, 2), strict=True)
    )
    shift = quad[0] - corners[0]
    if np.array_equal(quad, corners + shift) and np.array_equal(shift, np.rint(shift)):
        left, top = (int(v) for v in shift)
        cut = (max(-left, 0), max(-top, 0), min(tile.size[0], size[0] - left), min(tile.size[1], size[1] - top))
        if cut[0] >= cut[2] or cut[1] >= cut[3]:
            return Placed((0, 0), (), quad, parts)
        whole = cut == (0, 0, *tile.size)
        paints = tuple(paint if whole else Paint(paint.mask.crop(cut), paint.ink, paint.solid) for paint in tile.paints)
        return Placed((left + cut[0], top + cut[1]), paints, quad, parts)
    outer = _map(forth, _corners((0, 0, *tile.size)))
    left, top = np.maximum(np.floor(outer.min(0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(outer.max(0)), size).astype(int).tolist()
    if left >= right or top >= bottom:
        return Placed((0, 0), (), quad, parts)
    back = np.linalg.inv(forth) @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float64)
    back /= back[2, 2]
    affine = bool(np.abs(back[2, :2]).max() < 1e-9)
    method = Image.Transform.AFFINE if affine else Image.Transform.PERSPECTIVE
    coefficients = tuple(back.reshape(-1)[: 6 if affine else 8])
    region = (right - left, bottom - top)
    masks = _transformed([paint.mask for paint in tile.paints], region, method, coefficients)
    paints = tuple(Paint(mask, paint.ink, paint.solid) for mask, paint in zip(masks, tile.paints, strict=True))
    return Placed((left, top), paints, quad, parts)


def lay(image: Image.Image, placed: Placed, opacity: float, mode: str = "normal") -> tuple[Image.Image, Mask]:
    """The picture with the overlay on it, a new RGB one; and the overlay's mask, shadow and opacity not included.

    Args:
        opacity: 0 to 1, of all inks as a group.
        mode: blend mode, one of `blend.BLENDS`.
    """
    out = image.copy()
    if not placed.paints:
        return out, Mask(0, 0, np.zeros((0, 0), np.uint8))
    left, top = placed.origin
    size = placed.paints[0].mask.size
    colour = Image.new("RGB", size, placed.paints[0].ink)
    alpha = solid = None
    for paint in placed.paints:
        if alpha is not None:
            colour.paste(paint.ink, (0, 0), paint.mask)
        alpha = paint.mask if alpha is None else _over(alpha, paint.mask)
        if paint.solid:
            solid = paint.mask if solid is None else _over(solid, paint.mask)
    box = (left, top, left + size[0], top + size[1])
    if alpha is None or solid is None:
        return out, Mask(0, 0, np.zeros((0, 0), np.uint8))
    out.paste(blend(image.crop(box), colour, _scaled(alpha, opacity), mode), box)
    return out, Mask(left, top, np.asarray(solid))


def homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The projective map (3, 3) that takes four points (4, 2) to four others."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solved = np.linalg.solve(np.array(rows, np.float64), np.asarray(target, np.float64).reshape(-1))
    return np.append(solved, 1.0).reshape(3, 3)


def _transformed(
    masks: Sequence[Image.Image], size: tuple[int, int], method: Image.Transform, coefficients: tuple[float, ...]
) -> list[Image.Image]:
    """Masks of one size, each transformed alike: three or four at once, as the bands of a picture, in the time of
    two and a half. CMYK because Pillow treats its four bands alike.
    """
    out: list[Image.Image] = []
    for start in range(0, len(masks), 4):
        bands = list(masks[start : start + 4])
        together = len(bands) > 2
        whole = [Image.merge("CMYK", bands + [bands[0]] * (4 - len(bands)))] if together else bands
        turned = [one.transform(size, method, coefficients, Image.Resampling.BILINEAR) for one in whole]
        out += turned[0].split()[: len(bands)] if together else turned
    return out


def _map(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    mapped = np.c_[points, np.ones(len(points))] @ matrix.T
    return mapped[:, :2] / mapped[:, 2:]


def _corners(xyxy: Sequence[float]) -> np.ndarray:
    left, top, right, bottom = xyxy
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def _over(below: Image.Image, above: Image.Image) -> Image.Image:
    """The alpha of one mask over another: a + b - a b."""
    return ImageChops.screen(below, above)


def _scaled(mask: Image.Image, factor: float) -> Image.Image:
    return mask.point(np.rint(np.arange(256) * factor).astype(int).tolist())
