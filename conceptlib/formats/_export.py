"""`export_dataset`: pictures and boxes as a folder in another tool's format, whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import conceptlib
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.annotate import pictures_of
from conceptlib.detectors.evaluate import truth_for
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.formats._job import Job
from conceptlib.progress import Progress
from conceptlib.specs.registry import FORMATS
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write, disk_full, is_vacant
from conceptlib.store.hashing import digest, sha256_bytes
from conceptlib.store.replacing import replacing_folder, restore_folder

MARK = ".conceptlib-export.json"
"""In every export: what it was made from, and a fingerprint of its files' names and sizes."""

_NOT_CONTENT = ("*.cache", ".DS_Store", "Thumbs.db", "desktop.ini")  # what readers and file managers leave behind


@dataclass(frozen=True)
class Exported:
    """What an export is.

    status: "written", or "unchanged" if the folder held it already. dataset, annotations: refs; annotations is None
    where no boxes were written. images, boxes, files, bytes: counts; bytes of all files. notes: what did not fit the
    format.
    """

    path: Path
    format: str
    status: str
    dataset: str
    annotations: str | None
    splits: tuple[str, ...]
    categories: tuple[str, ...]
    images: int
    boxes: int
    files: int
    bytes: int
    notes: tuple[str, ...]


def export_dataset(
    ref: str | Path | Artifact,
    format: str,
    to: str | Path,
    *,
    annotations: str | Path | Artifact | None = None,
    split: str | None = None,
    categories: Sequence[str] | None = None,
    overwrite: bool = False,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write pictures and their boxes into a folder. Encoded pictures are copied as they are; memory does not grow.

    Args:
        ref: a dataset, generated images, or an annotation set (then its pictures with its boxes).
        format: one of `FORMATS` that can be written.
        to: the folder. It is written beside and renamed; it may be absent, empty, or an earlier export. If that was of
            the same pictures and boxes, nothing is done.
        annotations: an annotation set of these pictures (an artifact, its ref, or a detector's name); None: the exact
            geometry, `truth`, where there is one.
        split: only this one; None: all.
        categories: the concepts in the order of their ids; None: the dataset's, then others by name.
        overwrite: whether another export of conceptlib in `to` may be replaced.
        progress: hears ("export", pictures done, pictures in all).

    Raises:
        NotFound: no such artifact or format. UsageError: another export is there, and `overwrite` is False.
        ConceptlibError: the folder holds something else; no annotations where the format needs some, or they do not
            cover the pictures; the disk is full.
    """
    store = store or Store()
    module = FORMATS.get(format)
    if not hasattr(module, "write"):
        able = [name for name, one in FORMATS.modules() if hasattr(one, "write")]
        raise UsageError(f"{format} is read only", hint=f"what can be exported: {', '.join(able)}")
    pictures, boxes = _inputs(ref, annotations, module.ANNOTATIONS, format, store)
    table = ImageTable(pictures)
    if split is not None:
        table.shards(split)  # raises for one that is not there
    splits = tuple(table.splits) if split is None else (split,)
    names = categories_of(pictures, boxes, categories)
    code = [version] if (version := FORMATS.version_lock(format)) else []
    request = digest([conceptlib.__version__, format, pictures.id, boxes and boxes.id, splits, names, *code])
    folder = _folder(to)
    restore_folder(folder)
    if earlier := _standing(folder, request, overwrite):
        return _exported(folder, earlier, "unchanged")
    try:
        with replacing_folder(folder) as staging:
            job = Job(pictures, boxes, splits, names, progress)
            notes = module.write(job, staging)
            mark = {
                "format": format,
                "request": request,
                "dataset": pictures.ref,
                "annotations": boxes.ref if boxes else None,
                "splits": splits,
                "categories": names,
                "images": job.images,
                "boxes": job.boxes,
                "notes": notes,
                "content": _fingerprint(staging),
            }
            atomic_write(staging / MARK, json.dumps(mark, indent=2, ensure_ascii=False) + "\n")
            _standing(folder, request, overwrite)  # once more: it may be long since
    except OSError as error:
        if full := disk_full(error, folder):
            raise full from error
        raise
    return _exported(folder, mark, "written")


def _folder(to: str | Path) -> Path:
    if not str(to).strip() or "\0" in str(to):
        raise UsageError(f"{str(to)!r} is no name of a folder", where="--to", hint="name the folder to write")
    return Path(to).expanduser().resolve()


def _inputs(
    ref: str | Path | Artifact, annotations: str | Path | Artifact | None, wants: str, format: str, store: Store
) -> tuple[Artifact, Artifact | None]:
    """The pictures and the annotation set that are meant."""
    if annotations is None:
        try:
            pictures = pictures_of(ref, store)
        except ConceptlibError:
            annotations = _annotation_set(ref, store)
            if annotations is None:
                raise
            return store.get(annotations.parents["dataset"]), annotations
    else:
        pictures = pictures_of(ref, store)
    if annotations is not None:
        return pictures, truth_for(pictures, annotations, store)
    sets = store.list("annotations", parent=pictures.id)
    known = ", ".join(sorted({one.name for one in sets})) or "none yet; `conceptlib annotate` makes one"
    if wants == "named":
        raise UsageError(f"{format} needs to know whose boxes", hint=f"--annotations NAME; there are: {known}")
    try:
        return pictures, truth_for(pictures, None, store)
    except ConceptlibError:
        if wants == "optional":
            return pictures, None
        raise ConceptlibError(
            f"{format} needs boxes, and {pictures.ref} has no exact geometry",
            where=pictures.path,
            hint=f"--annotations NAME; there are: {known}",
        ) from None


def _annotation_set(ref: str | Path | Artifact, store: Store) -> Artifact | None:
    if isinstance(ref, Artifact):
        return ref if ref.kind == "annotations" else None
    try:
        return store.get(ref, "annotations")
    except NotFound:
        return None


def categories_of(pictures: Artifact, boxes: Artifact | None, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """The concepts in the order of their ids: those `wanted`, else the dataset's, then others of the boxes by name. It
    does not depend on the split, so that parts fit together. Raises UsageError, ConceptlibError for names that cannot
    be used."""
    if wanted is not None:
        if len(set(wanted)) != len(wanted) or not all(name.strip() for name in wanted):
            raise UsageError(f"categories must be different names: {', '.join(wanted)}")
        names = list(wanted)
    else:
        names = [str(name) for name in pictures.info.get("concepts") or ()]
        others: set[str] = set()
        if boxes is not None:
            others = {str(name) for name in boxes.info.get("labels") or ()}
            for row in AnnotationTable(boxes).rows(columns=["labels"]):
                others.update(row["labels"])
        names += sorted(others - set(names))
    for name in names:
        if not name.isprintable():
            raise ConceptlibError(f"a category's name cannot be written to a file: {name!r}", hint="rename the label")
    return tuple(names)


def _standing(folder: Path, request: str, overwrite: bool) -> dict[str, Any] | None:
    """The mark of an export that is there already; None if one may be written; raises for anything else."""
    if is_vacant(folder):
        return None
    try:
        mark = json.loads((folder / MARK).read_bytes())
        known, asked, earlier = mark["content"], mark["request"], f"{mark['format']} of {mark['dataset']}"
    except (OSError, ValueError, KeyError, TypeError):
        raise ConceptlibError(
            "the folder holds files that are no export of conceptlib",
            where=folder,
            hint="choose another folder, or empty this one yourself",
        ) from None
    if known != _fingerprint(folder):
        raise ConceptlibError(
            f"files of the earlier export ({earlier}) were added, changed or removed since",
            where=folder,
            hint="choose another folder, or empty this one yourself: conceptlib does not remove what it did not write",
        )
    if asked == request:
        return dict(mark)
    if not overwrite:
        raise UsageError(f"the folder holds another export: {earlier}", where=folder, hint="--yes replaces it")
    return None


def _fingerprint(folder: Path) -> dict[str, Any]:
    """Number and bytes of the files, and a sum over their names and sizes, whose order does not matter: it takes no
    memory. Hashing a million pictures only to see that nothing is to be done would take longer than writing them."""
    files = size = total = 0
    for path, length in _files(folder):
        files, size = files + 1, size + length
        total += int(sha256_bytes(f"{path}\0{length}".encode("utf-8", "surrogateescape"))[:32], 16)
    return {"files": files, "bytes": size, "names": f"{total % 2**128:032x}"}


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Relative POSIX path and size of what an export consists of."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            relative = path.relative_to(folder).as_posix()
            if relative != MARK and not any(fnmatchcase(name, pattern) for pattern in _NOT_CONTENT):
                yield relative, path.lstat().st_size


def _exported(folder: Path, mark: Mapping[str, Any], status: str) -> Exported:
    return Exported(
        path=folder,
        format=mark["format"],
        status=status,
        dataset=mark["dataset"],
        annotations=mark["annotations"],
        splits=tuple(mark["splits"]),
        categories=tuple(mark["categories"]),
        images=mark["images"],
        boxes=mark["boxes"],
        files=mark["content"]["files"],
        bytes=mark["content"]["bytes"],
        notes=tuple(mark["notes"]),
    )
