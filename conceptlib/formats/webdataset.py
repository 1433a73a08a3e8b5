"""WebDataset: `<split>-000000.tar` of `KEY.jpg` (or `.png`, `.webp`), `KEY.txt` (the caption) and `KEY.json`.

The JSON holds the row's columns, the caption (null where there is none; the text is then empty), and `objects`: `bbox`
`[x, y, width, height]` in pixels, `category`, `score`, and `quad`, `payload` and `visible` where known. A tar file ends
after 500 MB or 10 000 pictures. Its bytes follow from the dataset: no times, owners or host names. Names longer than
the 100 bytes of a classic tar header stand in a pax header, which every reader knows.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from conceptlib.concepts.tables import SHARD_BYTES
from conceptlib.errors import ConceptlibError
from conceptlib.formats._job import Job, Sample, objects, short
from conceptlib.geometry import Detections

ANNOTATIONS = "optional"
SHARD_ROWS = 10_000


def write(job: Job, folder: Path) -> list[str]:
    """Write one tar file after the other."""
    for split in job.splits:
        shard: _Shard | None = None
        index = 0
        try:
            for sample in job.samples(split):
                if shard is not None and shard.full:
                    shard.close()
                    shard = None
                if shard is None:
                    shard, index = _Shard(folder / f"{split}-{index:06d}.tar"), index + 1
                shard.add(job, sample)
        finally:
            if shard is not None:
                shard.close()
    return []


class _Shard:
    """One tar file while it is written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar = tarfile.open(path, "x", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by `close`
        self._names: set[str] = set()
        self._bytes = 0

    @property
    def full(self) -> bool:
        return len(self._names) >= SHARD_ROWS or self._bytes >= SHARD_BYTES

    def add(self, job: Job, sample: Sample) -> None:
        if sample.name in self._names:
            raise ConceptlibError(
                f"two pictures would be called {sample.name}",
                where=f"image id {sample.row['image_id']!r}",
                hint="image ids must be unique in a dataset: build it again",
            )
        self._names.add(sample.name)
        caption = sample.row["caption"]
        about = sample.about() | {"caption": caption}
        if job.annotations is not None:
            about["objects"] = _objects(sample.found)
        parts = {
            sample.suffix: sample.data,
            ".json": json.dumps(about, ensure_ascii=False, sort_keys=True).encode(),
            ".txt": (caption or "").encode(),
        }
        for suffix, data in sorted(parts.items()):
            entry = tarfile.TarInfo(sample.name + suffix)  # its defaults: no time, no owner, mode 644
            entry.size = len(data)
            self._tar.addfile(entry, io.BytesIO(data))
            self._bytes += len(data)

    def close(self) -> None:
        self._tar.close()


def _objects(found: Detections) -> dict[str, Any]:
    known = objects(found)
    if found.quads is not None:
        known["quad"] = [short(quad) for quad in found.quads]
    if found.payloads is not None:
        known["payload"] = list(found.payloads)
    if found.visible is not None:
        known["visible"] = short(found.visible)
    return known
