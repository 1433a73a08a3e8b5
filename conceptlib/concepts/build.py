"""Build a dataset: every row of a source through a builder, into Parquet shards with exact geometry beside them.

    artifact = build("icd-qr", overrides=["rows=64"])
    truth = truth_of(artifact)                          # annotation set `truth`: what was drawn, and where

Rows go through worker processes in order, a bounded number at a time; with another engine, blocks of rows go to other
machines. A shard that is finished stays, so that the same build, stopped at any point, goes on from there. What a row
becomes depends on the spec and the row alone, never on the workers. The dataset's id hashes what it says (row ids,
pictures' sha256, captions, geometry), not Parquet's bytes.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.concepts.blocks import BlockWork, block_tasks
from conceptlib.concepts.builders import Job, RowsJob
from conceptlib.concepts.duplicates import VERSION as COPIES
from conceptlib.concepts.labels import DECLARED
from conceptlib.concepts.prompts.subset import build_subset, find_base, subset_ref
from conceptlib.concepts.prompts.table import is_prompts
from conceptlib.concepts.reuse import Earlier, Recorded, find_earlier, recipe_digest
from conceptlib.concepts.shards import Labelled, Shards
from conceptlib.concepts.sources import Item
from conceptlib.concepts.sources.base import variants
from conceptlib.concepts.tables import ImageTable
from conceptlib.concepts.workers import count_workers, outcomes
from conceptlib.engines import engine as find_engine
from conceptlib.errors import ConceptlibError
from conceptlib.progress import Progress
from conceptlib.specs import BUILDERS, DatasetSpec, load_spec, portable
from conceptlib.store import Artifact, Draft, Store
from conceptlib.store.files import atomic_path, atomic_write
from conceptlib.store.hashing import digest

_PARTS = "parts"
_PATHS = ("source", "fonts", "missing_captions", "file", "exclude")
"""Parameters that may be paths."""
_HINTS = {  # of reasons for which no picture can be used
    "bad-caption": "a caption is text: correct those that are none, or say another caption_column=",
    "bad-label": "correct the values, or say what the column holds: labels={NAME: text}",
    "bad-row": "correct the metadata's lines",
    "missing-file": "names in metadata are relative to its own folder, paths in tables to the table's",
    "no-caption": "write metadata.jsonl or NAME.txt files, or say missing_captions=keep, or =MODEL for one that writes "
    "them; in a tar a caption lies beside its picture: sort it by name",
    "no-split": "splits=hash takes all pictures",
    "refused": "only files inside the source are read: copy them into it, or give a folder that holds them all",
}


def build(
    spec: str | Path | DatasetSpec,
    *,
    overrides: Sequence[str] = (),
    source: Iterable[Any] | None = None,
    store: Store | None = None,
    workers: int | None = None,
    engine: str = "local",
    progress: Progress | None = None,
) -> Artifact:
    """Build the dataset of a spec, or find it built; its annotation set `truth` is made with it, where it has pictures.

    Args:
        spec: a spec's name, its file, or the spec; or a subset of a prompt dataset, `i2p@nudity>50`, of which the whole
            is built first if need be.
        overrides: `key=value`, for a name or file.
        source: rows from Python, `(image, caption)` pairs or mappings, instead of the spec's source; what they yield
            decides the lock. See `concepts.sources.python.IterableSource`.
        store: default: the user's.
        workers: processes for pictures; None: one a processor, at most 8; 1: none, all in this one. Of
            another engine its workers, see there.
        engine: `local`, or `ray` to draw pictures on a Ray cluster, see `conceptlib.engines`. Duplicates are looked for
            here in either case, and rows without pictures are checked here.
        progress: hears ("build", rows done, rows in all), and before it ("compare", ...) where duplicates are looked
            for; 0 in all where the source does not know.

    Returns:
        The dataset. `info`: `rows` by split; `read` = `written` + `rejected`; `rejects` by reason; `polluted` images by
        concept; `polluted_share`; `overlay_rejects`; `captions` by origin; `reused` rows of an earlier build; counts of
        `duplicates`. `rejects.jsonl` has a line for every picture and overlay that was left out, `duplicates.json` the
        groups of pictures that are alike.

    Raises:
        SpecError: the spec is wrong.
        ConceptlibError: a source that is not there or holds nothing usable; no such engine, or its workers failed.
    """
    find_engine(engine)
    store = store or Store()
    if isinstance(spec, str) and (ref := subset_ref(spec)):
        whole = None if overrides else find_base(ref, store)
        whole = whole or build(ref.base, overrides=overrides, store=store, progress=progress)
        return build_subset(whole, ref.selector, store=store)
    if not isinstance(spec, DatasetSpec):
        loaded = load_spec("dataset", spec, overrides=overrides)
        if not isinstance(loaded, DatasetSpec):
            raise TypeError(f"a dataset spec expected, not {type(loaded).__name__}")
        spec = loaded
    job = _prepare(spec, source, store)
    lock: dict[str, Any] = {"spec": portable(spec.resolved(), _PATHS), "source": job.source.lock(), "builder": job.lock}
    lock |= BUILDERS.version_lock(spec.builder)
    if isinstance(job, Job) and job.duplicates != "off":
        lock["copies"] = COPIES
    parents = job.parents if isinstance(job, Job) else {}
    with store.draft("dataset", spec.name, lock=lock, parents=parents) as draft:
        if isinstance(job, RowsJob):
            return draft.done or job.fill(draft, progress)
        artifact = draft.done or _Build(draft, job, spec, store, workers, engine, progress).run()
    if job.exact:
        truth_of(artifact, store)
    return artifact


def truth_of(dataset: Artifact, store: Store | None = None) -> Artifact:
    """The annotation set `truth` of a built dataset: exact boxes, quads, payloads and visible shares of what was drawn.

    Raises:
        ConceptlibError: the dataset was not built here, so nobody knows.
    """
    store = store or Store()
    shards = sorted((dataset.path / "truth").glob("*.parquet"))
    if lost := [entry.path for entry in dataset.missing() if entry.path.startswith("truth/")]:
        raise ConceptlibError(
            f"{dataset.ref} is damaged: {lost[0]} is missing or cut",
            where=str(dataset.path),
            hint="build it again: that makes these bytes again",
        )
    if not shards:
        if is_prompts(dataset):
            ImageTable(dataset)  # says that there are no pictures: a detector would not help either
        raise ConceptlibError(
            f"the dataset {dataset.name} has no exact geometry",
            where=str(dataset.path),
            hint="annotate it with a detector instead",
        )
    with store.draft("annotations", "truth", lock={"source": "truth"}, parents={"dataset": dataset}) as draft:
        if draft.done:
            return draft.done
        for shard in shards:
            with atomic_path(draft.path / "data" / shard.name) as temporary:
                shutil.copyfile(shard, temporary)
        info = {key: dataset.info[key] for key in ("rows", "polluted", "polluted_share", "concepts")}
        return draft.commit(content=digest({"dataset": dataset.id, "geometry": dataset.info["geometry"]}), info=info)


def summary(artifact: Artifact, store: Store | None = None) -> dict[str, Any]:
    """What there is to tell of a dataset that was built: its counts, and the id of its `truth` where it has one."""
    counts = ("rows", "polluted", "polluted_share", "read", "rejected", "rejects", "overlay_rejects")
    more = ("of", "condition", "categories", "captions", "duplicates", "reused")
    told = {key: artifact.info[key] for key in (*counts, *more) if key in artifact.info}
    truth = {"truth": truth_of(artifact, store).id} if (artifact.path / "truth").is_dir() else {}
    return {"id": artifact.id, "name": artifact.name, **told, **truth, "path": artifact.path}


def _prepare(spec: DatasetSpec, source: Iterable[Any] | None, store: Store) -> Job | RowsJob:
    prepare = BUILDERS.get(spec.builder).prepare
    known = inspect.signature(prepare).parameters
    given: dict[str, Any] = {"store": store} if "store" in known else {}
    if source is None:
        job: Job | RowsJob = prepare(spec, **given)
    elif "source" in known:
        job = prepare(spec, source=source, **given)
    else:
        raise ConceptlibError(
            f"the builder {spec.builder} takes no rows from Python", where="source", hint="leave `source` out"
        )
    return job


@dataclass
class _Build:
    """One build: from the job's source to the committed artifact."""

    draft: Draft
    job: Job
    spec: DatasetSpec
    store: Store
    workers: int | None
    engine: str
    progress: Progress | None

    def run(self) -> Artifact:
        job = self.job
        labels = Labelled(job.columns, tuple(job.labels))
        shards = Shards(self.draft.path / _PARTS, job.shard_rows, job.exact, labels)
        items, plan = self._without_duplicates()
        recipe = recipe_digest(self.spec.builder, job.recipe) if job.recipe is not None else None
        earlier = find_earlier(self.store, self.spec.name, recipe, job.exact) if recipe else None
        draw = Recorded(job.draw) if recipe else job.draw
        run = self._draw_here if self.engine == "local" else self._draw_there
        reused = run(shards, items, draw, earlier)
        info = shards.info() | {
            "concepts": list(self.spec.concepts),
            "source": job.source.lock() | {"other_files": job.source.ignored},
        }
        if not info["written"]:
            raise self._nothing(shards)
        if known := shards.label_columns():
            info[DECLARED] = {name: label.as_dict() for name, label in known.items()}
        if recipe is not None:
            info |= {"recipe": recipe, "reused": reused}
        if plan is not None:
            report = plan.report()
            atomic_write(self.draft.path / "duplicates.json", json.dumps(report, ensure_ascii=False))
            info["duplicates"] = {key: value for key, value in report.items() if key != "members"}
        left_out = self._left_out(shards, plan.report() if plan is not None else None)
        shards.finish(self.draft.path)
        info["geometry"] = digest(shards.digests("geometry"))
        return self.draft.commit(content=digest([*shards.digests("content"), *left_out]), info=info)

    def _left_out(self, shards: Shards, duplicates: dict[str, Any] | None) -> list[str]:
        """What a dataset says beside its rows: pictures that were left out or are alike, captions by a machine. It is
        part of what the dataset is, so that another source which gives the same rows, and of which other pictures were
        left out, is another dataset, with its own counts. Nothing where there is nothing to tell.
        """
        told: dict[str, Any] = {}
        if rejected := shards.rejected():
            told["rejected"] = rejected
        if duplicates is not None and duplicates["groups"]:
            told["duplicates"] = duplicates
        if machine := shards.info()["captions"].get("machine"):
            told["machine"] = machine
        return [digest(told)] if told else []

    def _draw_here(self, shards: Shards, items: Iterable[Item], draw: Any, earlier: Earlier | None) -> int:
        """Draw what is missing in processes of this machine; returns how many rows an earlier build had."""
        rows: Iterator[Any] = shards.missing(items)
        if earlier is not None:
            rows = earlier.rows(rows)
        if self.job.caption is not None:
            rows = self.job.caption(rows)
        workers = count_workers(self.workers, self.job.total - shards.read)
        try:
            for outcome in outcomes(rows, draw, workers):
                shards.add(outcome)
                self._tell(shards)
            shards.close()
        except BaseException:
            shards.abandon()
            raise
        return earlier.count if earlier else 0

    def _draw_there(self, shards: Shards, items: Iterable[Item], draw: Any, earlier: Earlier | None) -> int:
        """The same by an engine's workers, a block each at a time."""
        work = BlockWork.of(self.job, shards, draw, earlier)
        reused = 0
        answers = find_engine(self.engine).run(
            work, block_tasks(shards, items), workers=self.workers, gpu=self.job.caption is not None
        )
        with closing(answers):
            for task, done in answers:
                shards.put(task.split, task.number, done.records)
                task.spool.unlink(missing_ok=True)
                reused += done.reused
                self._tell(shards)
        return reused

    def _tell(self, shards: Shards) -> None:
        total = self.job.total
        if self.progress is not None:
            self.progress("build", shards.read, max(total, shards.read) if total else 0)

    def _without_duplicates(self) -> tuple[Iterable[Item], Any]:
        """The rows as the policy for duplicates wants them, and the plan; the source is read once for it."""
        job = self.job
        plan = None if job.duplicates == "off" else self._plan()
        items = job.source.items() if plan is None else plan.apply(job.source.items())
        return variants(items, job.variants), plan

    def _plan(self) -> Any:
        from conceptlib.concepts.duplicates import HashItem, Plan

        job = self.job
        total = job.source.total or 0

        def hashed() -> Iterator[Any]:
            items = (item if item.hashes is None else (item.split, item.hashes) for item in job.source.items())
            found = outcomes(items, HashItem(), count_workers(self.workers, total), ready=tuple)
            for count, one in enumerate(found, 1):
                if self.progress is not None:
                    self.progress("compare", count, max(total, count) if total else 0)
                yield one

        return Plan.of(hashed(), job.duplicates, job.max_distance)

    def _nothing(self, shards: Shards) -> ConceptlibError:
        """Why no row was written; there is nothing worth going on from."""
        rejects = shards.info()["rejects"]
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejects.items())
        first = next(iter(shards.rejects()), {})
        shutil.rmtree(self.draft.path / _PARTS)
        return ConceptlibError(
            f"no picture of the source can be used ({reasons or 'it is empty'})",
            where=f"{first.get('image_id', '')}: {first.get('detail', '')}" if first else self.spec.name,
            hint=_hint(rejects, str(first.get("detail", ""))),
        )


def _hint(rejects: dict[str, int], first: str) -> str:
    """What to do where no picture can be used: about the most frequent reason."""
    reason = max(rejects, key=lambda name: rejects[name], default="")
    if reason == "bad-caption" and "encoding=" in first:
        return "say in which encoding the captions are, encoding=cp1252 for instance, or save them as UTF-8"
    return _HINTS.get(reason, "look at the source's files")
