"""Pictures, captions and boxes in one table, as a published dataset has them."""

from __future__ import annotations

from conceptlib.concepts.tables import ImageTable
from conceptlib.formats import parquet
from conceptlib.formats._export import categories_of
from conceptlib.formats._job import Job
from conceptlib.store import Artifact
from conceptlib.store.replacing import scratch_folder


class Joined:
    """`data/<shard>` of a dataset with its boxes, in a temporary folder (`TMPDIR`) of the dataset's size.

    It is removed when nothing refers to this object any more, at the latest when Python ends; what a killed process
    left is removed by the next publication.

    path: the folder. files: relative POSIX paths of its shards.

    Raises:
        ConceptlibError: the artifact is damaged. OSError: the disk is full.
    """

    def __init__(self, artifact: Artifact, truth: Artifact | None) -> None:
        self.path = scratch_folder(self, "conceptlib-publish-")
        splits = tuple(ImageTable(artifact).splits)
        parquet.write(Job(artifact, truth, splits, categories_of(artifact, truth)), self.path)
        self.files = tuple(sorted(file.relative_to(self.path).as_posix() for file in self.path.rglob("*.parquet")))
