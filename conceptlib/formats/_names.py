"""File names for pictures: from the image id, safe in every file system and archive, none twice."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from conceptlib.concepts.images import SUFFIXES
from conceptlib.store.hashing import sha256_bytes

_LONGEST = 100
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def plain(image_id: str) -> str:
    """The id without the ending of a picture file, everything but ASCII letters, digits, `_` and `-` made `-`: no path
    leads out of a folder, and WebDataset, which splits names at their first dot, finds none.
    """
    stem, dot, ending = image_id.rpartition(".")
    text = stem if dot and f".{ending.lower()}" in SUFFIXES else image_id
    name = _UNSAFE.sub("-", text).strip("-_")[:_LONGEST] or "image"
    return f"image-{name}" if name.casefold() in _RESERVED else name


class Names:
    """The file name, without ending, of every picture of a dataset.

    It is `plain(image_id)`; pictures that would share one (also where a file system does not tell `A` from `a`) get
    eight digits of their id's hash. A name depends on the dataset's ids alone, not on what is exported of it. Memory: 8
    bytes a picture.
    """

    def __init__(self, image_ids: Iterable[str]) -> None:
        keys = np.fromiter((_key(plain(image_id)) for image_id in image_ids), np.uint64)
        values, counts = np.unique(keys, return_counts=True)
        self._shared = values[counts > 1]

    def of(self, image_id: str) -> str:
        """The name of a picture, not empty, at most 109 characters."""
        name = plain(image_id)
        key = np.uint64(_key(name))
        place = int(np.searchsorted(self._shared, key))
        if place < len(self._shared) and self._shared[place] == key:
            return f"{name}-{sha256_bytes(image_id.encode())[:8]}"
        return name


def _key(name: str) -> int:
    return int(sha256_bytes(name.casefold().encode())[:16], 16)
