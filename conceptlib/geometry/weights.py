"""Region weights of the training loss (Geom-Erasing, Liu et al., ECCV 2024, arXiv 2310.05873, section 3: loss
reweighting).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conceptlib.errors import ConceptlibError
from conceptlib.geometry.bins import on_image
from conceptlib.geometry.boxes import as_boxes, check_size, clip


def region_mask(boxes: ArrayLike, width: float, height: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which latent positions lie in a box: those whose cell shares any area with one, so that a small box is never
    lost.

    A zero-area box inside the image counts for the cell that it lies in; a box outside the image for none.

    Args:
        boxes: (N, 4) xyxy, pixels.
        width, height: of the image, pixels.
        shape: (h, w) of the latents.

    Returns:
        bool (h, w).

    Raises:
        ConceptlibError: NaN, reversed corners, an image or latents without area.
    """
    check_size(width, height)
    h, w = shape
    if h < 1 or w < 1:
        raise ConceptlibError(f"latents of {h} x {w} positions", hint="the shape is (h, w), both 1 or more")
    mask = np.zeros((h, w), dtype=bool)
    inside = clip(on_image(as_boxes(boxes), width, height), width, height).astype(np.float64)
    scaled = inside * np.array([w, h, w, h]) / np.array([width, height, width, height], dtype=np.float64)
    for x1, y1, x2, y2 in scaled:
        left, top = min(math.floor(x1), w - 1), min(math.floor(y1), h - 1)
        mask[top : max(math.ceil(y2), top + 1), left : max(math.ceil(x2), left + 1)] = True
    return mask


def region_weights(
    boxes: ArrayLike, width: float, height: float, shape: tuple[int, int], alpha: float
) -> NDArray[np.float32]:
    """Weights for the squared error at each latent position; alpha > 1 turns the concept's region down.

    With T positions of which K lie in a box (``region_mask``), a position inside weighs T / (K + alpha (T - K)) and one
    outside alpha times that. The weights sum to T. Where all or none lie inside (K = 0 or K = T), and for alpha = 1,
    all weights are 1.

    Args:
        boxes, width, height, shape: as for ``region_mask``.
        alpha: > 0; how many times as much a position outside weighs as one inside.

    Returns:
        float32 (h, w).

    Raises:
        ConceptlibError: as ``region_mask``; alpha is not a positive number.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise ConceptlibError(
            f"alpha is {alpha}", hint="a positive number; more than 1 turns the concept's region down"
        )
    mask = region_mask(boxes, width, height, shape)
    total, covered = mask.size, int(mask.sum())
    if covered in (0, total):
        return np.ones(shape, np.float32)
    inside = total / (covered + alpha * (total - covered))
    return np.where(mask, inside, alpha * inside).astype(np.float32)
