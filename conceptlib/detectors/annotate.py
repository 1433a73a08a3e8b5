"""Annotating: what a detector finds in every picture of a dataset, as an artifact of its own.

One shard at a time, or one a worker of another engine: a shard is written whole under its dataset's name, and an
interrupted run keeps those that it finished. Batches are made here, one while the detector works on another, so that
memory holds a few of them and one row group of the table, however large the dataset is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from conceptlib.concepts.tables import AnnotationTable, ImageTable
from conceptlib.detectors.base import Detector, detector_lock, uses_gpu
from conceptlib.detectors.batches import annotate_shard
from conceptlib.detectors.load import load_detector
from conceptlib.detectors.shards import ShardTask, ShardWork
from conceptlib.engines import engine as find_engine
from conceptlib.errors import ConceptlibError, NotFound, UsageError
from conceptlib.progress import Progress
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import digest

PICTURES = ("dataset", "images")
"""Kinds of artifacts that hold pictures."""


def annotate(
    dataset: str | Path | Artifact,
    detector: str | Path | Artifact | Detector,
    *,
    store: Store | None = None,
    batch_size: int = 32,
    split: str | None = None,
    device: str | None = None,
    trust: bool = False,
    engine: str = "local",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Annotate a dataset or generated images, or find them annotated.

    Args:
        dataset: of kind `dataset` or `images`.
        detector, device, trust: as for `load_detector`.
        batch_size: pictures decoded and detected at once, 1 or more.
        split: only this one; None: all.
        engine: `local`, or `ray`: actors on a Ray cluster load the detector once each and take a shard at a time, see
            `conceptlib.engines`.
        workers: how many actors at most; None: as many as there is room for.
        progress: hears ("annotate", pictures done, pictures in all).

    Returns:
        An artifact of kind `annotations` called like the detector, with a row for every picture; parents `dataset`
        and, if the detector was trained here, `detector`. `info`: `images`, `boxes` by label, `images_with` by label,
        `threshold`.

    Raises:
        NotFound: no such dataset or detector. ConceptlibError: not pictures, no such split, or a damaged shard; no
            such engine, or its workers failed.
    """
    if engine == "local" and workers is not None:
        raise UsageError("only a cluster has workers to choose from", where="workers", hint="engine: ray")
    runner = find_engine(engine)
    store = store or Store()
    pictures = pictures_of(dataset, store)
    here = device if engine == "local" or device == "cpu" else None  # this machine need not have the workers' GPUs
    finder = load_detector(detector, store=store, device=here, trust=trust)
    table = ImageTable(pictures)
    shards = table.shards(split)
    if batch_size < 1:
        raise ConceptlibError(f"a batch of {batch_size} pictures cannot be made", where="batch_size", hint="1 or more")
    lock = {"detector": detector_lock(finder), "split": split}
    parents: dict[str, str | Artifact] = {
        "dataset": pictures,
        **({"detector": finder.artifact} if finder.artifact else {}),
    }
    with store.draft("annotations", finder.name, lock=lock, parents=parents) as draft:
        if draft.done:
            return draft.done
        tasks = [ShardTask(shard, draft.path / "data" / shard.name) for shard in shards]
        waiting = [task for task in tasks if not task.target.exists()]
        total = table.count(split)
        done = sum(task.count() for task in tasks if task.target.exists())
        work: Callable[[ShardTask], int]
        if engine == "local":

            def work(task: ShardTask) -> int:
                return annotate_shard(table, task.shard, finder, batch_size, task.target, done, total, progress)

        else:
            work = ShardWork.of(detector, finder, table.path, batch_size, store, device, trust)
        with closing(runner.run(work, waiting, workers=workers, gpu=uses_gpu(finder, device))) as answers:
            for _, count in answers:
                done += count
                if progress is not None:
                    progress("annotate", done, total)
        if progress is not None:
            progress("annotate", total, total)
        rows, info = summary(draft.path)
        # The lock belongs to the content: another detector's annotations are another set, even where both see the same.
        return draft.commit(
            content=digest([lock, rows]), info=info | {"threshold": finder.threshold, "labels": list(finder.labels)}
        )


def pictures_of(ref: str | Path | Artifact, store: Store) -> Artifact:
    """The artifact with pictures that is meant, a dataset first.

    Raises:
        NotFound: there is none. ConceptlibError: it holds no pictures.
    """
    if not isinstance(ref, Artifact):
        try:
            ref = store.get(ref, "dataset")
        except NotFound as missing:
            try:
                ref = store.get(ref, "images")
            except NotFound:
                ref = _of_any_kind(ref, store, missing)
    if ref.kind not in PICTURES:
        raise ConceptlibError(
            f"{ref.ref} is of kind {ref.kind}; it holds no pictures", where=ref.path, hint="give a dataset or images"
        )
    ImageTable(ref)  # a dataset of prompts is refused here, before a detector is loaded
    return ref


def _of_any_kind(ref: str | Path | Artifact, store: Store, missing: NotFound) -> Artifact:
    """The artifact of that name, for a message that says what it is. Raises `missing` where there is none."""
    try:
        return store.get(ref)
    except ConceptlibError:
        raise missing from None


def summary(path: Path) -> tuple[str, dict[str, Any]]:
    """Digest of what the table says, whatever Parquet's bytes are, and its counts."""
    lines: list[str] = []
    boxes: Counter[str] = Counter()
    images: Counter[str] = Counter()
    table = AnnotationTable(path)
    for shard in table.shards():
        for row in table.shard_rows(shard):
            lines.append(digest([shard.name, row]))
            boxes.update(row["labels"])
            images.update(set(row["labels"]))
    info = {"images": len(lines), "boxes": dict(sorted(boxes.items())), "images_with": dict(sorted(images.items()))}
    return digest(lines), info
