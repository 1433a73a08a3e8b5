"""`import_annotations`: other people's boxes as an annotation set of a dataset, every one checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.annotate import pictures_of, summary
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.formats._entries import Entry, Report, keys_of
from conceptlib.formats._job import Progress, names_of
from conceptlib.geometry import Detections
from conceptlib.geometry.boxes import area, clip
from conceptlib.specs.registry import FORMATS
from conceptlib.store import Artifact, Draft, Store
from conceptlib.store.files import atomic_path
from conceptlib.store.hashing import digest

UNMATCHED = "unmatched.jsonl"
_COLUMNS = ("image_id", "image_sha256", "width", "height")
_SEVERAL = -1


def import_annotations(
    source: str | Path,
    format: str,
    dataset: str | Path | Artifact,
    *,
    name: str | None = None,
    allow_missing: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Read annotations, match them with a dataset's pictures, check them, and store them. Memory: the annotations'.

    Pictures are matched by image id, sha256 or file name, the latter with or without folders and ending. Boxes are cut
    to their picture; what lies outside is left out and counted.

    Args:
        source: a file or folder, as the format has it. It is only read.
        format: `coco`, `voc` or `yolo`.
        dataset: of kind `dataset` or `images`.
        name: of the annotation set; None: the format's.
        allow_missing: whether annotations of pictures that the dataset does not have may be left out.
        progress: hears ("import", pictures done, pictures in all).

    Returns:
        An artifact of kind `annotations` with a row for every picture, empty where the source says nothing. `info`:
        `images`, `boxes` and `images_with` by label; `named`: pictures that the source names; `unmatched`: those that
        the dataset lacks, listed in `unmatched.jsonl`; `skipped`: objects left out, by reason.

    Raises:
        NotFound: no such dataset, format or source. UsageError: a format that cannot be read.
        ConceptlibError: anything wrong in the files, each with file and line; annotations without a picture, unless
            `allow_missing`; no picture matches at all.
    """
    store = store or Store()
    module = FORMATS.get(format)
    if not hasattr(module, "read"):
        able = [one for one in FORMATS.names() if hasattr(FORMATS.get(one), "read")]
        raise UsageError(f"{format} is written only", hint=f"what can be imported: {', '.join(able)}")
    path = Path(source).expanduser()
    if not path.exists():
        raise NotFound("there is no such file or folder", where=path)
    pictures = pictures_of(dataset, store)
    report = Report()
    entries = list(module.read(path, report))
    places, unmatched = _match(entries, ImageTable(pictures), report)
    found = _checked(entries, places, ImageTable(pictures), report)
    report.check(path)
    _tell_missing(unmatched, len(entries), path, pictures, allow_missing)
    lock = {"import": {"format": format, "entries": digest([_identity(entry) for entry in entries])}}
    with store.draft("annotations", name or format, lock=lock, parents={"dataset": pictures.id}) as draft:
        if draft.done:
            return draft.done
        _write(draft, ImageTable(pictures), found, progress)
        with atomic_path(draft.path / UNMATCHED) as temporary, temporary.open("w", encoding="utf-8") as file:
            for entry in unmatched:
                file.write(json.dumps({"where": entry.where, "picture": entry.keys[0]}, ensure_ascii=False) + "\n")
        rows, info = summary(draft.path)
        counts = {
            "named": len(entries) - len(unmatched),
            "unmatched": len(unmatched),
            "skipped": dict(sorted(report.skipped.items())),
        }
        return draft.commit(
            content=digest([lock, rows]),
            info=info | counts | {"format": format, "labels": sorted(info["boxes"])},
        )


class _Index:
    """Which row of a dataset a name means. Sure names (ids, hashes, the names that an export gives) go first."""

    def __init__(self, table: ImageTable) -> None:
        names = names_of(table)
        self.sure: dict[str, int] = {}
        self.likely: dict[str, int] = {}
        for place, row in enumerate(table.rows(columns=["image_id", "image_sha256"])):
            image_id = row["image_id"]
            for key in (image_id, row["image_sha256"], names.of(image_id)):
                self._add(self.sure, key, place)
            for key in keys_of(image_id):
                self._add(self.likely, key, place)

    @staticmethod
    def _add(names: dict[str, int], key: str, place: int) -> None:
        if names.setdefault(key, place) != place:
            names[key] = _SEVERAL

    def find(self, entry: Entry) -> int | None:
        """The row's place; None for no row, `_SEVERAL` where all that the entry says fits several."""
        found = None
        for names in (self.sure, self.likely):
            for key in entry.keys:
                place = names.get(key)
                if place is not None and place != _SEVERAL:
                    return place
                found = place if found is None else found
        return found


