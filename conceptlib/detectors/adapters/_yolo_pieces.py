"""Pieces of training pictures: a small square at full detail costs a fraction of a large picture, and shows it anew
every time."""

from __future__ import annotations

import numpy as np
from PIL import Image

LEAST = 0.3
"""Share of a box that must be inside a piece; of less, nobody could say what it is a part of."""


def piece(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    side: int,
    zoom: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square of `side` pixels, cut at random out of a picture that is scaled at random.

    Half of the pieces of a picture with boxes are cut so that they hold the middle of one of them.

    Args:
        image: uint8 (S, S, 3). boxes: float32 (n, 4) xyxy in its pixels. classes: int64 (n,).
        zoom: least and most that the picture is scaled by; never to less than `side`.

    Returns:
        uint8 (side, side, 3), and the boxes in it, clipped, with their classes.
    """
    full = image.shape[0]
    scale = max(float(rng.uniform(*zoom)), side / full)
    extent = min(side / scale, full)  # pixels of the picture that the piece shows
    room = full - extent
    left, top = float(rng.uniform(0, room)), float(rng.uniform(0, room))
    if len(boxes) and rng.random() < 0.5:
        box = boxes[int(rng.integers(len(boxes)))]
        left, top = (
            float(np.clip(middle - rng.uniform(0, extent), 0, room))
            for middle in ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        )
    area = (left, top, left + extent, top + extent)
    cut = Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.BILINEAR, box=area)
    moved = (boxes.astype(np.float64) - np.array([left, top, left, top])) * (side / extent)
    inside = np.clip(moved, 0, side)
    before = np.prod(moved[:, 2:] - moved[:, :2], axis=1)
    after = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
    keep = after >= LEAST * np.maximum(before, 1e-9)
    return np.asarray(cut), inside[keep].astype(np.float32), classes[keep]


def tint(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Other colours: each channel scaled by 0.75 to 1.25, or all of it grey once in ten times; uint8 like `image`."""
    if rng.random() < 0.1:
        grey = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.repeat(np.rint(grey)[..., None], 3, axis=2).astype(np.uint8)
    return np.clip(np.rint(image * rng.uniform(0.75, 1.25, 3)), 0, 255).astype(np.uint8)
