"""`import_annotations`: other people's boxes as an annotation set of a dataset, every one checked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.annotate import pictures_of, summary
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.formats._entries import Entry, Report, Where, keys_of, shown, text_fault
from conceptlib.formats._job import names_of
from conceptlib.geometry import Detections
from conceptlib.geometry.boxes import area, clip
from conceptlib.progress import Progress
from conceptlib.specs.registry import FORMATS
from conceptlib.store import Artifact, Draft, Store
from conceptlib.store.files import atomic_path
from conceptlib.store.hashing import digest

UNMATCHED, REJECTS = "unmatched.jsonl", "rejects.jsonl"
STRANGERS = "of pictures that the dataset lacks"
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_COLUMNS = ("image_id", "image_sha256", "width", "height")
_SEVERAL = -1


def import_annotations(
    source: str | Path,
    format: str,
    dataset: str | Path | Artifact,
    *,
    name: str | None = None,
    allow_missing: bool = False,
    skip_bad: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Read annotations, match them with a dataset's pictures, check them, and store them. Memory: the annotations'.

    Pictures are matched by image id, sha256 or file name, the latter with or without folders and ending. Boxes are cut
    to their picture; what lies outside is left out and counted.

    Args:
        source: a file or folder, as the format has it. It is only read.
        format: `coco`, `cvat`, `label-studio`, `labelme`, `voc` or `yolo`.
        dataset: of kind `dataset` or `images`.
        name: of the annotation set; None: the format's.
        allow_missing: whether annotations of pictures that the dataset does not have may be left out.
        skip_bad: whether what is wrong may be left out: a file, a picture with its objects, or a single object.
        progress: hears ("import", pictures done, pictures in all).

    Returns:
        An artifact of kind `annotations` with a row for every picture, empty where the source says nothing. `info`:
        `images`, `boxes` and `images_with` by label; `named`: pictures that the source names; `unmatched`: those that
        the dataset lacks, listed in `unmatched.jsonl`; `unannotated`: those that nobody has looked at yet; `skipped`:
        objects left out for a reason that is no fault, by reason; `rejected`: `files`, `pictures` and `objects` left
        out because they are wrong, each a line of `rejects.jsonl`; `read`: `pictures` and `objects` that the files
        hold, the sums of all these; `reduced`: objects of which the files know more than a box, by what; `notes`.

    Raises:
        NotFound: no such dataset, format or source. UsageError: a format that cannot be read.
        ConceptlibError: anything wrong in the files, each with file and line, unless `skip_bad`, and where nothing else
            is left; annotations without a picture, unless `allow_missing`; no picture matches at all.
    """
    store = store or Store()
    module = FORMATS.get(format)
    if not hasattr(module, "read"):
        able = [name for name, one in FORMATS.modules() if hasattr(one, "read")]
        raise UsageError(f"{format} is written only", hint=f"what can be imported: {', '.join(able)}")
    path = Path(source).expanduser()
    if not path.exists():
        raise NotFound("there is no such file or folder", where=path)
    if path.suffix.lower() in _ARCHIVES:
        raise UsageError("an archive is not read", where=path, hint="unpack it, and give the folder")
    pictures = pictures_of(dataset, store)
    report = Report()
    entries = _sound(module.read(path, report), report)
    places, unmatched = _match(entries, ImageTable(pictures), report)
    outside: Counter[str] = Counter()
    found = _checked(entries, places, ImageTable(pictures), report, outside)
    if not skip_bad:
        report.check(path)
    _check_matched(found, unmatched, report, path, pictures, allow_missing)
    said = {"format": format, "entries": digest([_identity(entry) for entry in entries])}
    said |= FORMATS.version_lock(format)
    lock = {"import": said | _left_out(report)}
    with store.draft("annotations", name or format, lock=lock, parents={"dataset": pictures}) as draft:
        if draft.done:
            return draft.done
        _write(draft, ImageTable(pictures), found, progress)
        _write_lines(draft, UNMATCHED, ({"where": str(one.where), "picture": one.keys[0]} for one in unmatched))
        if report.rejects:
            _write_lines(draft, REJECTS, (reject.as_dict() for reject in report.rejects))
        rows, info = summary(draft.path)
        counts = _counts(report, outside, entries, found, unmatched)
        return draft.commit(
            content=digest([lock, rows]),
            info=info | counts | {"format": format, "labels": sorted(info["boxes"])},
        )


