"""The shards of a dataset while it is built: what is finished stays, and is moved to its final names at the end."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa

from conceptlib.concepts.builders import Outcome
from conceptlib.concepts.labels import MOST_VALUES, Columns, Label
from conceptlib.concepts.sources import Item
from conceptlib.concepts.tables import (
    SHARD_BYTES,
    AnnotationTable,
    ShardWriter,
    annotation_schema,
    image_schema,
    shard_name,
)
from conceptlib.geometry import Detections
from conceptlib.store.files import atomic_path, atomic_write
from conceptlib.store.hashing import digest

SPLITS = ("train", "validation", "test")
INPUTS = pa.schema([("image_id", pa.string()), ("input", pa.string()), ("machine_caption", pa.bool_())])
"""`inputs/<shard>`: what each row was made from (`Item.fingerprint`), null where it may not be used again."""

_RECORD = re.compile(rf"(?P<split>{'|'.join(SPLITS)})-(?P<block>\d{{5,}})\.\d{{3,}}\.json")
_FOLDERS = {"images.parquet": "data", "truth.parquet": "truth", "inputs.parquet": "inputs"}


@dataclass(frozen=True)
class Labelled:
    """The label columns of a dataset.

    Args:
        columns: all of them.
        told: those that are part of what the dataset is: its id has their values.
    """

    columns: Columns = field(default_factory=dict)
    told: tuple[str, ...] = ()


class Shards:
    """The shards of a build: `parts/train-00000.000.{images,truth,inputs}.parquet`, and a record, which counts, once
    all are whole.

    A split's items make blocks of `shard_rows`, by their numbers alone, and a block is one shard, or several where its
    pictures reach `SHARD_BYTES` (`Block`). So no shard depends on the blocks before it: blocks may be drawn in any
    order and by anybody, and the records say how many items of each are done.

    Args:
        folder: for the parts.
        shard_rows: items a block.
        exact: whether there is a truth to write.
        labels: of the pictures.
    """

    def __init__(self, folder: Path, shard_rows: int, exact: bool = True, labels: Labelled | None = None) -> None:
        self.folder, self.shard_rows, self.exact = folder, shard_rows, exact
        self.labels = labels or Labelled()
        folder.mkdir(parents=True, exist_ok=True)
        self._records: dict[str, dict[int, list[dict[str, Any]]]] = {split: {} for split in SPLITS}
        for path in folder.glob("*.json"):
            if match := _RECORD.fullmatch(path.name):
                self._records[match["split"]][int(match["block"])] = []
        for split, blocks in self._records.items():
            for number in blocks:
                blocks[number] = finished(folder, split, number)
        self._open: dict[str, Block] = {}
        self._turns = {split: self._places(split) for split in SPLITS}
        self.read = sum(record["read"] for record in self._all())

    def missing(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items that no finished shard holds."""
        return (item for _, _, item in self._missing(items))

    def blocks(self, items: Iterable[Item]) -> Iterator[tuple[str, int, int, Item | None]]:
        """The missing items as (split, block, number in the block, item); an item None: the block has no more."""
        begun: dict[str, int] = {}
        for block, offset, item in self._missing(items):
            begun[item.split] = block
            yield item.split, block, offset, item
            if offset == self.shard_rows - 1:
                yield item.split, begun.pop(item.split), self.shard_rows, None
        for split, block in begun.items():
            yield split, block, self.shard_rows, None

    def add(self, outcome: Outcome) -> None:
        """Write what became of the next missing item of its split."""
        split, number = outcome.split, next(self._turns[outcome.split])
        block = self._open.get(split)
        if block is None or block.number != number:
            block = self._open[split] = Block(self.folder, split, number, self.shard_rows, self.exact, self.labels)
            self._records[split][number] = block.records
        block.add(outcome)
        self.read += 1

    def put(self, split: str, number: int, records: list[dict[str, Any]]) -> None:
        """Take over a block that somebody else wrote, all its shards."""
        self.read += sum(record["read"] for record in records) - self._done(split, number)
        self._records[split][number] = records

    def close(self) -> None:
        """Finish what is open."""
        for block in self._open.values():
            block.close()
        self._open = {}

    def abandon(self) -> None:
        """Drop what is open."""
        for block in self._open.values():
            block.abandon()
        self._open = {}

    def info(self) -> dict[str, Any]:
        total = {
            key: sum(record[key] for record in self._all()) for key in ("read", "written", "polluted_images", "bytes")
        }
        counts = {
            key: sum((Counter(record[key]) for record in self._all()), Counter())
            for key in ("rejects", "overlay_rejects", "polluted", "captions")
        }
        return {
            "rows": {split: sum(r["written"] for _, _, r in records) for split, records in self._by_split() if records},
            "read": total["read"],
            "written": total["written"],
            "rejected": sum(counts["rejects"].values()),
            "rejects": dict(sorted(counts["rejects"].items())),
            "polluted": dict(sorted(counts["polluted"].items())),
            "polluted_share": round(total["polluted_images"] / max(total["written"], 1), 4),
            "captions": dict(sorted(counts["captions"].items())),
            "overlay_rejects": sum(counts["overlay_rejects"].values()),
            "image_bytes": total["bytes"],
        }

    def label_columns(self) -> dict[str, Label]:
        """The label columns, and of each class the values with their counts, unless there are very many."""
        found = {}
        for name, kind in self.labels.columns.items():
            known = [record.get("labels", {}).get(name) for record in self._all()]
            values = sum((Counter(one) for one in known if one), Counter[str]())
            whole = kind == "class" and None not in known and len(values) <= MOST_VALUES
            found[name] = Label(kind, dict(sorted(values.items())) if whole else None)
        return found

    def rejects(self) -> Iterator[dict[str, str]]:
        """Everything that was left out, in the order of the shards."""
        for record in self._all():
            yield from record["lines"]

    def rejected(self) -> list[list[str]]:
        """Split, key and reason of every picture that was left out, sorted."""
        lines = (line for line in self.rejects() if "concept" not in line)
        return sorted([line["split"], line["image_id"], line["reason"]] for line in lines)

    def digests(self, what: str) -> list[str]:
        return [record[what] for record in self._all()]

    def finish(self, target: Path) -> None:
        """Move the parts to their final names; may be called again where it was interrupted."""
        with atomic_path(target / "rejects.jsonl") as temporary, temporary.open("w", encoding="utf-8") as file:
            for line in self.rejects():
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        for split, records in self._by_split():
            for index, (block, shard, _) in enumerate(records):
                for part, folder in _FOLDERS.items():
                    if folder == "truth" and not self.exact:
                        continue
                    name = target / folder / shard_name(split, index, len(records))
                    name.parent.mkdir(exist_ok=True)
                    if not name.exists():
                        os.replace(_part(self.folder, split, block, shard, part), name)
        shutil.rmtree(self.folder)

    def _missing(self, items: Iterable[Item]) -> Iterator[tuple[int, int, Item]]:
        count = Counter[str]()
        for item in items:
            block, offset = divmod(count[item.split], self.shard_rows)
            count[item.split] += 1
            if offset >= self._done(item.split, block):
                yield block, offset, item

    def _places(self, split: str) -> Iterator[int]:
        """The block of every missing item in turn, as far as the split goes."""
        for block in count():
            yield from repeat(block, self.shard_rows - self._done(split, block))

    def _done(self, split: str, block: int) -> int:
        return sum(record["read"] for record in self._records[split].get(block, ()))

    def _by_split(self) -> Iterator[tuple[str, list[tuple[int, int, dict[str, Any]]]]]:
        """The records of each split in order, each with its block and its number in that."""
        for split, blocks in self._records.items():
            yield split, [(block, k, record) for block in sorted(blocks) for k, record in enumerate(blocks[block])]

    def _all(self) -> Iterator[dict[str, Any]]:
        for _, records in self._by_split():
            for _, _, record in records:
                yield record


