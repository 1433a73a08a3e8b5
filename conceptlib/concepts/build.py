"""Build a dataset: every row of a source through a builder, into Parquet shards with exact geometry beside them.

    artifact = build("icd-qr", overrides=["rows=64"])
    truth = truth_of(artifact)                          # annotation set `truth`: what was drawn, and where

Rows go through worker processes in order, a bounded number at a time; a shard that is finished stays, so that the same
build, stopped at any point, goes on from there. What a row becomes depends on the spec and the row alone, never on the
number of workers. The dataset's id hashes what it says (row ids, pictures' sha256, captions, geometry), not Parquet's
bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from conceptlib.concepts.builders import Job, Outcome
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
from conceptlib.errors import ConceptlibError
from conceptlib.specs import BUILDERS, DatasetSpec, load_spec
from conceptlib.store import Artifact, Draft, Store
from conceptlib.store.files import atomic_path, atomic_write
from conceptlib.store.hashing import digest

Progress = Callable[[str, int, int], None]
SPLITS = ("train", "test")
CHUNK = 16
_PARTS = "parts"


def build(
    spec: str | Path | DatasetSpec,
    *,
    overrides: Sequence[str] = (),
    store: Store | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Build the dataset of a spec, or find it built; its annotation set `truth` is made with it.

    Args:
        spec: a spec's name, its file, or the spec.
        overrides: `key=value`, for a name or file.
        store: default: the user's.
        workers: processes; None: one a processor, at most 8; 1: none, all in this one.
        progress: hears ("build", rows done, rows in all); 0 in all where the source does not know.

    Returns:
        The dataset. `info`: `rows` by split; `read` = `written` + `rejected`; `rejects` by reason; `polluted` images by
        concept; `polluted_share`; `overlay_rejects`. `rejects.jsonl` has a line for every picture and overlay that was
        left out.

    Raises:
        SpecError: the spec is wrong.
        ConceptlibError: a source that is not there or holds nothing usable.
    """
    if not isinstance(spec, DatasetSpec):
        loaded = load_spec("dataset", spec, overrides=overrides)
        if not isinstance(loaded, DatasetSpec):
            raise TypeError(f"a dataset spec expected, not {type(loaded).__name__}")
        spec = loaded
    store = store or Store()
    job: Job = BUILDERS.get(spec.builder).prepare(spec)
    lock = {"spec": _portable(spec.resolved()), "source": job.source.lock(), "builder": job.lock}
    with store.draft("dataset", spec.name, lock=lock, parents={}) as draft:
        artifact = draft.done or _fill(draft, job, spec, workers, progress)
    truth_of(artifact, store)
    return artifact


def truth_of(dataset: Artifact, store: Store | None = None) -> Artifact:
    """The annotation set `truth` of a built dataset: exact boxes, quads, payloads and visible shares of what was drawn.

    Raises:
        ConceptlibError: the dataset was not built here, so nobody knows.
    """
    store = store or Store()
    shards = sorted((dataset.path / "truth").glob("*.parquet"))
    if not shards:
        raise ConceptlibError(
            f"the dataset {dataset.name} has no exact geometry",
            where=str(dataset.path),
            hint="annotate it with a detector instead",
        )
    with store.draft("annotations", "truth", lock={"source": "truth"}, parents={"dataset": dataset.id}) as draft:
        if draft.done:
            return draft.done
        for shard in shards:
            with atomic_path(draft.path / "data" / shard.name) as temporary:
                shutil.copyfile(shard, temporary)
        info = {key: dataset.info[key] for key in ("rows", "polluted", "polluted_share", "concepts")}
        return draft.commit(content=digest({"dataset": dataset.id, "geometry": dataset.info["geometry"]}), info=info)


def _portable(resolved: dict[str, Any]) -> dict[str, Any]:
    """A resolved spec without the places of the user's folders: their content is in the lock, and their paths are
    nobody's business."""
    params = dict(resolved["params"])
    for name in ("source", "fonts"):
        folder = params.get(name)
        if isinstance(folder, str) and Path(folder).expanduser().is_dir():
            params[name] = Path(folder).expanduser().resolve().name
    return resolved | {"params": params}


def _fill(draft: Draft, job: Job, spec: DatasetSpec, workers: int | None, progress: Progress | None) -> Artifact:
    shards = _Shards(draft.path / _PARTS, job.shard_rows)
    todo = shards.missing(job.source.items())
    total = job.source.total or 0
    try:
        for outcome in _outcomes(todo, job.draw, _count_workers(workers, total - shards.read)):
            shards.add(outcome)
            if progress is not None:
                progress("build", shards.read, max(total, shards.read) if total else 0)
        shards.close()
    except BaseException:
        shards.abandon()
        raise
    info = shards.info() | {
        "concepts": list(spec.concepts),
        "source": job.source.lock() | {"other_files": job.source.ignored},
    }
    if not info["written"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in info["rejects"].items())
        hint = (
            "missing_captions=keep uses pictures without captions"
            if "no-caption" in info["rejects"]
            else "look at the source's files"
        )
        first = next(iter(shards.rejects()), {})
        shutil.rmtree(draft.path / _PARTS)  # nothing worth going on from
        raise ConceptlibError(
            f"no picture of the source can be used ({reasons or 'it is empty'})",
            where=f"{first.get('image_id', '')}: {first.get('detail', '')}" if first else spec.name,
            hint=hint,
        )
    shards.finish(draft.path)
    return draft.commit(
        content=digest(shards.digests("content")), info=info | {"geometry": digest(shards.digests("geometry"))}
    )


