"""Copies of pictures in a dataset that is built, whoever built it.

    report = check("icd-qr-photos")
    report.across_splits                               # 0, or test holds what training sees

The pictures are compared as they are stored, overlays included; a build with `duplicates=` compares those of its
source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.concepts.duplicates import groups
from conceptlib.concepts.images import Reject
from conceptlib.concepts.picture_hashes import Hashes, picture_hashes, small
from conceptlib.concepts.tables import ImageTable
from conceptlib.concepts.workers import count_workers, outcomes
from conceptlib.progress import Progress
from conceptlib.store import Artifact, Store


@dataclass(frozen=True)
class Member:
    """A picture of a group: its id and its split."""

    image_id: str
    split: str


@dataclass(frozen=True)
class DuplicateReport:
    """What `check` found.

    Args:
        dataset: name@id.
        pictures: how many were compared.
        max_distance: bits.
        across_splits: groups with members in more than one split.
        groups: of copies, each in the order of the dataset.
    """

    dataset: str
    pictures: int
    max_distance: int
    across_splits: int
    groups: tuple[tuple[Member, ...], ...]


def check(
    ref: str | Path | Artifact,
    *,
    max_distance: int = 4,
    store: Store | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DuplicateReport:
    """Find the groups of exact and near copies; see `concepts.duplicates` for what counts as one.

    Args:
        ref: a dataset or images artifact.
        max_distance: 0 to 10 bits.
        workers: processes; None to choose.
        progress: hears ("compare", pictures done, pictures in all).

    Raises:
        ConceptlibError: no such artifact, no pictures, or a distance out of range.
    """
    artifact = (store or Store()).get(ref)
    table = ImageTable(artifact)
    total = len(table)

    def hashed() -> Iterator[Hashes | None]:
        rows = table.rows(columns=["image", "image_sha256"])
        for count, one in enumerate(outcomes(rows, _hash_row, count_workers(workers, total)), 1):
            if progress is not None:
                progress("compare", count, total)
            yield one

    group = groups(hashed(), max_distance)
    several = np.bincount(group, minlength=total) > 1
    found: dict[int, list[Member]] = {}
    keys = ((split, row["image_id"]) for split in table.splits for row in table.rows(split, ["image_id"]))
    for (split, image_id), first in zip(keys, group.tolist(), strict=True):
        if several[first]:
            found.setdefault(first, []).append(Member(image_id, split))
    across = sum(len({member.split for member in members}) > 1 for members in found.values())
    return DuplicateReport(artifact.ref, total, max_distance, across, tuple(map(tuple, found.values())))


def _hash_row(row: Mapping[str, Any]) -> Hashes | None:
    try:
        image = small(row["image"]["bytes"], 1 << 28)
    except Reject:
        return None
    return picture_hashes(image, row["image_sha256"])