class Block:
    """A block of a split's items while it is written, from where it was left: `records` of its finished shards.

    A shard ends where its pictures reach `SHARD_BYTES`, and with the block.
    """

    def __init__(
        self, folder: Path, split: str, number: int, shard_rows: int, exact: bool, labels: Labelled | None = None
    ) -> None:
        self.folder, self.split, self.number = folder, split, number
        self.shard_rows, self.exact, self.labels = shard_rows, exact, labels or Labelled()
        self.records = finished(folder, split, number)
        self._shard: _Shard | None = None

    @property
    def done(self) -> int:
        """Items of the block that finished shards hold: its first so many."""
        return sum(record["read"] for record in self.records)

    def add(self, outcome: Outcome) -> None:
        """The next item of the block."""
        if self._shard is None:
            stem = _part(self.folder, self.split, self.number, len(self.records), "x").with_suffix("")
            self._shard = _Shard(stem, self.split, self.exact, self.labels)
        self._shard.add(outcome)
        whole = self.done + self._shard.record["read"] >= self.shard_rows
        if whole or self._shard.images_bytes >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        """Finish the shard that is open; the record comes last."""
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        record = shard.close()
        atomic_write(_part(self.folder, self.split, self.number, len(self.records), "json"), json.dumps(record))
        self.records.append(record)

    def abandon(self) -> None:
        """Drop the shard that is open."""
        if self._shard is not None:
            self._shard.abandon()
            self._shard = None


