"""Copies that a perceptual hash does not see: cropped, framed, with a caption bar, mirrored, a little turned.

A picture's sketch holds its strongest corners (ORB: Rublee et al., ICCV 2011, by OpenCV), each with a descriptor of 256
bits as it is and as it would be in a mirror, and the picture itself at 32 x 32. Two pictures are copies where one
similarity takes the corners of the one to those of the other *and* the greys that come to lie on each other agree: a
logo, a watermark or a template that two pictures share is no copy.

Which pictures to compare is found without comparing all with all: descriptors that agree in some of their bits lie
side by side once they are sorted by these (locality-sensitive hashing: Indyk and Motwani, STOC 1998), and each picture
is compared with the few that share most corners with it. Memory: sketches lie in a temporary file, 4.2 kB a picture;
the search takes about 10 kB a picture.
"""

from __future__ import annotations

import functools
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from conceptlib.errors import ConceptlibError

SIDE = 192
"""Pixels of the longer side at which a picture is sketched."""
LEAST_SIDE = 96
"""Smaller pictures have no sketch: their corners are single pixels."""
COUNT = 48
LEAST = 6
"""Corners that must agree."""
LEAST_VOTES = 2
MOST_BITS = 64
"""In which the descriptors of one corner may differ, of 256."""
REACH = 4.0
"""Pixels by which corners may miss each other."""
LEAST_SPREAD = 2.5
"""Pixels by which agreeing corners scatter around the line along which they lie."""
SCALES = (0.4, 2.5)
LEAST_OVERLAP = 0.6
"""Share of the one or the other picture that lies in both."""
LEAST_LIKENESS = 0.8
"""Correlation of the greys there."""
_THUMB = 32
_GRID = 24
_TELLING, _BITS, _TABLES = 160, 36, 20
_NEIGHBOURS = 8  # looked at behind each descriptor in sorted order
_PARTNERS = 6

RECORD = np.dtype(
    [
        ("count", np.uint8),
        ("size", np.uint8, 2),
        ("points", np.uint8, (COUNT, 2)),
        ("plain", np.uint8, (COUNT, 32)),
        ("mirrored", np.uint8, (COUNT, 32)),
        ("thumb", np.uint8, (_THUMB, _THUMB)),
    ]
)
"""A sketch: corners in use, width and height, corners x, y, descriptors, greys."""


def sketch(image: Image.Image) -> bytes | None:
    """The sketch of a picture whose longer side has at most `SIDE` pixels; None where it is too small or too plain."""
    if min(image.size) < LEAST_SIDE:
        return None
    cv2, orb = _orb()
    grey = image.convert("L")
    pixels = np.asarray(grey)
    corners, plain = orb.detectAndCompute(pixels, None)
    if len(corners) < LEAST:
        return None
    best = sorted(range(len(corners)), key=lambda k: -corners[k].response)[:COUNT]
    turned = [
        cv2.KeyPoint(
            image.width - 1 - corners[k].pt[0],
            corners[k].pt[1],
            corners[k].size,
            (180 - corners[k].angle) % 360,
            corners[k].response,
            corners[k].octave,
            place,
        )
        for place, k in enumerate(best)
    ]
    turned, mirrored = orb.compute(np.ascontiguousarray(pixels[:, ::-1]), turned)
    if len(turned) != len(best):
        return None
    record = np.zeros((), RECORD)
    record["count"], record["size"] = len(best), image.size
    record["points"][: len(best)] = np.rint([corners[k].pt for k in best])
    record["plain"][: len(best)] = plain[best]
    record["mirrored"][[corner.class_id for corner in turned]] = mirrored
    record["thumb"] = np.asarray(grey.resize((_THUMB, _THUMB), Image.Resampling.BOX))
    return record.tobytes()


