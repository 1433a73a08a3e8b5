"""Shards of pictures as work for other machines: what a worker is told, and what it does with it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.base import Detector, detector_lock
from conceptlib.detectors.batches import annotate_shard
from conceptlib.detectors.load import load_detector
from conceptlib.errors import ConceptlibError
from conceptlib.store import Artifact, Store


@dataclass(frozen=True)
class ShardTask:
    """A shard of pictures, and the file that its annotations go to: once that is there, the shard is done."""

    shard: Path
    target: Path

    @property
    def name(self) -> str:
        return self.shard.name

    def count(self) -> int:
        """Rows that are annotated."""
        return sum(1 for _ in AnnotationTable.shard_rows(self.target, ["image_id"]))


@dataclass
class ShardWork:
    """Annotates shards with a detector that is loaded once. Can be pickled where the detector is given by a name.

    Args:
        detector: as for `load_detector`.
        lock: of the detector that the annotations are to be from.
        pictures: the artifact's folder.
        batch_size: see `annotate`.
        store: its root.
        device, trust: as for `load_detector`.
    """

    detector: str | Detector
    lock: dict[str, Any]
    pictures: Path
    batch_size: int
    store: Path
    device: str | None
    trust: bool
    _loaded: tuple[ImageTable, Detector] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        ref: str | Path | Artifact | Detector,
        loaded: Detector,
        pictures: Path,
        batch_size: int,
        store: Store,
        device: str | None,
        trust: bool,
    ) -> ShardWork:
        """The work for the detector `ref`, which is `loaded` here."""
        detector: str | Detector
        if isinstance(ref, Artifact):
            detector = str(ref.path)
        elif isinstance(ref, (str, os.PathLike)):
            # By its id: a name may mean a newer one by the time that a worker loads it.
            detector = loaded.artifact or os.fspath(ref)
        else:
            detector = ref
        own = "cuda" if device and device.startswith("cuda") else device  # a worker sees one GPU, its own
        return cls(detector, detector_lock(loaded), pictures, batch_size, store.root, own, trust)

    def __call__(self, task: ShardTask) -> int:
        """Annotate a shard, unless an earlier try did; returns the number of its rows."""
        if task.target.exists():
            return task.count()
        if self._loaded is None:
            self._loaded = ImageTable(self.pictures), self._load()
        table, detector = self._loaded
        return annotate_shard(table, task.shard, detector, self.batch_size, task.target)

    def _load(self) -> Detector:
        detector = load_detector(self.detector, store=Store(self.store), device=self.device, trust=self.trust)
        found = detector_lock(detector)
        if found != self.lock:
            different = sorted(key for key in found.keys() | self.lock.keys() if found.get(key) != self.lock.get(key))
            raise ConceptlibError(
                f"a worker has another detector than this machine: {', '.join(different)} differ",
                where=f"{socket.gethostname()}: {detector.name}",
                hint="install the same versions, and have the same specs and weights, on every machine of the cluster",
            )
        return detector
