"""The shards of a dataset while it is built: what is finished stays, and is moved to its final names at the end."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from conceptlib.concepts.builders import Outcome
from conceptlib.concepts.sources import Item
from conceptlib.concepts.tables import (
    LABELS,
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

SPLITS = ("train", "test")
INPUTS = pa.schema([("image_id", pa.string()), ("input", pa.string()), ("machine_caption", pa.bool_())])
"""`inputs/<shard>`: what each row was made from (`Item.fingerprint`), null where it may not be used again."""

_FOLDERS = {"images.parquet": "data", "truth.parquet": "truth", "inputs.parquet": "inputs"}


class Shards:
    """The shards of a build: `parts/train-00000.{images,truth,inputs}.parquet`, and a record once all are whole.

    A shard is a run of a split's items, `shard_rows` of them, or fewer where the pictures reach `SHARD_BYTES`. So the
    records say how many items of each split are done, and the rest of the source is what is missing.

    Args:
        folder: for the parts.
        shard_rows: items a shard.
        exact: whether there is a truth to write.
    """

    def __init__(self, folder: Path, shard_rows: int, exact: bool = True) -> None:
        self.folder, self.shard_rows, self.exact = folder, shard_rows, exact
        folder.mkdir(parents=True, exist_ok=True)
        self.records: dict[str, list[dict[str, Any]]] = {}
        for split in SPLITS:
            found: list[dict[str, Any]] = []
            while (path := self._part(split, len(found), "json")).exists():
                found.append(json.loads(path.read_bytes()))
            self.records[split] = found
        self._open: dict[str, _Shard] = {}
        self.read = sum(record["read"] for record in self._all())

    def missing(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items that no finished shard holds."""
        done = {split: sum(record["read"] for record in records) for split, records in self.records.items()}
        for item in items:
            if done[item.split]:
                done[item.split] -= 1
            else:
                yield item

    def add(self, outcome: Outcome) -> None:
        split = outcome.split
        if split not in self._open:
            index = len(self.records[split])
            self._open[split] = _Shard(self.folder / f"{split}-{index:05d}", split, self.exact)
        shard = self._open[split]
        shard.add(outcome)
        self.read += 1
        if shard.record["read"] >= self.shard_rows or shard.images_bytes >= SHARD_BYTES:
            self._close(split)

    def close(self) -> None:
        """Finish what is open."""
        for split in list(self._open):
            self._close(split)

    def abandon(self) -> None:
        """Drop what is open."""
        for shard in self._open.values():
            shard.abandon()
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
            "rows": {split: sum(r["written"] for r in records) for split, records in self.records.items() if records},
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

    def rejects(self) -> Iterator[dict[str, str]]:
        """Everything that was left out, in the order of the shards."""
        for record in self._all():
            yield from record["lines"]

    def digests(self, what: str) -> list[str]:
        return [record[what] for record in self._all()]

    def finish(self, target: Path) -> None:
        """Move the parts to their final names; may be called again where it was interrupted."""
        with atomic_path(target / "rejects.jsonl") as temporary, temporary.open("w", encoding="utf-8") as file:
            for line in self.rejects():
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        for split, records in self.records.items():
            for index in range(len(records)):
                for part, folder in _FOLDERS.items():
                    if folder == "truth" and not self.exact:
                        continue
                    name = target / folder / shard_name(split, index, len(records))
                    name.parent.mkdir(exist_ok=True)
                    if not name.exists():
                        os.replace(self._part(split, index, part), name)
        shutil.rmtree(self.folder)

    def _close(self, split: str) -> None:
        record = self._open.pop(split).close()
        self.records[split].append(record)
        atomic_write(self._part(split, len(self.records[split]) - 1, "json"), json.dumps(record))

    def _all(self) -> Iterator[dict[str, Any]]:
        for split in SPLITS:
            yield from self.records[split]

    def _part(self, split: str, index: int, ending: str) -> Path:
        return self.folder / f"{split}-{index:05d}.{ending}"


class _Shard:
    """One shard while it is written: pictures, geometry, inputs, and the counts and digests that its record will
    hold.
    """

    def __init__(self, stem: Path, split: str, exact: bool) -> None:
        self._stem, self._split = stem, split
        self._images: ShardWriter | None = None
        self._truth = ShardWriter(self._part("truth"), annotation_schema()) if exact else None
        self._inputs = ShardWriter(self._part("inputs"), INPUTS)
        self._lines: list[tuple[str, str, Any]] = []
        self.record: dict[str, Any] = {"read": 0, "written": 0, "polluted_images": 0, "lines": []}
        self.record |= {key: Counter() for key in ("rejects", "overlay_rejects", "polluted", "captions")}

    @property
    def images_bytes(self) -> int:
        return self._images.bytes if self._images else 0

    def add(self, outcome: Outcome) -> None:
        record, row = self.record, outcome.row
        record["read"] += 1
        record["lines"] += [{"image_id": outcome.key, "split": outcome.split, **reject} for reject in outcome.rejects]
        if row is None:
            record["rejects"].update(reject["reason"] for reject in outcome.rejects)
            return
        self._writer(any(name in row for name in LABELS)).add(row)
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
        self._lines.append((row["image_id"], row["image_sha256"], [row["caption"], geometry]))

    def close(self) -> dict[str, Any]:
        self._writer(False).close()  # a shard whose items were all rejected is an empty file, not a gap
        for writer in (self._truth, self._inputs):
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

    def _writer(self, labels: bool) -> ShardWriter:
        if self._images is None:
            self._images = ShardWriter(self._part("images"), image_schema(labels))
        return self._images

    def _part(self, what: str) -> Path:
        return self._stem.with_name(f"{self._stem.name}.{what}.parquet")


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) + 0.0 if isinstance(value, float) else value  # + 0.0: no minus zero