class Sketches:
    """The sketches of pictures, by their numbers, in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed, and gone, with this object
        weakref.finalize(self, self._file.close)
        self._numbers: list[int] = []

    def add(self, number: int, sketched: bytes | None) -> None:
        """The sketch of picture `number`; nothing where it has none."""
        if sketched is None:
            return
        try:
            self._file.write(sketched)
        except OSError as error:
            raise ConceptlibError(
                f"the sketches of pictures cannot be kept: {error.strerror or error}",
                where=tempfile.gettempdir(),
                hint="set TMPDIR to a folder with room: 4.2 kB a picture; or look for no copies: duplicates=off",
            ) from error
        self._numbers.append(number)

    def copies(self, labels: np.ndarray) -> list[tuple[int, int]]:
        """Pairs of pictures that are copies, enough of them to connect all that are.

        Args:
            labels: (N,) of every picture; those of one label are known to belong together, and are not compared.
        """
        if len(self._numbers) < 2:
            return []
        self._file.flush()
        records = np.memmap(self._file, RECORD, "r", shape=(len(self._numbers),))
        numbers = np.array(self._numbers)
        joined = _Groups(labels)
        found = []
        for left, right, mirror in candidates(records, labels[numbers]):
            first, second = int(numbers[left]), int(numbers[right])
            if not joined.same(first, second) and is_copy(records[left], records[right], mirror):
                joined.join(first, second)
                found.append((first, second))
        return found


def candidates(records: Any, labels: np.ndarray) -> list[tuple[int, int, bool]]:
    """Pictures worth comparing (left, right, whether right in a mirror), those with the most corners in common first:
    of every picture the `_PARTNERS` that share most with it.

    Args:
        records: (N,) of `RECORD`. labels: (N,); pictures of one label are not compared.
    """
    used = np.arange(COUNT)[None] < records["count"][:, None]
    owner = np.repeat(np.arange(len(records)), used.sum(1))
    bits = np.concatenate([records["plain"][used], records["mirrored"][used]])
    corners = len(owner)
    found = [np.zeros(0, np.int64)]
    for keys in _keys(bits):
        ranks = np.argsort(keys, kind="stable")
        keys = keys[ranks]
        for step in range(1, _NEIGHBOURS + 1):
            same = np.flatnonzero(keys[step:] == keys[:-step])
            ends = np.sort(np.stack([ranks[same], ranks[same + step]]), axis=0)
            ends = ends[:, ends[0] < corners]  # two mirrored corners say what the plain ones do
            left, right = owner[ends[0]], owner[ends[1] % corners]
            ends = ends[:, (left != right) & (labels[left] != labels[right])]
            found.append(ends[0] * (2 * corners) + ends[1])
        found = [np.unique(np.concatenate(found))]
    first, second = np.divmod(found[0], 2 * corners)
    mirror = second >= corners
    second = second % corners
    swapped = owner[first] > owner[second]  # seen in a mirror, either may be the one that is: the right one, always
    first, second = np.where(swapped, second, first), np.where(swapped, first, second)
    pairs = (owner[first] * len(records) + owner[second]) * 2 + mirror
    # A pattern that repeats makes many pairs of few corners: each corner counts once.
    codes, votes = np.unique(np.unique(np.stack([pairs, first]), axis=1)[0], return_counts=True)
    _, others = np.unique(np.unique(np.stack([pairs, second]), axis=1)[0], return_counts=True)
    votes = np.minimum(votes, others)
    kept = (votes >= LEAST_VOTES) & _among_best(codes // 2, votes, len(records))
    ordered = codes[kept][np.argsort(-votes[kept], kind="stable")].tolist()
    return [(code // 2 // len(records), code // 2 % len(records), bool(code % 2)) for code in ordered]


def _keys(bits: np.ndarray) -> Iterator[np.ndarray]:
    """Some bits of every descriptor as uint64 (N,), for `_TABLES` choices of bits: of those that tell corners apart."""
    sample = np.unpackbits(bits[:: max(1, len(bits) // 20_000)], axis=1)
    telling = np.argsort(np.abs(sample.mean(0) - 0.5), kind="stable")[:_TELLING]
    rng = np.random.default_rng(0)
    for _ in range(_TABLES):
        key: np.ndarray = np.zeros(len(bits), np.uint64)
        for place in rng.choice(telling, _BITS, replace=False):
            key = key << np.uint64(1) | ((bits[:, place // 8] >> np.uint8(7 - place % 8)) & 1)
        yield key


def _among_best(pairs: np.ndarray, votes: np.ndarray, count: int) -> np.ndarray:
    """Which pairs are among the best of the one or the other picture."""
    pictures = np.concatenate(np.divmod(pairs, count))
    both = np.concatenate([votes, votes])
    order = np.lexsort([np.arange(len(both)), -both, pictures])
    begins = np.flatnonzero(np.r_[True, np.diff(pictures[order]) > 0])
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(np.r_[begins, len(order)]))
    best = np.zeros(len(both), bool)
    best[order] = rank < _PARTNERS
    return best[: len(pairs)] | best[len(pairs) :]


def is_copy(left: Any, right: Any, mirror: bool) -> bool:
    """Whether two sketches (of `RECORD`) are of copies; `mirror`: the right one seen in a mirror."""
    cv2, _ = _orb()
    here, there = left["points"][: left["count"]], right["points"][: right["count"]].astype(np.float32)
    bits = right["mirrored" if mirror else "plain"][: right["count"]]
    if mirror:
        there[:, 0] = right["size"][0] - 1 - there[:, 0]
    distance = np.bitwise_count(_words(left["plain"][: left["count"]])[:, None] ^ _words(bits)[None]).sum(-1)
    nearest = distance.argmin(1)
    rows = np.arange(len(here))
    mutual = (distance.argmin(0)[nearest] == rows) & (distance[rows, nearest] <= MOST_BITS)
    if mutual.sum() < LEAST:
        return False
    source, target = here[mutual].astype(np.float32), there[nearest[mutual]]
    move, agree = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=REACH, maxIters=500)
    if move is None or agree.sum() < LEAST or not SCALES[0] <= float(np.hypot(*move[:, 0])) <= SCALES[1]:
        return False
    agreed = source[agree[:, 0] > 0]
    # Corners in a row, as along a frame, lie on any others in a row.
    if np.linalg.svd(agreed - agreed.mean(0), compute_uv=False)[1] < LEAST_SPREAD * len(agreed) ** 0.5:
        return False
    return _alike(left, right, mirror, move)


def _alike(left: Any, right: Any, mirror: bool, move: np.ndarray) -> bool:
    """Whether the greys agree where the one picture, moved, lies on the other."""
    width, height = (float(v) for v in left["size"])
    steps = (np.arange(_GRID) + 0.5) / _GRID
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    moved = (grid * (width, height)) @ move[:, :2].T + move[:, 2]
    wide, high = (float(v) for v in right["size"])
    inside = (moved > 0).all(1) & (moved < (wide, high)).all(1)
    share = float(inside.mean())
    scale = float(np.hypot(*move[:, 0])) ** 2 * width * height / (wide * high)
    if max(share, share * scale) < LEAST_OVERLAP:
        return False
    other = right["thumb"][:, ::-1] if mirror else right["thumb"]
    first = _sampled(left["thumb"], grid[inside])
    second = _sampled(other, moved[inside] / (wide, high))
    if min(first.std(), second.std()) < 4:
        return False
    return float(np.corrcoef(first, second)[0, 1]) >= LEAST_LIKENESS


def _sampled(thumb: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Greys of a thumb at places (n, 2) in 0 to 1, bilinear."""
    x, y = (np.clip(places * _THUMB - 0.5, 0, _THUMB - 1.001)).T
    left, top = x.astype(int), y.astype(int)
    x, y = x - left, y - top
    greys = thumb.astype(np.float32)
    above = greys[top, left] * (1 - x) + greys[top, left + 1] * x
    below = greys[top + 1, left] * (1 - x) + greys[top + 1, left + 1] * x
    return np.asarray(above * (1 - y) + below * y)


