"""Make an artifact again from manifests alone, with all that it was made from, and compare.

    result = reproduce("uce/object/erasure", into="again")    # an evaluation: its checkpoint, its pictures, its scores
    result.same, result.steps, result.scores

A manifest says what decided an artifact (`lock`), what it was made from (`parents`) and where (`environment`). Nothing
else of the old store is read, but the captions of pictures that were drawn by themselves, and old scores to compare
with. What comes out differently is told with the reasons that the manifests know: another lock, another parent, other
versions, another device.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError, NotFound
from conceptlib.progress import Progress
from conceptlib.store import Artifact, Store
from conceptlib.store.files import atomic_write
from conceptlib.store.manifest import MANIFEST

_MADE_WITH = ("images:", "annotations:")
"""Parents of an evaluation that are made with it."""
_SPECS = "specs"


@dataclass(frozen=True)
class Step:
    """One artifact: as it was, and as it came out (None in a dry run). why: what the manifests know of a difference."""

    was: Artifact
    made: Artifact | None = None
    why: tuple[str, ...] = ()

    @property
    def same(self) -> bool | None:
        """Whether both have the same id; None where nothing was made."""
        return None if self.made is None else self.made.id == self.was.id

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.was.kind,
            "name": self.was.name,
            "was": self.was.id,
            "made": self.made.id if self.made else None,
            "same": self.same,
            "why": list(self.why),
        }


@dataclass(frozen=True)
class Reproduction:
    """What came out. steps: ancestors first, the artifact itself last. scores: of an evaluation, a row a subject and
    metric with the values `was` and `now`. into: the store that holds what was made.
    """

    steps: tuple[Step, ...]
    scores: tuple[dict[str, Any], ...]
    into: Path

    @property
    def same(self) -> bool | None:
        """Whether the artifact that was asked for came out with the same id."""
        return self.steps[-1].same

    def as_dict(self) -> dict[str, Any]:
        steps = [step.as_dict() for step in self.steps]
        return {"same": self.same, "steps": steps, "scores": list(self.scores), "into": self.into}


def reproduce(
    ref: str | Path | Artifact,
    *,
    into: str | Path | None = None,
    store: Store | None = None,
    source: str | None = None,
    dry_run: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Make an artifact and its ancestors again in a store of their own. Stopped, the same call goes on.

    Args:
        ref: what `Store.get` finds, or a folder with a manifest. Ancestors are looked for in the store, then by their
            manifests beside and below that folder.
        into: the folder of the new store; by default `reproduced/<id>` in the store's home.
        source: where the pictures are that a dataset was built from, if not in the embedded world or on the Hub; or the
            file or folder that a checkpoint was imported from.
        dry_run: only say what would be made.
        device: for everything; the best there is if None.
        progress: called with (stage, done, total).

    Raises:
        NotFound: no such artifact; an ancestor whose manifest is nowhere.
        ConceptlibError: something that no manifest can make again: an import, a source that is not said.
    """
    store = store or Store()
    wanted = ref if isinstance(ref, Artifact) else store.get(ref)
    manifests = _Manifests(store, wanted)
    needed = _ancestors(wanted, manifests)
    target = Path(into).expanduser().absolute() if into is not None else store.root / "reproduced" / wanted.id
    for one in needed:
        _refuse_impossible(one, source)
    if dry_run:
        return Reproduction(tuple(map(Step, needed)), (), target)
    maker = _Maker(Store(target), manifests, source, device, progress)
    steps = tuple(maker.step(one) for one in needed)
    last = steps[-1]
    scores = _scores(last) if wanted.kind == "evaluation" else []
    return Reproduction(steps, tuple(scores), target)


class _Manifests:
    """Where ancestors are found: by id, in the store and around the artifact's own folder."""

    def __init__(self, store: Store, wanted: Artifact) -> None:
        self.store = store
        self.around: dict[str, Artifact] = {}
        inside = wanted.path.is_relative_to(store.root)
        folders = [] if inside else [wanted.path, *wanted.path.parent.iterdir()]
        for manifest in (path for folder in folders for path in (folder / MANIFEST, *folder.glob(f"*/{MANIFEST}"))):
            if manifest.is_file():
                try:
                    found = Artifact.open(manifest.parent)
                except ConceptlibError:
                    continue
                self.around.setdefault(found.id, found)

    def get(self, artifact_id: str, role: str, child: Artifact) -> Artifact:
        if artifact_id in self.around:
            return self.around[artifact_id]
        try:
            return self.store.get(artifact_id)
        except NotFound:
            raise NotFound(
                f"the manifest of {child.ref}'s {role}, {artifact_id}, is not here",
                where=str(child.path),
                hint="use the store that it was made in (--home), or put the folder of that artifact beside this one",
            ) from None


