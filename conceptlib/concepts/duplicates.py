"""Pictures that are there twice: the same file, or nearly the same picture, and that none is in train and in test.

Exact copies have the same sha256. Near copies (another size, another compression, a small mark) have 64-bit perceptual
hashes (`picture_hashes`) that differ in at most `max_distance` bits. Crops, frames, caption bars and mirror images are
found by their `sketches`. Pictures that a chain of such pairs connects are one group. Of pictures of one flat colour
only exact copies count.

Pairs are found without comparing all with all: hashes that differ in r bits agree, in one of four 16-bit bands, up to
r // 4 bits (pigeonhole; multi-index hashing, Norouzi et al., CVPR 2012, arXiv:1307.2982). Memory: about 30 bytes a
picture, one block of pairs, and what the search among sketches takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from conceptlib.concepts.images import MAX_PIXELS, Reject
from conceptlib.concepts.picture_hashes import HASH_SIDE, Hashes, picture_hashes, small
from conceptlib.concepts.sketches import SIDE, Sketches
from conceptlib.concepts.sources.base import Item
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import sha256_bytes
from conceptlib.worlds.base import Drawn

VERSION = 2
"""Of what counts as a copy: in the locks of datasets whose copies are looked for, see `conceptlib.specs.registry`."""
MAX_DISTANCE = 10
_BLOCK = 1 << 21  # pairs looked at together


@dataclass(frozen=True)
class HashItem:
    """An item's hashes and split; None for what is no picture. Can be pickled: runs in worker processes."""

    max_pixels: int = MAX_PIXELS

    def __call__(self, item: Item) -> tuple[str, Hashes | None]:
        drawn = isinstance(item.data, Drawn)
        try:
            image = small(item.load(HASH_SIDE if drawn else SIDE), self.max_pixels)
        except Reject:
            return item.split, None
        return item.split, picture_hashes(image, sha256_bytes(image.tobytes()) if drawn else item.content_sha256())