def _words(bits: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(bits).view(np.uint64)


class _Groups:
    """Disjoint sets of pictures (union-find), begun from labels."""

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels
        self._parent: dict[int, int] = {}

    def same(self, first: int, second: int) -> bool:
        return self._root(first) == self._root(second)

    def join(self, first: int, second: int) -> None:
        self._parent[self._root(first)] = self._root(second)

    def _root(self, number: int) -> int:
        label = int(self._labels[number])
        while (parent := self._parent.get(label, label)) != label:
            self._parent[label] = self._parent.get(parent, parent)
            label = parent
        return label


@functools.cache
def _orb() -> tuple[Any, Any]:
    """OpenCV and its detector, once a process. Raises ConceptlibError where it cannot be imported."""
    try:
        import cv2
    except ImportError as error:
        raise ConceptlibError(
            f"OpenCV cannot be imported: {error}",
            hint="pip install opencv-python-headless; beside opencv-python it needs libgl1. Or duplicates=off",
        ) from error
    library: Any = cv2  # its stubs lack what is made by `create` functions
    library.setNumThreads(1)  # pictures are small, and there is a process a core
    return library, library.ORB_create(
        nfeatures=COUNT, scaleFactor=1.2, nlevels=6, edgeThreshold=12, patchSize=24, fastThreshold=7
    )