def _sound(read: Iterable[Entry], report: Report) -> list[Entry]:
    """What can be stored of the entries; the rest are rejects."""
    entries = []
    for entry in read:
        if fault := next((fault for key in entry.keys if (fault := text_fault(key))), ""):
            report.picture(entry.where, f"its name: {fault}", len(entry.boxes))
            continue
        kept = []
        for box in entry.boxes:
            if fault := box.fault():
                report.object(box.where, fault)
            else:
                kept.append(box)
        entries.append(replace(entry, boxes=tuple(kept)))
    return entries


def _left_out(report: Report) -> dict[str, str]:
    """What decides the counts besides the entries, for the lock: the same rows from another source are another set."""
    rejects = [one.as_dict() for one in report.rejects]
    skipped, reduced = sorted(report.skipped.items()), sorted(report.reduced.items())
    left = [rejects, skipped, reduced, report.unannotated, report.notes]
    return {"left_out": digest(left)} if any(left) else {}


def _counts(
    report: Report,
    outside: Counter[str],
    entries: list[Entry],
    found: Mapping[int, Detections],
    unmatched: list[Entry],
) -> dict[str, Any]:
    """What was read, and what became of it: the sums agree."""
    rejected = report.rejected()
    strangers = Counter({STRANGERS: sum(len(entry.boxes) for entry in unmatched)})
    skipped = +(report.skipped + outside + strangers)  # without zeros
    boxes = sum(map(len, found.values()))
    return {
        "read": {
            "pictures": len(found) + len(unmatched) + report.unannotated + rejected["pictures"],
            "objects": boxes + sum(skipped.values()) + rejected["objects"],
        },
        "named": len(found),
        "unmatched": len(unmatched),
        "unannotated": report.unannotated,
        "skipped": dict(sorted(skipped.items())),
        "rejected": rejected,
        "reduced": dict(sorted(report.reduced.items())),
        "notes": report.notes,
    }


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
    first: dict[int, Where] = {}
    for number, entry in enumerate(entries):
        place = index.find(entry)
        if place is None:
            unmatched.append(entry)
        elif place == _SEVERAL:
            reason = f"{entry.keys[0]!r} fits several pictures of the dataset"
            report.picture(entry.where, reason, len(entry.boxes))
        elif place in places:
            reason = f"{entry.keys[0]!r} is the picture of {first[place]} too"
            report.picture(entry.where, reason, len(entry.boxes))
        else:
            places[place], first[place] = number, entry.where
    return places, unmatched


def _checked(
    entries: list[Entry], places: Mapping[int, int], table: ImageTable, report: Report, outside: Counter[str]
) -> dict[int, Detections]:
    """Row's place to its boxes in pixels, inside the picture."""
    found = {}
    for place, row in enumerate(table.rows(columns=["width", "height"])):
        if place not in places:
            continue
        entry, size = entries[places[place]], (row["width"], row["height"])
        if entry.size is not None and entry.size != size:
            there, here = (f"{width}x{height}" for width, height in (entry.size, size))
            reason = f"the annotations are for {there} px, the dataset's picture has {here}"
            report.picture(entry.where, reason, len(entry.boxes))
        else:
            found[place] = _detections(entry, size, outside)
    return found


def _detections(entry: Entry, size: tuple[int, int], outside: Counter[str]) -> Detections:
    scale = np.array(size if entry.shares else (1, 1), np.float64)
    kept = []
    for box in entry.boxes:
        xyxy = clip((np.array(box.xyxy).reshape(2, 2) * scale).reshape(1, 4), *size)[0]
        if area(xyxy[None])[0] > 0:
            kept.append((xyxy, box))
        else:
            outside["outside the picture or empty"] += 1
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


def _check_matched(
    found: Mapping[int, Detections], unmatched: list[Entry], report: Report, path: Path, pictures: Artifact, allow: bool
) -> None:
    """Raise ConceptlibError where annotations have no picture and that is not wanted, or none has."""
    if unmatched and not (allow and found):
        names = "\n  ".join(f"{entry.where}: {shown(entry.keys[0])[1:-1]}" for entry in unmatched[:20])
        more = f"\n  ... and {len(unmatched) - 20} more" if len(unmatched) > 20 else ""
        raise ConceptlibError(
            f"{len(unmatched)} of {len(unmatched) + len(found)} annotated pictures are not in {pictures.ref}:\n  "
            f"{names}{more}",
            where=path,
            hint="--allow-missing leaves them out" if found else "is this the right dataset?",
        )
    if not found:
        report.check(path, hint="nothing else is in it; nothing was imported")
        waiting = f"none of {report.unannotated} pictures is annotated" if report.unannotated else "it names no picture"
        raise ConceptlibError(waiting, where=path, hint="nothing was imported")


def _write_lines(draft: Draft, file: str, lines: Iterable[Mapping[str, Any]]) -> None:
    with atomic_path(draft.path / file) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


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
