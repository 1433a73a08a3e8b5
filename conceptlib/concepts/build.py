"""Build a dataset: every row of a source through a builder, into Parquet shards with exact geometry beside them.

    artifact = build("icd-qr", overrides=["rows=64"])
    truth = truth_of(artifact)                          # annotation set `truth`: what was drawn, and where

Rows go through worker processes in order, a bounded number at a time; a shard that is finished stays, so that the same
build, stopped at any point, goes on from there. What a row becomes depends on the spec and the row alone, never on the
number of workers. The dataset's id hashes what it says (row ids, pictures' sha256, captions, geometry), not Parquet's
bytes.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.concepts.builders import Job, Progress, RowsJob
from conceptlib.concepts.prompts.subset import build_subset, find_base, subset_ref
from conceptlib.concepts.prompts.table import is_prompts
from conceptlib.concepts.reuse import Earlier, Recorded, find_earlier, recipe_digest
from conceptlib.concepts.shards import Shards
from conceptlib.concepts.sources import Item
from conceptlib.concepts.tables import ImageTable
from conceptlib.concepts.workers import count_workers, outcomes
from conceptlib.errors import ConceptlibError
from conceptlib.specs import BUILDERS, DatasetSpec, load_spec
from conceptlib.store import Artifact, Draft, Store
from conceptlib.store.files import atomic_path, atomic_write
from conceptlib.store.hashing import digest

_PARTS = "parts"


def build(
    spec: str | Path | DatasetSpec,
    *,
    overrides: Sequence[str] = (),
    source: Iterable[Any] | None = None,
    store: Store | None = None,
    workers: int | None = None,
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
        workers: processes for pictures; None: one a processor, at most 8; 1: none, all in this one.
        progress: hears ("build", rows done, rows in all), and before it ("compare", ...) where duplicates are looked
            for; 0 in all where the source does not know.

    Returns:
        The dataset. `info`: `rows` by split; `read` = `written` + `rejected`; `rejects` by reason; `polluted` images by
        concept; `polluted_share`; `overlay_rejects`; `captions` by origin; `reused` rows of an earlier build; counts of
        `duplicates`. `rejects.jsonl` has a line for every picture and overlay that was left out, `duplicates.json` the
        groups of pictures that are alike.

    Raises:
        SpecError: the spec is wrong.
        ConceptlibError: a source that is not there or holds nothing usable.
    """
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
    job = _prepare(spec, source)
    lock = {"spec": _portable(spec.resolved()), "source": job.source.lock(), "builder": job.lock}
    with store.draft("dataset", spec.name, lock=lock, parents={}) as draft:
        if isinstance(job, RowsJob):
            return draft.done or job.fill(draft, progress)
        artifact = draft.done or _Build(draft, job, spec, store, workers, progress).run()
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
    if not shards:
        if is_prompts(dataset):
            ImageTable(dataset)  # says that there are no pictures: a detector would not help either
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


def summary(artifact: Artifact, store: Store | None = None) -> dict[str, Any]:
    """What there is to tell of a dataset that was built: its counts, and the id of its `truth` where it has one."""
    counts = ("rows", "polluted", "polluted_share", "read", "rejected", "rejects", "overlay_rejects")
    more = ("of", "condition", "categories", "captions", "duplicates", "reused")
    told = {key: artifact.info[key] for key in (*counts, *more) if key in artifact.info}
    truth = {"truth": truth_of(artifact, store).id} if (artifact.path / "truth").is_dir() else {}
    return {"id": artifact.id, "name": artifact.name, **told, **truth, "path": artifact.path}


def _prepare(spec: DatasetSpec, source: Iterable[Any] | None) -> Job | RowsJob:
    prepare = BUILDERS.get(spec.builder).prepare
    if source is None:
        job: Job | RowsJob = prepare(spec)
    elif "source" in inspect.signature(prepare).parameters:
        job = prepare(spec, source=source)
    else:
        raise ConceptlibError(
            f"the builder {spec.builder} takes no rows from Python", where="source", hint="leave `source` out"
        )
    return job


