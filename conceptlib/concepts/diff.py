"""What differs between two versions of a dataset: rows, pictures, captions, boxes, splits, and the specs side by side.

    found = diff("icd-qr@v1", "icd-qr@latest")
    found.counts                              # {"added": 1000, "removed": 0, "changed pictures": 12, ...}

Rows are the same row if their image ids are. They are compared by hashes: memory is 48 bytes a row of each side, and
pictures are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.errors import ConceptlibError
from conceptlib.specs.registry import code_versions
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import digest, sha256_bytes

_ABSENT = "(absent)"
_CHANGES = {
    "picture": "changed pictures",
    "caption": "changed captions",
    "boxes": "changed boxes",
    "split": "changed splits",
}
_BOX_COLUMNS = ["image_id", "boxes", "labels", "quads", "payloads", "visible"]


@dataclass(frozen=True)
class SpecChange:
    """A field of the spec, its place as `params.rows`, and its value on both sides (`(absent)` where it is not)."""

    field: str
    a: Any
    b: Any


@dataclass(frozen=True)
class Diff:
    """How `b` differs from `a`.

    Args:
        a, b: name@id of both.
        rows: how many each has, (a, b).
        counts: rows "added", "removed", and of those in both "changed pictures", "changed captions", "changed boxes"
            (None where not both have boxes), "changed splits", "unchanged" (in all of these).
        image_ids: the first ids of each kind of change.
        spec: fields in which the specs differ, and versions of the code that built them (`code_version`).
        identical: the same id: nothing differs but perhaps the spec.
    """

    a: str
    b: str
    rows: tuple[int, int]
    counts: Mapping[str, int | None]
    image_ids: Mapping[str, tuple[str, ...]]
    spec: tuple[SpecChange, ...]
    identical: bool


def diff(
    a: str | Path | Artifact,
    b: str | Path | Artifact,
    *,
    annotations: str | None = None,
    limit: int | None = 20,
    store: Store | None = None,
) -> Diff:
    """Compare two datasets (or sets of generated images).

    Args:
        a, b: what `Store.get` finds.
        annotations: the name of the annotation sets to compare boxes by, the newest of each side; None: `truth`.
        limit: ids to list of each kind of change; None for all.

    Raises:
        ConceptlibError: no such artifact, no pictures, or no such annotations on one side.
    """
    store = store or Store()
    sides = [_Side(store.get(ref), annotations, store) for ref in (a, b)]
    left, right = (side.table() for side in sides)
    of_left, of_right = np.isin(left["key"], right["key"]), np.isin(right["key"], left["key"])
    one, other = left[of_left], right[of_right]  # both sorted by key: the same rows in the same order
    changed = {name: one[name] != other[name] for name in _CHANGES}
    boxed = all(side.boxes is not None for side in sides)
    if not boxed:
        changed["boxes"][:] = False
    keys = {"added": right["key"][~of_right], "removed": left["key"][~of_left]}
    keys |= {_CHANGES[name]: one["key"][mask] for name, mask in changed.items()}
    counts: dict[str, int | None] = {name: len(found) for name, found in keys.items()}
    if not boxed:
        counts["changed boxes"] = None
    counts["unchanged"] = int((~np.logical_or.reduce(list(changed.values()))).sum()) if len(one) else 0
    ids = {name: sides[name != "removed"].ids(found, limit) for name, found in keys.items()}
    return Diff(
        sides[0].artifact.ref,
        sides[1].artifact.ref,
        (len(left), len(right)),
        counts,
        ids,
        tuple(_spec_changes(sides[0].decided(), sides[1].decided())),
        sides[0].artifact.id == sides[1].artifact.id,
    )


class _Side:
    """One of the two datasets."""

    def __init__(self, artifact: Artifact, annotations: str | None, store: Store) -> None:
        self.artifact, self.images = artifact, ImageTable(artifact)
        sets = store.list("annotations", annotations or "truth", parent=artifact.id)
        if annotations is not None and not sets:
            raise ConceptlibError(
                f"{artifact.ref} has no annotations {annotations}",
                where=str(artifact.path),
                hint=f"conceptlib annotate {artifact.ref} --detector {annotations}",
            )
        self.boxes = AnnotationTable(sets[-1]) if sets else None

    def decided(self) -> dict[str, Any]:
        """The spec, and the versions of the code that read it."""
        lock = self.artifact.lock
        return {**lock.get("spec", {}), **code_versions(lock)}

    def table(self) -> np.ndarray:
        """64-bit hashes of every row, a row an entry, sorted by key. Raises `ConceptlibError` for an id that comes
        twice.
        """
        found = np.fromiter(
            self._rows(), np.dtype([(name, np.uint64) for name in ("key", *_CHANGES)]), count=len(self.images)
        )
        found.sort(order="key")
        if len(found) > 1 and (found["key"][1:] == found["key"][:-1]).any():
            raise ConceptlibError(
                "an image id comes twice", where=self.artifact.ref, hint="such rows cannot be compared"
            )
        return found

    def ids(self, keys: np.ndarray, limit: int | None) -> tuple[str, ...]:
        """The first ids with these keys, in the order of the table."""
        wanted, found = set(keys.tolist()), list[str]()
        if wanted:
            for row in self.images.rows(columns=["image_id"]):
                if len(found) == limit:
                    break
                if int(_hash(row["image_id"])) in wanted:
                    found.append(row["image_id"])
        return tuple(found)

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        columns = ["image_id", "image_sha256", "caption"]
        for split in self.images.splits:
            boxes = self._split_boxes(split)
            for row in self.images.rows(split, columns):
                found = next(boxes, None)
                hashed = _hash(row["image_id"]), np.uint64(int(row["image_sha256"][:16], 16))
                yield *hashed, _hash(row["caption"]), _hash(found), _hash(split)

    def _split_boxes(self, split: str) -> Iterator[Any]:
        if self.boxes is None or split not in self.boxes.splits:
            return
        for row in self.boxes.rows(split, _BOX_COLUMNS):
            numbers = [row["boxes"], row["quads"], row["visible"]]
            yield [row["labels"], row["payloads"], _rounded(numbers)]


def _hash(value: Any) -> np.uint64:
    text = sha256_bytes(value.encode()) if isinstance(value, str) else digest(value)
    return np.uint64(int(text[:16], 16))


def _rounded(value: Any) -> Any:
    """To a thousandth of a pixel, as a dataset's id is."""
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) + 0.0 if isinstance(value, float) else value


def _spec_changes(a: Any, b: Any, place: str = "") -> Iterator[SpecChange]:
    """Leaves that differ, in the order of `a`, then those that only `b` has."""
    if not (isinstance(a, Mapping) and isinstance(b, Mapping)):
        if a != b:
            yield SpecChange(place, a, b)
        return
    for key in [*a, *(key for key in b if key not in a)]:
        yield from _spec_changes(a.get(key, _ABSENT), b.get(key, _ABSENT), f"{place}.{key}" if place else key)
