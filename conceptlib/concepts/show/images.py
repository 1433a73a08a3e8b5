"""The page of a dataset of pictures: counts, sizes of pictures and boxes, concepts, captions, and a contact sheet.

Everything is counted from the rows, one at a time. Boxes are those of `truth`, or of another annotation set.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.concepts.labels import Columns
from conceptlib.concepts.rows import Rows
from conceptlib.concepts.show._page import Options, Page, Section, head
from conceptlib.concepts.show._values import Values
from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.geometry import Detections
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_path
from conceptlib.store.names import folder_of

EXAMPLES = 24
_BINS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0)
_BAR = 24
_SHEETS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def page(artifact: Artifact, options: Options, store: Store | None = None) -> Page:
    """The page, with the contact sheet written.

    Raises:
        ConceptlibError: no pictures; no such annotation set, or one of another dataset; a sheet of another ending than
            .png, .jpg, .jpeg, .webp.
    """
    _check_sheet(options.sheet)
    store = store or Store()
    table = ImageTable(artifact)
    boxes = _boxes(artifact, options, store)
    counts, examples = _Counts(table.labels), _spread(table, EXAMPLES if options.n is None else options.n)
    shown: list[tuple[Mapping[str, Any], Detections]] = []
    for number, (split, row, found) in enumerate(_rows(table, boxes)):
        counts.add(split, row, found)
        if number in examples:
            shown.append((row, found))
    sheet = _write_sheet(artifact, table, examples, shown, options, store) if examples else None
    first = head(artifact) | ({"contact_sheet": str(sheet)} if sheet else {})
    first |= {"boxes_of": boxes.name if boxes else None}
    notes = [] if boxes else ["nobody knows where the concepts are: `conceptlib annotate` finds them"]
    return Page(artifact, first, tuple(counts.sections(artifact.info)), tuple(notes))


@dataclass(frozen=True)
class _Boxes:
    name: str
    table: AnnotationTable


def _boxes(artifact: Artifact, options: Options, store: Store) -> _Boxes | None:
    """The annotation set that was asked for, else `truth`, if there is one."""
    if options.annotations is None:
        truths = store.list("annotations", "truth", parent=artifact.id)
        return _Boxes("truth", AnnotationTable(truths[-1])) if truths else None
    name = options.annotations
    of_name = [] if "@" in name else [one for one in store.list("annotations", parent=artifact.id) if one.name == name]
    found = of_name[-1] if of_name else store.get(name, "annotations")
    if found.parents.get("dataset") != artifact.id:
        raise ConceptlibError(
            f"{found.ref} annotates another dataset",
            where=artifact.ref,
            hint=f"conceptlib annotate {artifact.ref} --detector {found.name}",
        )
    return _Boxes(found.ref, AnnotationTable(found))


def _rows(table: ImageTable, boxes: _Boxes | None) -> Iterator[tuple[str, Mapping[str, Any], Detections]]:
    """Every row without its picture, and its boxes; the files of both go side by side."""
    columns = ["image_id", "caption", "width", "height", *table.labels]
    for split in table.splits:
        if boxes is None or split not in boxes.table.splits:
            yield from ((split, row, Detections.empty()) for row in table.rows(split, columns))
            continue
        for row, found in zip(table.rows(split, columns), boxes.table.rows(split), strict=True):
            yield split, row, AnnotationTable.detections(found)


class _Counts:
    """What is counted on the way."""

    def __init__(self, labels: Columns) -> None:
        self.labels = {name: Values(kind) for name, kind in labels.items()}
        self.pictures, self.with_concept = Counter[str](), Counter[str]()
        self.images_with, self.boxes = Counter[tuple[str, str]](), Counter[str]()
        self.sizes, self.box_sizes = Counter[tuple[int, int]](), Counter[int]()
        self.captions, self.words = Counter[str](), 0

    def add(self, split: str, row: Mapping[str, Any], found: Detections) -> None:
        self.pictures[split] += 1
        self.with_concept[split] += len(found) > 0
        self.images_with.update((label, split) for label in set(found.labels))
        self.boxes.update(found.labels)
        self.sizes[(row["width"], row["height"])] += 1
        self.captions["with" if row["caption"] else "without"] += 1
        for name, values in self.labels.items():
            values.add(row[name])
        self.words += len((row["caption"] or "").split())
        for x1, y1, x2, y2 in found.boxes.tolist():
            side = math.sqrt(max(0.0, x2 - x1) * max(0.0, y2 - y1) / (row["width"] * row["height"]))
            self.box_sizes[next((k for k, high in enumerate(_BINS[1:]) if side < high), len(_BINS) - 2)] += 1

    def sections(self, info: Mapping[str, Any]) -> Iterator[Section]:
        splits = [
            {"split": s, "pictures": n, "polluted": self.with_concept[s], "share": round(self.with_concept[s] / n, 4)}
            for s, n in self.pictures.items()
        ]
        yield Section("splits", ("split", "pictures", "polluted", "share"), splits)
        yield Section("concepts", ("concept", "pictures", "share", "boxes", *self.pictures), self._concepts(info))
        if self.labels:
            rows = [row for name, values in self.labels.items() for row in values.rows(name)]
            yield Section("labels", ("label", "value", "pictures", "share"), rows)
        yield Section(
            "picture sizes", ("pixels", "pictures", "histogram"), _histogram(self._sizes(), "pixels", "pictures")
        )
        bins = {f"{_BINS[k]:.0%} to {_BINS[k + 1]:.0%}": self.box_sizes[k] for k in range(len(_BINS) - 1)}
        if self.boxes:
            yield Section("box sizes", ("side", "boxes", "histogram"), _histogram(bins, "side", "boxes"))
        several = {"with": self.captions["with"], "without": self.captions["without"]}
        mean = round(self.words / self.captions["with"], 1) if self.captions["with"] else None
        machine = dict(info.get("captions", {})).get("machine", 0)
        captions = [{**several, "by a model": machine, "mean words": mean}]
        yield Section("captions", ("with", "without", "by a model", "mean words"), captions)

    def _concepts(self, info: Mapping[str, Any]) -> list[dict[str, Any]]:
        """By boxes; where there are none, what the builder knows of whole pictures."""
        total = sum(self.pictures.values())
        rows = []
        for name in sorted({*self.boxes, *info.get("polluted", {}), *info.get("concepts", ())}):
            by_split: dict[str, int | None] = {split: self.images_with[(name, split)] for split in self.pictures}
            pictures = sum(self.images_with[(name, split)] for split in self.pictures)
            if not self.boxes:
                pictures, by_split = info.get("polluted", {}).get(name, 0), dict.fromkeys(by_split)
            share = round(pictures / max(total, 1), 4)
            rows.append({"concept": name, "pictures": pictures, "share": share, "boxes": self.boxes[name], **by_split})
        return rows

    def _sizes(self) -> dict[str, int]:
        """The exact sizes if they are few, else longer sides by powers of two."""
        if len(self.sizes) <= 12:
            return {f"{w}x{h}": n for (w, h), n in sorted(self.sizes.items())}
        bins = Counter[int]()
        for (width, height), count in self.sizes.items():
            bins[max(width, height).bit_length() - 1] += count
        return {f"longer side {1 << k} to {(2 << k) - 1}": bins[k] for k in range(min(bins), max(bins) + 1)}


def _histogram(counts: Mapping[str, int], what: str, of: str) -> list[dict[str, Any]]:
    most = max(counts.values(), default=0)
    return [{what: k, of: n, "histogram": "█" * math.ceil(_BAR * n / most) if n else ""} for k, n in counts.items()]


def _spread(table: ImageTable, count: int) -> dict[int, None]:
    """The numbers of so many rows, evenly over the whole dataset."""
    total = len(table)
    count = min(count, total)
    return {(2 * k + 1) * total // (2 * count): None for k in range(count)}


def _write_sheet(
    artifact: Artifact,
    table: ImageTable,
    numbers: Mapping[int, None],
    shown: list[tuple[Mapping[str, Any], Detections]],
    options: Options,
    store: Store,
) -> Path:
    from conceptlib.reports.grid import Panel, grid

    stored = Rows(table.shards())
    pictures = [table.decode(stored[number]) for number in numbers]
    captions = [row["caption"] or "(no caption)" for row, _ in shown]
    boxes = [found for _, found in shown]
    total = len(table)
    part = f"all {total}" if len(pictures) == total else f"{len(pictures)} of {total}"
    title = f"{artifact.ref}: {part} pictures"
    labels = {label for found in boxes for label in found.labels}
    concepts = [str(name) for name in artifact.info.get("concepts", ())]
    legend = [name for name in concepts if name in labels] + sorted(labels - set(concepts))
    footer = "" if len(pictures) == total else "Pictures at even distances in the dataset."
    picture = grid([Panel("", "", pictures, boxes)], captions, title=title, footer=footer, legend=legend)
    path = options.sheet or store.root / "sheets" / f"{folder_of(artifact.name)}@{artifact.id}.png"
    with atomic_path(path.expanduser().absolute()) as temporary:
        picture.save(temporary, _SHEETS[path.suffix.lower()], quality=88)
    return path


def _check_sheet(path: Path | None) -> None:
    """Refuse another kind of file before every row is read."""
    if path is not None and path.suffix.lower() not in _SHEETS:
        raise UsageError(f"a contact sheet is a {', '.join(_SHEETS)}", where=str(path), hint="--sheet NAME.png")