def _portable(resolved: dict[str, Any]) -> dict[str, Any]:
    """A resolved spec without the places of the user's files: their content is in the lock, and their paths are
    nobody's business.
    """
    params = dict(resolved["params"])
    for name in ("source", "fonts", "missing_captions", "file"):
        value = params.get(name)
        if isinstance(value, str) and Path(value).expanduser().exists():
            params[name] = Path(value).expanduser().resolve().name
    return resolved | {"params": params}


@dataclass
class _Build:
    """One build: from the job's source to the committed artifact."""

    draft: Draft
    job: Job
    spec: DatasetSpec
    store: Store
    workers: int | None
    progress: Progress | None

    def run(self) -> Artifact:
        job = self.job
        shards = Shards(self.draft.path / _PARTS, job.shard_rows, job.exact)
        total = job.source.total or 0
        items, plan = self._without_duplicates()
        rows: Iterator[Any] = shards.missing(items)
        recipe = recipe_digest(self.spec.builder, job.recipe) if job.recipe is not None else None
        earlier: Earlier | None = None
        if recipe is not None and (earlier := find_earlier(self.store, self.spec.name, recipe, job.exact)):
            rows = earlier.rows(rows)
        if job.caption is not None:
            rows = job.caption(rows)
        workers = count_workers(self.workers, total - shards.read)
        try:
            for outcome in outcomes(rows, Recorded(job.draw) if recipe else job.draw, workers):
                shards.add(outcome)
                if self.progress is not None:
                    self.progress("build", shards.read, max(total, shards.read) if total else 0)
            shards.close()
        except BaseException:
            shards.abandon()
            raise
        info = shards.info() | {
            "concepts": list(self.spec.concepts),
            "source": job.source.lock() | {"other_files": job.source.ignored},
        }
        if not info["written"]:
            raise self._nothing(shards)
        if recipe is not None:
            info |= {"recipe": recipe, "reused": earlier.count if earlier else 0}
        if plan is not None:
            report = plan.report()
            atomic_write(self.draft.path / "duplicates.json", json.dumps(report, ensure_ascii=False))
            info["duplicates"] = {key: value for key, value in report.items() if key != "members"}
        shards.finish(self.draft.path)
        info["geometry"] = digest(shards.digests("geometry"))
        return self.draft.commit(content=digest(shards.digests("content")), info=info)

    def _without_duplicates(self) -> tuple[Iterable[Item], Any]:
        """The source's items as the policy for duplicates wants them, and the plan; the source is read once for it."""
        job = self.job
        if job.duplicates == "off":
            return job.source.items(), None
        from conceptlib.concepts.duplicates import HashItem, Plan

        total = job.source.total or 0

        def hashed() -> Iterator[Any]:
            found = outcomes(job.source.items(), HashItem(), count_workers(self.workers, total))
            for count, one in enumerate(found, 1):
                if self.progress is not None:
                    self.progress("compare", count, max(total, count) if total else 0)
                yield one

        plan = Plan.of(hashed(), job.duplicates, job.max_distance)
        return plan.apply(job.source.items()), plan

    def _nothing(self, shards: Shards) -> ConceptlibError:
        """Why no row was written; there is nothing worth going on from."""
        rejects = shards.info()["rejects"]
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejects.items())
        first = next(iter(shards.rejects()), {})
        shutil.rmtree(self.draft.path / _PARTS)
        keep = (
            "write metadata.jsonl or NAME.txt files, or say missing_captions=keep, or =MODEL for one that writes them"
        )
        return ConceptlibError(
            f"no picture of the source can be used ({reasons or 'it is empty'})",
            where=f"{first.get('image_id', '')}: {first.get('detail', '')}" if first else self.spec.name,
            hint=keep if "no-caption" in rejects else "look at the source's files",
        )