def _ancestors(wanted: Artifact, manifests: _Manifests) -> list[Artifact]:
    """Everything that is made on the way to an artifact, ancestors first, and the artifact."""
    found: dict[str, Artifact] = {}

    def visit(one: Artifact) -> None:
        if one.id in found:
            return
        for role, parent in one.parents.items():
            if not role.startswith(_MADE_WITH):
                visit(manifests.get(parent, role, one))
        found[one.id] = one

    visit(wanted)
    return list(found.values())


def _refuse_impossible(one: Artifact, source: str | None) -> None:
    """What no manifest can make again is told before anything is made."""
    hint = ""
    if one.kind == "dataset" and "spec" in one.lock:
        pinned = one.lock.get("source") or {}
        if pinned.get("kind") not in (None, "world") and "id" not in pinned and not source:
            hint = "it was built from files that lie somewhere: say where, with --source PATH"
    elif _imported(one) and not source:
        hint = "it was imported: say what from, with --source PATH (or org/name/path/to/file)"
    elif one.kind == "annotations" and one.name != "truth" and "detector" not in one.lock:
        hint = "they were imported: `conceptlib import` takes them over again"
    elif one.kind == "images" and not (one.path / "data").is_dir():
        hint = "its captions are only in its pictures' tables, and they are not here"
    if hint:
        raise ConceptlibError(f"{one.kind} {one.ref} cannot be made again from its manifest", where=one.path, hint=hint)


def _imported(one: Artifact) -> bool:
    """Whether a checkpoint was made elsewhere: its lock then holds no whole recipe."""
    return one.kind == "checkpoint" and "kind" not in (one.lock.get("recipe") or {})