def finished(folder: Path, split: str, number: int) -> list[dict[str, Any]]:
    """The records of a block's finished shards, in order."""
    records: list[dict[str, Any]] = []
    while (path := _part(folder, split, number, len(records), "json")).exists():
        records.append(json.loads(path.read_bytes()))
    return records


def _part(folder: Path, split: str, block: int, shard: int, ending: str) -> Path:
    return folder / f"{split}-{block:05d}.{shard:03d}.{ending}"


class _Shard:
    """One shard while it is written: pictures, geometry, inputs, and the counts and digests that its record will
    hold.
    """

    def __init__(self, stem: Path, split: str, exact: bool, labels: Labelled) -> None:
        self._stem, self._split, self._labels = stem, split, labels
        self._images = ShardWriter(self._part("images"), image_schema(labels.columns))
        self._truth = ShardWriter(self._part("truth"), annotation_schema()) if exact else None
        self._inputs = ShardWriter(self._part("inputs"), INPUTS)
        self._lines: list[tuple[str, str, Any]] = []
        self.record: dict[str, Any] = {"read": 0, "written": 0, "polluted_images": 0, "lines": []}
        self.record |= {key: Counter() for key in ("rejects", "overlay_rejects", "polluted", "captions")}
        self.record["labels"] = {name: {} for name, kind in labels.columns.items() if kind == "class"}

    @property
    def images_bytes(self) -> int:
        return self._images.bytes

    def add(self, outcome: Outcome) -> None:
        record, row = self.record, outcome.row
        record["read"] += 1
        record["lines"] += [{"image_id": outcome.key, "split": outcome.split, **reject} for reject in outcome.rejects]
        if row is None:
            record["rejects"].update(reject["reason"] for reject in outcome.rejects)
            return
        self._images.add(row)
        self._count_labels(row)
        # What lies in rejects.jsonl beside a row would have to be found again: such a row is drawn anew.
        kept = None if outcome.rejects else outcome.input
        self._inputs.add({"image_id": outcome.key, "input": kept, "machine_caption": outcome.machine_caption})
        geometry: list[Any] = list(outcome.concepts)
        concepts = set(outcome.concepts)
        if self._truth is not None and (outcome.truth is not None or outcome.known is not None):
            found = outcome.known or AnnotationTable.row(row, outcome.truth or Detections.empty(), outcome.marks)
            self._truth.add(found)
            concepts |= set(found["labels"])
            # A thousandth of a pixel: the same on machines whose sines differ in the last bit. Areas follow from the
            # rest, and so do not make another truth; parts do not.
            geometry = [
                found["labels"],
                found["payloads"],
                _rounded([found["boxes"], found["quads"], found["visible"]]),
            ]
            if any(found["parts"] or ()):
                geometry.append(_rounded([[list(part.values()) for part in parts] for parts in found["parts"]]))
        record["overlay_rejects"].update(reject["reason"] for reject in outcome.rejects)
        record["written"] += 1
        record["polluted_images"] += bool(concepts)
        record["polluted"].update(concepts)
        record["captions"][("machine" if outcome.machine_caption else "source") if row["caption"] else "none"] += 1
        told = [{name: row.get(name) for name in self._labels.told}] if self._labels.told else []
        self._lines.append((row["image_id"], row["image_sha256"], [row["caption"], geometry, *told]))

    def close(self) -> dict[str, Any]:
        for writer in (self._images, self._truth, self._inputs):
            if writer is not None:
                writer.close()
        record = self.record | {"bytes": self.images_bytes}
        lines = sorted(self._lines, key=lambda line: line[:2])
        record["content"] = digest([self._split, lines])
        record["geometry"] = digest([self._split, [[sha256, rest[1]] for _, sha256, rest in lines]])
        return record

    def abandon(self) -> None:
        for writer in (self._images, self._truth, self._inputs):
            if writer is not None:
                writer.abandon()

    def _count_labels(self, row: dict[str, Any]) -> None:
        """The values of the class columns, no more of one than a manifest lists."""
        for name, counts in self.record["labels"].items():
            value = row.get(name)
            if counts is None or value is None:
                continue
            counts[value] = counts.get(value, 0) + 1
            if len(counts) > MOST_VALUES:
                self.record["labels"][name] = None

    def _part(self, what: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{what}.parquet")


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) + 0.0 if isinstance(value, float) else value  # + 0.0: no minus zero
