"""Boxes as float32 arrays of shape (N, 4), ``[x1, y1, x2, y2]`` in absolute pixels, x to the right and y down.

A box covers the half-open region [x1, x2) x [y1, y2): a box of the whole image is ``[0, 0, width, height]`` and its
area is in pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conceptlib.errors import ConceptlibError

Boxes = NDArray[np.float32]


def as_boxes(boxes: ArrayLike) -> Boxes:
    """``boxes`` as a float32 (N, 4) array; an empty sequence gives (0, 4).

    Raises:
        ConceptlibError: another shape, NaN or infinity, or x2 < x1 or y2 < y1. Zero-area boxes are allowed.
    """
    array = _rows(boxes, "boxes")
    wrong = np.flatnonzero((array[:, 2] < array[:, 0]) | (array[:, 3] < array[:, 1]))
    if len(wrong):
        raise ConceptlibError(
            f"a box ends before it begins: {array[wrong[0]].tolist()}",
            where=f"boxes[{wrong[0]}]",
            hint="the format is x1, y1, x2, y2",
        )
    return array


def _rows(values: ArrayLike, what: str, width: int = 4) -> Boxes:
    """``values`` as a finite float32 (N, width) array."""
    try:
        array = np.asarray(values, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ConceptlibError(f"{what} must be numbers of shape (N, {width}): {error}", where=what) from error
    if array.size == 0 and array.ndim <= 2:
        return np.zeros((0, width), np.float32)
    if array.ndim != 2 or array.shape[1] != width:
        raise ConceptlibError(f"{what} must have shape (N, {width}), not {array.shape}", where=what)
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise ConceptlibError(f"a value is not finite: {array[row].tolist()}", where=f"{what}[{row}]")
    return array


def check_size(width: float, height: float) -> None:
    """Raise ``ConceptlibError`` unless both are finite and positive."""
    if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
        raise ConceptlibError(
            f"an image of {width} x {height} pixels has no geometry", hint="width and height must be positive"
        )


def area(boxes: ArrayLike) -> NDArray[np.float64]:
    """(N,) square pixels."""
    array = as_boxes(boxes).astype(np.float64)
    return np.asarray((array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1]), np.float64)


def iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every pair: (N, 4) and (M, 4) to (N, M) in [0, 1]; 0 where a union has no area.

    Raises:
        ConceptlibError: as ``as_boxes``.
    """
    first, second = as_boxes(a).astype(np.float64), as_boxes(b).astype(np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.prod(np.clip(high - low, 0.0, None), axis=2)
    union = area(first)[:, None] + area(second)[None, :] - overlap
    shares: NDArray[np.float64] = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return shares


def clip(boxes: ArrayLike, width: float, height: float) -> Boxes:
    """Boxes cut to the image, (N, 4), the same number: one that lies outside becomes a zero-area box on the edge.

    Args:
        width, height: pixels, > 0.
    """
    check_size(width, height)
    return np.clip(as_boxes(boxes), 0, np.array([width, height, width, height], np.float32))


def quad_to_xyxy(quads: ArrayLike) -> Boxes:
    """The smallest upright box around each quadrilateral: (N, 4, 2) or (N, 8) corner points to (N, 4).

    Raises:
        ConceptlibError: another shape, or a value that is not finite.
    """
    points = as_quads(quads)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def as_quads(quads: ArrayLike) -> Boxes:
    """Corner points as float32 (N, 4, 2), from (N, 4, 2) or (N, 8); an empty sequence gives (0, 4, 2)."""
    try:
        array = np.asarray(quads, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise ConceptlibError(f"quads must be numbers of shape (N, 4, 2): {error}", where="quads") from error
    if array.ndim == 3 and array.shape[1:] == (4, 2):
        array = array.reshape(-1, 8)
    return _rows(array, "quads", 8).reshape(-1, 4, 2)


def xyxy_to_xywh(boxes: ArrayLike) -> Boxes:
    """``[x1, y1, x2, y2]`` to ``[x1, y1, width, height]`` (COCO), pixels."""
    array = as_boxes(boxes).astype(np.float64)
    return np.concatenate([array[:, :2], array[:, 2:] - array[:, :2]], axis=1).astype(np.float32)


def xywh_to_xyxy(boxes: ArrayLike) -> Boxes:
    """The inverse of ``xyxy_to_xywh``. Raises ``ConceptlibError`` for a negative width or height."""
    array = _rows(boxes, "boxes").astype(np.float64)
    return as_boxes(np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1))


def xyxy_to_cxcywh_normalised(boxes: ArrayLike, width: float, height: float) -> Boxes:
    """``[x1, y1, x2, y2]`` in pixels to ``[centre x, centre y, width, height]`` as shares of the image (YOLO)."""
    check_size(width, height)
    array = as_boxes(boxes).astype(np.float64) / np.array([width, height, width, height])
    return np.concatenate([(array[:, :2] + array[:, 2:]) / 2, array[:, 2:] - array[:, :2]], axis=1).astype(np.float32)


def cxcywh_normalised_to_xyxy(boxes: ArrayLike, width: float, height: float) -> Boxes:
    """The inverse of ``xyxy_to_cxcywh_normalised``. Raises ``ConceptlibError`` for a negative width or height."""
    check_size(width, height)
    array = _rows(boxes, "boxes").astype(np.float64)
    half = array[:, 2:] / 2
    corners = np.concatenate([array[:, :2] - half, array[:, :2] + half], axis=1)
    return as_boxes(corners * np.array([width, height, width, height]))
