"""Decoded pictures brought to size: the ways of resizing, buckets of shapes, and parts that are used in their stead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from PIL import Image

GAP = 3.0
"""How many times its final size a picture is averaged down to before Lanczos: Pillow calls it indistinguishable."""

Resize = Literal["fit", "crop", "pad", "max-side", "buckets", "none"]
SQUARE = ("fit", "crop")
"""Ways of resizing that cut a square out of the picture."""
Buckets = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cut:
    """A part of a picture that is used in its stead.

    Args:
        share: its side, of the largest that fits: above 0, at most 1.
        x, y: where it lies in the room that is left, 0 (left, top) to 1 (right, bottom).
    """

    share: float
    x: float
    y: float

    def of(self, image: Image.Image, square: bool) -> Image.Image:
        """That part, in whole pixels: a square, or of the picture's own shape."""
        whole = (min(image.size),) * 2 if square else image.size
        width, height = (max(1, round(self.share * side)) for side in whole)
        left, top = round(self.x * (image.width - width)), round(self.y * (image.height - height))
        return image.crop((left, top, left + width, top + height))


def resize_to(
    image: Image.Image, resolution: int | None, resize: Resize, buckets: Buckets = (), reducing_gap: float = GAP
) -> Image.Image:
    """Bring an RGB picture to size (Lanczos).

    Args:
        resolution: pixels; None only with "none".
        resize: "fit": a square of `resolution`, cropped around the middle, enlarged where need be; "crop": such a
            square cut out at the picture's own scale, which is enlarged only where a side is shorter; "pad": the whole
            picture in such a square, white beside it; "max-side": the longer side at most `resolution`, never enlarged;
            "buckets": filled and cropped to the one of `buckets` whose shape is nearest; "none": as it is.
        buckets: (width, height) in pixels; empty: `default_buckets(resolution)`.
        reducing_gap: with "max-side" and "pad" pictures are averaged down to so many times their size before; 3 cannot
            be told from Lanczos alone, 2 takes half the time.
    """
    if resize == "none" or resolution is None:
        return image
    if resize == "fit":
        return _fill(image, (resolution, resolution))
    if resize == "buckets":
        return _fill(image, nearest_bucket(image.size, buckets or default_buckets(resolution)))
    if resize == "crop":
        if min(image.size) <= resolution:
            return _fill(image, (resolution, resolution))
        left, top = (image.width - resolution) // 2, (image.height - resolution) // 2
        return image.crop((left, top, left + resolution, top + resolution))
    scale = resolution / max(image.size)
    if resize == "max-side" and scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scaled = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=reducing_gap)
    if resize == "max-side" or size == (resolution, resolution):
        return scaled
    square = Image.new("RGB", (resolution, resolution), (255, 255, 255))
    square.paste(scaled, ((resolution - size[0]) // 2, (resolution - size[1]) // 2))
    return square


def default_buckets(resolution: int) -> Buckets:
    """Shapes of about `resolution`² pixels and at most 4:1, as SDXL was trained on (Podell et al. 2023,
    arXiv:2307.01952, section 2.3): sides are multiples of 64 px, of 8 below 512.

    >>> default_buckets(64)
    ((32, 128), (40, 96), (48, 80), (56, 72), (64, 64), (72, 56), (80, 48), (96, 40), (128, 32))
    """
    step = 64 if resolution >= 512 else 8
    shapes: dict[int, int] = {}
    for width in range(max(step, resolution // 2 // step * step), resolution + 1, step):
        shapes[width] = max(step, resolution * resolution // width // step * step)
    wide = [(width, height) for width, height in shapes.items() if width <= height]
    return tuple(dict.fromkeys([*wide, *((height, width) for width, height in reversed(wide))]))


def nearest_bucket(size: tuple[int, int], buckets: Buckets) -> tuple[int, int]:
    """The bucket whose width-to-height ratio is nearest, on a logarithmic scale; the first of equals.

    Args:
        size: (width, height) of the picture.
    """
    shape = math.log(size[0] / size[1])
    return min(buckets, key=lambda bucket: abs(math.log(bucket[0] / bucket[1]) - shape))


def _fill(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scaled to cover `size` and cropped around the middle."""
    if image.size == size:
        return image
    wide, high = float(image.width), float(image.height)
    if image.width * size[1] < image.height * size[0]:
        high = image.width * size[1] / size[0]
    else:
        wide = image.height * size[0] / size[1]
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (left, top, left + wide, top + high)
    if (wide, high) == size and left.is_integer() and top.is_integer():
        return image.crop(box)  # what Lanczos makes of it too, in a tenth of the time
    return image.resize(size, Image.Resampling.LANCZOS, box=box, reducing_gap=GAP)
