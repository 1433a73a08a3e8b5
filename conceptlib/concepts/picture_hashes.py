"""What copies of a picture are found by: the sha256 of its bytes, and a perceptual hash that near copies share.

The perceptual hash is the pHash of the `imagehash` library (https://pypi.org/project/ImageHash): 64 signs of the low
DCT frequencies against their median. A picture of one flat colour has no frequencies, and no such hash. A `sketch`
(`concepts.sketches`) finds the copies that it does not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from conceptlib.concepts.images import decode_whole
from conceptlib.concepts.resizing import resize_to
from conceptlib.concepts.sketches import SIDE, sketch

HASH_SIDE = 64
"""Pixels of the longer side at which a picture has its perceptual hash; it is sketched at `sketches.SIDE`."""
GAP = 1.0
"""`reducing_gap` on the way there: averaging alone, as a JPEG is read. Low frequencies survive it, in a fifth of the
time."""
_FLAT = 2.0  # grey levels of standard deviation


@dataclass(frozen=True)
class Hashes:
    """What a picture is known by: 64 bits of its bytes' sha256, its perceptual hash (None for a flat picture), and its
    sketch (None for a small or plain one).
    """

    exact: int
    near: int | None
    sketch: bytes | None = None


def small(data: bytes | Path | Image.Image, max_pixels: int) -> Image.Image:
    """A picture decoded as far as `picture_hashes` needs it. Raises `Reject`."""
    # A JPEG decodes to twice what is asked for, which is enough here.
    whole = decode_whole(data, resolution=SIDE // 2, resize="max-side", min_side=1, max_pixels=max_pixels, fresh=True)
    return resize_to(whole, SIDE, "max-side", reducing_gap=GAP)


def picture_hashes(image: Image.Image, sha256: str) -> Hashes:
    """The hashes of a decoded picture, from `small`, whose bytes have this sha256."""
    import imagehash

    tiny = resize_to(image, HASH_SIDE, "max-side", reducing_gap=GAP)
    grey = tiny.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    if np.asarray(grey, np.float32).std() < _FLAT:
        return Hashes(int(sha256[:16], 16), None)
    bits = imagehash.phash(grey).hash  # which would make the same 32 x 32 greys of the picture again
    return Hashes(int(sha256[:16], 16), int.from_bytes(np.packbits(bits).tobytes(), "big"), sketch(image))


def small_hashes(image: Image.Image, sha256: str) -> Hashes:
    """The hashes of an RGB picture of any size, as they are found in its bytes, which have this sha256."""
    return picture_hashes(resize_to(image, SIDE, "max-side", reducing_gap=GAP), sha256)