class _Maker:
    """Makes artifacts in the new store; `made` knows the new one of every old id."""

    def __init__(
        self,
        store: Store,
        manifests: _Manifests,
        source: str | None,
        device: str | None,
        progress: Progress | None,
    ) -> None:
        self.store, self.manifests, self.source = store, manifests, source
        self.device, self.progress = device, progress
        self.made: dict[str, Artifact] = {}

    def step(self, was: Artifact) -> Step:
        make = {
            "dataset": self._dataset,
            "annotations": self._annotations,
            "detector": self._detector,
            "checkpoint": self._checkpoint,
            "images": self._images,
            "evaluation": self._evaluation,
        }[was.kind]
        made = make(was)
        self.made[was.id] = made
        return Step(was, made, tuple(self._reasons(was, made)))

    def _reasons(self, was: Artifact, made: Artifact) -> list[str]:
        if was.id == made.id:
            return []
        parents = [role for role, old in was.parents.items() if old in self.made and self.made[old].id != old]
        found = [f"its {role} came out differently" for role in parents]
        found += [f"lock: {line}" for line in _differences(was.lock, made.lock)]
        found += _differences(was.environment, made.environment)
        return found or ["the manifests know no reason"]

    def _spec(self, was: Artifact, spec: Mapping[str, Any]) -> Path:
        """A spec out of a lock, as a file beside the new store's artifacts."""
        path = self.store.root / _SPECS / "of-locks" / f"{was.id}-{spec['kind']}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(dict(spec), indent=1, ensure_ascii=False) + "\n")
        return path

    def _common(self) -> dict[str, Any]:
        return {"store": self.store, "progress": self.progress}

    def _parent(self, was: Artifact, role: str) -> Artifact | None:
        return self.made.get(was.parents.get(role, ""))

    def _dataset(self, was: Artifact) -> Artifact:
        from conceptlib.concepts.build import build

        if "spec" not in was.lock:
            raise ConceptlibError(
                f"{was.ref} is a part of another dataset",
                where=was.path,
                hint="reproduce the whole, then build the part",
            )
        pinned = was.lock.get("source") or {}
        overrides = []
        if pinned.get("id"):
            overrides = [f"source={json.dumps(str(pinned['id']) + '@' + str(pinned['revision']))}"]
        elif pinned.get("kind") not in (None, "world"):
            overrides = [f"source={json.dumps(str(self.source))}"]
        if (excluded := self._parent(was, "detector")) and was.lock["spec"]["params"].get("exclude") != excluded.name:
            overrides.append(f"exclude={json.dumps(excluded.ref)}")
        return build(self._spec(was, was.lock["spec"]), overrides=overrides, **self._common())

    def _annotations(self, was: Artifact) -> Artifact:
        from conceptlib.detectors.annotate import annotate

        dataset = self._parent(was, "dataset")
        assert dataset is not None  # parents come first
        if was.name == "truth":
            return self.store.list(kind="annotations", name="truth", parent=dataset.id)[-1]
        finder = self._parent(was, "detector") or self._finder(was, was.lock["detector"], was.name)
        split = was.lock.get("split")
        return annotate(dataset, finder, split=split, device=self.device, **self._common())

    def _finder(self, was: Artifact, lock: Mapping[str, Any], name: str) -> Path | str:
        """The spec of a detector that was not trained: out of the lock of what it found, or by its name where the lock
        holds more than a spec does.
        """
        from conceptlib.specs import check_spec

        spec = {"kind": "detector", "name": name, "adapter": lock.get("adapter"), "params": lock.get("params") or {}}
        path = self._spec(was, spec)
        return name if check_spec("detector", path) else path

    def _detector(self, was: Artifact) -> Artifact:
        from conceptlib.detectors.train import train_detector

        data, known = self._parent(was, "dataset"), self._parent(was, "annotations")
        assert data is not None  # parents come first
        spec = self._spec(was, was.lock["spec"])
        return train_detector(spec, data, annotations=known, device=self.device, **self._common())

    def _checkpoint(self, was: Artifact) -> Artifact:
        from conceptlib.erasers.erase import erase

        if _imported(was):
            return self._import(was)
        return erase(
            self._spec(was, was.lock["recipe"]),
            data=self._parent(was, "dataset"),
            annotations=self._parent(was, "annotations"),
            base=_base(was.lock["base"]),
            dtype=was.lock.get("dtype"),
            device=self.device,
            **self._common(),
        )

    def _import(self, was: Artifact) -> Artifact:
        from conceptlib.erasers.foreign.importer import import_checkpoint
        from conceptlib.specs.discover import names

        known = names("concept")
        concepts = [name if name in known else phrases[0] for name, phrases in was.lock["phrases"].items()]
        return import_checkpoint(
            str(self.source),  # without one it was refused before
            method=was.lock["recipe"]["method"],
            concepts=concepts,
            base=_base(was.lock["base"]),
            name=was.name,
            **self._common(),
        )

    def _images(self, was: Artifact) -> Artifact:
        from conceptlib.concepts.tables import ImageTable
        from conceptlib.models.generate import generate

        table, lock = ImageTable(was), was.lock
        source = self._parent(was, "checkpoint") or _base(lock["source"]["base"])
        return generate(
            source,
            list(table.rows(columns=["caption", "seed", *table.labels])),
            labels=list(table.labels),
            negative=lock["negative_prompt"] or "none",
            num_steps=lock["num_steps"],
            guidance_scale=lock["guidance_scale"],
            resolution=lock["resolution"],
            split=lock["split"],
            name=was.name,
            device=self.device,
            dtype=lock.get("dtype"),
            **self._common(),
        )

    def _evaluation(self, was: Artifact) -> Artifact:
        from conceptlib.evaluators.suite import evaluate

        suite, measured = was.lock["suite"], was.lock.get("measured_with") or {}
        checkpoint = self._parent(was, "checkpoint")
        overrides = []
        if checkpoint is not None and list(was.lock["concepts"]) != list(checkpoint.lock["recipe"]["concepts"]):
            overrides = [f"concepts={json.dumps(list(was.lock['concepts']))}"]
        finder: Any = self._parent(was, "detector")
        if finder is None and measured.get("detector"):
            finder = self._finder(was, measured["detector"], self._detector_name(was))
        return evaluate(
            checkpoint if checkpoint is not None else was.name.rpartition("/")[0],
            self._spec(was, suite),
            overrides=overrides,
            detector=str(finder) if isinstance(finder, Path) else finder,
            device=self.device,
            dtype=checkpoint.lock.get("dtype") if checkpoint is not None else None,
            **self._common(),
        )

    def _detector_name(self, was: Artifact) -> str:
        """What the detector of an evaluation was called: as what it found is."""
        for role, artifact_id in was.parents.items():
            if role.startswith("annotations:"):
                with suppress(NotFound):
                    return self.manifests.get(artifact_id, role, was).name
        adapter = was.lock["measured_with"]["detector"].get("adapter")
        said = was.lock["suite"].get("params") or was.lock["suite"].get("judges", {}).get("detector", {})
        return str(adapter or said.get("detector"))


def _base(lock: Mapping[str, Any]) -> str:
    return "@".join(filter(None, (lock.get("ref"), lock.get("revision"))))


def _differences(was: Any, now: Any, place: str = "") -> list[str]:
    """`place: was, now` for each value that differs."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        keys = list(dict.fromkeys([*was, *now]))
        return [
            line
            for key in keys
            for line in _differences(was.get(key), now.get(key), f"{place}.{key}" if place else str(key))
        ]
    return [] if was == now else [f"{place}: {_short(was)}, now {_short(now)}"]


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _scores(step: Step) -> list[dict[str, Any]]:
    """What was measured, then and now; what was is in the manifest's summary."""
    assert step.made is not None
    summaries: list[Mapping[str, Mapping[str, float]]] = [one.info.get("summary", {}) for one in (step.was, step.made)]
    rows: list[dict[str, Any]] = []
    for subject in dict.fromkeys([*summaries[0], *summaries[1]]):
        before, after = (summary.get(subject, {}) for summary in summaries)
        for metric in dict.fromkeys([*before, *after]):
            was, now = before.get(metric), after.get(metric)
            rows.append({"subject": subject, "metric": metric, "was": was, "now": now, "same": was == now})
    return rows


__all__: Sequence[str] = ("Reproduction", "Step", "reproduce")