def groups(hashes: Iterable[Hashes | None], max_distance: int) -> np.ndarray:
    """The group of every picture: int32, the number of its first member; None gives a group of its own.

    Args:
        hashes: one a picture, None where there is none.
        max_distance: bits, 0 to 10.

    Raises:
        ConceptlibError: a distance beyond that.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ConceptlibError(
            f"a distance of {max_distance} bits makes everything alike", where="max_distance", hint="0 to 10"
        )
    sketches = Sketches()
    exact, near = _columns(hashes, sketches)
    union = _Union(len(exact))
    known = np.flatnonzero(exact[:, 1])
    union.join_equal(known, exact[known, 0])
    shown = np.flatnonzero(near[:, 1])
    union.join_equal(shown, near[shown, 0])
    values, first = np.unique(near[shown, 0], return_index=True)
    for left, right in near_pairs(values, max_distance):
        union.join(shown[first[left]], shown[first[right]])
    if copies := sketches.copies(union.labels):
        union.join(*np.array(copies).T)
    return union.first_members()


def near_pairs(hashes: np.ndarray, max_distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs i < j of hashes (uint64, none twice) that differ in at most so many bits, in blocks; a pair may come
    more than once.
    """
    flips = [sum(1 << bit for bit in bits) for k in range(max_distance // 4 + 1) for bits in combinations(range(16), k)]
    numbers = np.arange(len(hashes))
    for band in range(4):
        values = ((hashes >> np.uint64(16 * band)) & np.uint64(0xFFFF)).astype(np.int64)
        order = np.argsort(values, kind="stable")
        starts = np.searchsorted(values[order], np.arange((1 << 16) + 1))
        for flip in flips:
            low = starts[values ^ flip]
            counts = starts[(values ^ flip) + 1] - low
            ends = np.cumsum(counts)
            begin = 0
            while begin < len(hashes):
                done = ends[begin - 1] if begin else 0
                end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
                many = counts[begin:end]
                left = np.repeat(numbers[begin:end], many)
                within = np.arange(len(left)) - np.repeat(ends[begin:end] - many - done, many)
                right = order[np.repeat(low[begin:end], many) + within]
                near = (left < right) & (np.bitwise_count(hashes[left] ^ hashes[right]) <= max_distance)
                if near.any():
                    yield left[near], right[near]
                begin = end


@dataclass
class Plan:
    """What a build does about duplicates, made before its first row is drawn.

    Args:
        policy: "report" changes nothing; "train" puts every group that reaches into train there as a whole, so that
            test holds no picture that training sees; "drop" keeps the first of each group.
        max_distance: bits.
        splits: "train" (True) or not, a picture.
        group: a picture, see `groups`.
    """

    policy: str
    max_distance: int
    splits: np.ndarray
    group: np.ndarray
    found: dict[int, list[dict[str, str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, hashed: Iterable[tuple[str, Hashes | None]], policy: str, max_distance: int) -> Plan:
        """From the hashes of every item, in order."""
        splits = bytearray()

        def noted() -> Iterator[Hashes | None]:
            for split, hashes in hashed:
                splits.append(split == "train")
                yield hashes

        group = groups(noted(), max_distance)
        return cls(policy, max_distance, np.frombuffer(bytes(splits), np.uint8).astype(bool), group)

    def apply(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items as the policy wants them; what was found is noted on the way."""
        size = np.bincount(self.group, minlength=len(self.group))
        trained = np.zeros(len(self.group), bool)
        trained[self.group[self.splits]] = True
        for number, item in enumerate(items):
            if number >= len(self.group):
                raise ConceptlibError("the source has more rows than a moment ago", where=item.key, hint="build again")
            first = int(self.group[number])
            if size[first] == 1:
                yield item
                continue
            members = self.found.setdefault(first, [])
            members.append({"image_id": item.key, "split": item.split})
            if self.policy == "train" and trained[first]:
                item = replace(item, split="train")
            elif self.policy == "drop" and number != first:
                item = replace(item, data=Reject("duplicate", f"like {members[0]['image_id']}"), caption=None)
            yield item

    def report(self) -> dict[str, Any]:
        """Counts, and the groups: every member with the split that it had before."""
        across = [members for members in self.found.values() if len({member["split"] for member in members}) > 1]
        return {
            "policy": self.policy,
            "max_distance": self.max_distance,
            "pictures": sum(map(len, self.found.values())),
            "groups": len(self.found),
            "across_splits": len(across),
            "members": list(self.found.values()),
        }


class _Union:
    """Connected components, joined block by block."""

    def __init__(self, count: int) -> None:
        self.labels = np.arange(count)

    def join(self, left: np.ndarray, right: np.ndarray) -> None:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(self.labels)
        ends = self.labels[left], self.labels[right]
        links = coo_array((np.ones(len(left), np.int8), ends), shape=(count, count))
        self.labels = connected_components(links, directed=False)[1][self.labels]

    def join_equal(self, members: np.ndarray, values: np.ndarray) -> None:
        """Join members of equal value."""
        order = np.argsort(values, kind="stable")
        same = np.flatnonzero(values[order][1:] == values[order][:-1])
        if len(same):
            self.join(members[order[same]], members[order[same + 1]])

    def first_members(self) -> np.ndarray:
        if not len(self.labels):
            return np.zeros(0, np.int32)
        _, first, inverse = np.unique(self.labels, return_index=True, return_inverse=True)
        return first[inverse].astype(np.int32)


def _columns(hashes: Iterable[Hashes | None], sketches: Sketches) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) uint64 each: a hash, and whether there is one; the sketches go where they are kept."""
    import array

    exact, near = array.array("Q"), array.array("Q")
    for number, one in enumerate(hashes):
        sketches.add(number, one.sketch if one else None)
        exact.extend((one.exact, 1) if one else (0, 0))
        near.extend((one.near, 1) if one and one.near is not None else (0, 0))
    return tuple(np.frombuffer(column, np.uint64).reshape(-1, 2) for column in (exact, near))  # type: ignore[return-value]