class _Shards:
    """The shards of a build: `parts/train-00000.{images,truth}.parquet`, and a record once both are whole.

    A shard is a run of a split's items, `shard_rows` of them, or fewer where the pictures reach `SHARD_BYTES`. So the
    records say how many items of each split are done, and the rest of the source is what is missing.
    """

    def __init__(self, folder: Path, shard_rows: int) -> None:
        self.folder, self.shard_rows = folder, shard_rows
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
            self._open[split] = _Shard(
                self._part(split, index, "images.parquet"), self._part(split, index, "truth.parquet"), split
            )
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
            for key in ("rejects", "overlay_rejects", "polluted")
        }
        return {
            "rows": {split: sum(r["written"] for r in records) for split, records in self.records.items() if records},
            "read": total["read"],
            "written": total["written"],
            "rejected": sum(counts["rejects"].values()),
            "rejects": dict(sorted(counts["rejects"].items())),
            "polluted": dict(sorted(counts["polluted"].items())),
            "polluted_share": round(total["polluted_images"] / max(total["written"], 1), 4),
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
                for part, folder in (("images.parquet", "data"), ("truth.parquet", "truth")):
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
    """One shard while it is written: pictures, geometry, and the counts and digests that its record will hold."""

    def __init__(self, images: Path, truth: Path, split: str) -> None:
        self._images_path, self._split = images, split
        self._images: ShardWriter | None = None
        self._truth = ShardWriter(truth, annotation_schema())
        self._lines: list[tuple[str, str, Any]] = []
        self.record: dict[str, Any] = {"read": 0, "written": 0, "polluted_images": 0, "lines": []}
        self.record |= {"rejects": Counter(), "overlay_rejects": Counter(), "polluted": Counter()}

    @property
    def images_bytes(self) -> int:
        return self._images.bytes if self._images else 0

    def add(self, outcome: Outcome) -> None:
        record = self.record
        record["read"] += 1
        record["lines"] += [{"image_id": outcome.key, "split": outcome.split, **reject} for reject in outcome.rejects]
        if outcome.row is None or outcome.truth is None:
            record["rejects"].update(reject["reason"] for reject in outcome.rejects)
            return
        row, found = outcome.row, AnnotationTable.row(outcome.row, outcome.truth, outcome.marks)
        self._writer(any(name in row for name in LABELS)).add(row)
        self._truth.add(found)
        record["overlay_rejects"].update(reject["reason"] for reject in outcome.rejects)
        record["written"] += 1
        record["polluted_images"] += bool(found["labels"])
        record["polluted"].update(set(found["labels"]))
        # A thousandth of a pixel: the same on machines whose sines differ in the last bit.
        # Areas follow from the rest, and so do not make another truth; parts do not.
        geometry = [found["labels"], found["payloads"], _rounded([found["boxes"], found["quads"], found["visible"]])]
        if any(found["parts"] or ()):
            geometry.append(_rounded([[list(part.values()) for part in parts] for parts in found["parts"]]))
        self._lines.append((row["image_id"], row["image_sha256"], [row["caption"], geometry]))

    def close(self) -> dict[str, Any]:
        self._writer(False).close()  # a shard whose items were all rejected is an empty file, not a gap
        self._truth.close()
        record = self.record | {"bytes": self.images_bytes}
        lines = sorted(self._lines, key=lambda line: line[:2])
        record["content"] = digest([self._split, lines])
        record["geometry"] = digest([self._split, [[sha256, rest[1]] for _, sha256, rest in lines]])
        return record

    def abandon(self) -> None:
        for writer in (self._images, self._truth):
            if writer is not None:
                writer.abandon()

    def _writer(self, labels: bool) -> ShardWriter:
        if self._images is None:
            self._images = ShardWriter(self._images_path, image_schema(labels))
        return self._images


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) + 0.0 if isinstance(value, float) else value  # + 0.0: no minus zero


def _count_workers(workers: int | None, rows: int) -> int:
    """Processes to start: starting one costs about a second, which a few hundred rows are not worth."""
    if workers is not None:
        if workers < 1:
            raise ConceptlibError(f"there cannot be {workers} workers", where="workers", hint="1 or more")
        return workers
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if 0 < rows <= 400 else min(processors, 8)


def _outcomes(items: Iterable[Item], draw: Callable[[Item], Outcome], workers: int) -> Iterator[Outcome]:
    """The items' outcomes, in order. At most a few chunks a worker are on their way, so memory does not grow with their
    number."""
    if workers == 1:
        yield from map(draw, items)
        return
    rest = iter(items)
    chunks = iter(lambda: tuple(islice(rest, CHUNK)), ())
    # spawn: forking a process that runs threads (torch, Arrow) may deadlock.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker, initargs=(draw,))
    try:
        waiting: deque[Future[list[Outcome]]] = deque(
            pool.submit(_work, chunk) for chunk in islice(chunks, 2 * workers)
        )
        while waiting:
            outcomes = waiting.popleft().result()
            if (chunk := next(chunks, None)) is not None:
                waiting.append(pool.submit(_work, chunk))
            yield from outcomes
    except BrokenProcessPool as error:
        raise ConceptlibError(
            "a worker process ended abruptly",
            where="build",
            hint="out of memory? try fewer workers. A script that calls build() needs `if __name__ == '__main__':`",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_draw: Callable[[Item], Outcome] | None = None


def _start_worker(draw: Callable[[Item], Outcome]) -> None:
    global _draw
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    _draw = draw
    parent = parent_process()
    if parent is not None:  # a parent that is killed outright tells nobody, and its workers would wait for ever
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _work(items: Sequence[Item]) -> list[Outcome]:
    if _draw is None:
        raise RuntimeError("the worker was not started by _start_worker")
    return [_draw(item) for item in items]