def _match(entries: Iterable[Entry], table: ImageTable, report: Report) -> tuple[dict[int, int], list[Entry]]:
    """Row's place to entry's place, and the entries that no row fits."""
    index = _Index(table)
    places: dict[int, int] = {}
    unmatched: list[Entry] = []
    first: dict[int, str] = {}
    for number, entry in enumerate(entries):
        place = index.find(entry)
        if place is None:
            unmatched.append(entry)
        elif place == _SEVERAL:
            report.problem(entry.where, f"{entry.keys[0]!r} fits several pictures of the dataset")
        elif place in places:
            report.problem(entry.where, f"{entry.keys[0]!r} is the picture of {first[place]} too")
        else:
            places[place], first[place] = number, entry.where
    return places, unmatched


def _checked(
    entries: list[Entry], places: Mapping[int, int], table: ImageTable, report: Report
) -> dict[int, Detections]:
    """Row's place to its boxes."""
    found = {}
    for place, row in enumerate(table.rows(columns=["width", "height"])):
        if place in places:
            found[place] = _detections(entries[places[place]], (row["width"], row["height"]), report)
    return found


def _detections(entry: Entry, size: tuple[int, int], report: Report) -> Detections:
    """The entry's boxes in pixels, inside the picture."""
    if entry.size is not None and entry.size != size:
        there, here = (f"{width}x{height}" for width, height in (entry.size, size))
        report.problem(entry.where, f"the annotations are for {there} px, the dataset's picture has {here}")
        return Detections.empty()
    scale = np.array(size if entry.shares else (1, 1), np.float64)
    kept = []
    for box in entry.boxes:
        if not 0 <= box.score <= 1:
            report.problem(box.where, f"a score of {box.score:g}; it must be in [0, 1]")
            continue
        xyxy = clip((np.array(box.xyxy).reshape(2, 2) * scale).reshape(1, 4), *size)[0]
        if area(xyxy[None])[0] > 0:
            kept.append((xyxy, box))
        else:
            report.skipped["outside the picture or empty"] += 1
    corners = [box.quad for _, box in kept]
    quads = None
    if kept and all(quad is not None for quad in corners):
        quads = (np.array(corners, np.float64).reshape(-1, 4, 2) * scale).astype(np.float32)
    return Detections(
        np.array([xyxy for xyxy, _ in kept], np.float32).reshape(-1, 4),
        np.array([box.score for _, box in kept], np.float32),
        tuple(box.label for _, box in kept),
        quads,
    )


def _tell_missing(unmatched: list[Entry], count: int, path: Path, pictures: Artifact, allow: bool) -> None:
    """Raise ConceptlibError where annotations have no picture and that is not wanted."""
    if unmatched and (not allow or len(unmatched) == count):
        shown = "\n  ".join(f"{entry.where}: {entry.keys[0]}" for entry in unmatched[:20])
        more = f"\n  ... and {len(unmatched) - 20} more" if len(unmatched) > 20 else ""
        hint = "is this the right dataset?" if len(unmatched) == count else "--allow-missing leaves them out"
        raise ConceptlibError(
            f"{len(unmatched)} of {count} annotated pictures are not in {pictures.ref}:\n  {shown}{more}",
            where=path,
            hint=hint,
        )


def _identity(entry: Entry) -> str:
    return digest([entry.keys, entry.size, entry.shares, [[b.label, b.xyxy, b.score, b.quad] for b in entry.boxes]])


def _write(draft: Draft, table: ImageTable, found: Mapping[int, Detections], progress: Progress | None) -> None:
    """A shard for every one of the dataset's, a row for every picture."""
    done, total = 0, len(table)

    def rows(shard: Path) -> Iterator[dict[str, Any]]:
        nonlocal done
        for row in table.shard_rows(shard, _COLUMNS):
            if progress is not None:
                progress("import", done, total)
            yield AnnotationTable.row(row, found.get(done, Detections.empty()))
            done += 1

    for shard in table.shards():
        AnnotationTable.write(draft.path / "data" / shard.name, rows(shard))
    if progress is not None:
        progress("import", total, total)
