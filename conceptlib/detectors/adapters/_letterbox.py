"""Pictures of any size into a square that a network takes, and boxes there and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from conceptlib.geometry import as_boxes, clip

GREY = 114
"""What surrounds a picture that is not square; the value that YOLO networks are used to."""


@dataclass(frozen=True)
class Letterbox:
    """Where a picture of `width` x `height` pixels lies in a square of `side` pixels: as large as fits, in the middle.

    The scaled picture has whole pixels, so that the two axes' scales may differ by a fraction of a pixel.
    """

    width: int
    height: int
    side: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the scaled picture, in pixels of the square."""
        scale = min(self.side / self.width, self.side / self.height)
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))

    @property
    def offset(self) -> tuple[int, int]:
        """Left and top of the scaled picture, in pixels of the square."""
        width, height = self.size
        return (self.side - width) // 2, (self.side - height) // 2

    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        (width, height), (left, top) = self.size, self.offset
        scale = np.array([width / self.width, height / self.height] * 2)
        return scale, np.array([left, top, left, top], np.float64)

    def place(self, boxes: ArrayLike) -> np.ndarray:
        """Boxes (N, 4) xyxy in pixels of the picture to pixels of the square."""
        scale, shift = self._affine()
        return (as_boxes(boxes) * scale + shift).astype(np.float32)

    def restore(self, boxes: ArrayLike) -> np.ndarray:
        """The inverse of `place`, clipped to the picture."""
        scale, shift = self._affine()
        low, high = (
            np.asarray(boxes, np.float64).reshape(-1, 4)[:, :2],
            np.asarray(boxes, np.float64).reshape(-1, 4)[:, 2:],
        )
        ordered = np.concatenate([np.minimum(low, high), np.maximum(low, high)], axis=1)
        return clip((ordered - shift) / scale, self.width, self.height)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """A picture, uint8 (height, width, 3), as uint8 (side, side, 3); untouched if it fills the square."""
        size, (left, top) = self.size, self.offset
        if size != (self.width, self.height):
            image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        if size == (self.side, self.side):
            return image
        square = np.full((self.side, self.side, 3), GREY, np.uint8)
        square[top : top + size[1], left : left + size[0]] = image
        return square


def letterbox(images: Sequence[np.ndarray], side: int) -> tuple[np.ndarray, list[Letterbox]]:
    """Pictures, uint8 (height, width, 3), as one uint8 (N, side, side, 3) array, and where each of them lies."""
    frames = [Letterbox(image.shape[1], image.shape[0], side) for image in images]
    return np.stack([frame.draw(image) for frame, image in zip(frames, images, strict=True)]), frames
