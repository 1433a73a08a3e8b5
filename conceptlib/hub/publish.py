"""Publish an artifact: plan, send, read back, tag. See docs/publishing.md.

As a library:

    from conceptlib import publish

    publish("icd-qr", "org/icd-qr", dry_run=True).files      # what would be sent; no request is made
    publish("icd-qr", "org/icd-qr")                          # to the Hub
    publish("geom-erasing/qr", "./out/no-qr")                # the same files in a folder
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Literal

from conceptlib.errors import NotFound, UsageError
from conceptlib.hub.licences import check_licence
from conceptlib.hub.plan import CARD, CardOptions, Plan, PlannedFile, manifest_file
from conceptlib.hub.scan import refuse_secrets_in
from conceptlib.hub.target import FolderTarget, HubTarget, check_tag, parse_target
from conceptlib.progress import Progress
from conceptlib.store import Artifact, Store, kinds

_OPEN_FOLDER = "this is not for all audiences, and a folder is not gated: gate the repository that you upload it to"


@dataclass(frozen=True)
class PublishResult:
    """What became of a publication.

    target: as in examples ("org/name" or the folder). revision: commit id of the verified files on the Hub, None for
    a folder or a dry
    run. tag: its name, None for a folder. files: all of them. status: "published", "unchanged" (it was there
    already; nothing was
    written) or "dry-run". url: the page, or the folder. card: README.md. notes: what the user should know. gated: how
    readers get access ("auto", "manual"), as far as this publication decides it.
    """

    target: str
    revision: str | None
    tag: str | None
    files: tuple[PlannedFile, ...]
    status: Literal["published", "unchanged", "dry-run"]
    url: str
    card: str
    notes: tuple[str, ...] = ()
    gated: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "files": [file.as_dict() for file in self.files]
        }


def make_plan(
    artifact: Artifact,
    store: Store,
    target: HubTarget | FolderTarget,
    *,
    license: str | None = None,
    tag: str | None = None,
) -> Plan:
    """All that a publication of `artifact` consists of; reads the store only.

    Raises:
        ConceptlibError: this kind of artifact is not published, or the artifact is damaged.
    """
    if artifact.kind not in _published():
        raise UsageError(
            f"{artifact.kind} {artifact.ref} cannot be published by itself",
            where=str(artifact.path),
            hint=f"publish a {', '.join(_published())}: {_travels()}",
        )
    module = import_module(kinds.get(artifact.kind).publisher)
    if isinstance(target, HubTarget) and target.repo_type not in ("", module.REPO_TYPE):
        raise UsageError(
            f"a {artifact.kind} is published as a {module.REPO_TYPE}, not as a {target.repo_type}",
            hint=f"--to {target.repo_id}",
        )
    contents = module.contents(artifact, store, CardOptions(target.name, license))
    card = PlannedFile.from_bytes(CARD, contents.card.encode())
    files = {file.path: file for file in (*contents.files, card)}
    manifest = manifest_file(artifact, files)
    files[manifest.path] = manifest
    ordered = tuple(files[path] for path in sorted(files))
    return Plan(
        artifact, module.REPO_TYPE, contents.card, ordered, tag or f"v-{artifact.id}", contents.notes, contents.unsafe
    )


def _published() -> list[str]:
    """The kinds that are published by themselves, in the order of their names."""
    return sorted(kind.name for kind in kinds.known() if kind.publisher)


def _travels() -> str:
    """With what the other kinds are published."""
    return ", ".join(kind.travels for kind in kinds.known() if kind.travels)


def _find(store: Store, ref: str | os.PathLike[str] | Artifact, kind: str | None) -> Artifact:
    """What `ref` means, rather of a kind that can be published: a detector and its annotation sets share a name."""
    found = store.get(ref, kind)
    for other in _published() if kind is None and found.kind not in _published() else ():
        with suppress(NotFound):
            return store.get(ref, kind=other)
    return found


def _namesakes(store: Store, artifact: Artifact) -> list[str]:
    """A note, if the artifact's name means others that can be published as well."""
    others = [f"{one.kind} {one.id}" for one in store.namesakes(artifact) if one.kind in _published()]
    return (
        [f"{artifact.name} was taken for the {artifact.kind}; it is also {', '.join(others)} (--kind)"]
        if others
        else []
    )


def publish(
    ref_or_artifact: str | os.PathLike[str] | Artifact,
    to: str | os.PathLike[str],
    *,
    kind: str | None = None,
    store: Store | None = None,
    dry_run: bool = False,
    private: bool = False,
    gated: Literal["auto", "manual"] | None = None,
    license: str | None = None,
    tag: str | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> PublishResult:
    """Publish a dataset, a checkpoint or a detector to a repository on the Hub, or to a folder.

    The same call again writes nothing; a call that failed half-way is finished by the same call. "published" means
    that every file was
    read back and compared by hash.

    Args:
        ref_or_artifact: what `Store.get` finds.
        kind: narrows that, where several kinds share the name.
        to: "ORG/NAME", "hf://ORG/NAME", or a folder ("./DIR", "/DIR", a Path); see `parse_target`.
        dry_run: only plan; no request is made and no file written.
        private: make the repository private when it is created. An existing public one is refused.
        gated: who may download has to ask ("auto": granted at once, "manual": the owner decides). None leaves it as
            it is; what is not for all audiences then becomes "auto" where it is not gated, and is never sent to a
            repository that stays open.
        license: a licence id of the Hub ("apache-2.0", "cc-by-4.0", ...); else what the artifact knows, else "unknown".
        tag: name of the tag instead of `v-<artifact id>`.
        token: else huggingface_hub's own (`HF_TOKEN`, `hf auth login`). It is never shown or written.
        progress: see docs/architecture.md; stages "hash", "look for secrets", "upload", "read back".

    Raises:
        UsageError: the target is unclear or does not fit the kind.
        ConceptlibError: a file holds a secret (`hub.scan`); everything else that went wrong, with what arrived and what
            to do next.
    """
    target = parse_target(to)
    store = store or Store()
    artifact = _find(store, ref_or_artifact, kind)
    if isinstance(target, FolderTarget) and (private or gated or tag):
        raise UsageError(
            "private, gated and tag are for repositories on the Hub, and this is a folder", where=str(target.path)
        )
    if gated not in (None, "auto", "manual"):
        raise UsageError(f"gated cannot be {gated!r}", hint="auto or manual")
    check_tag(tag)
    check_licence(license)
    plan = make_plan(artifact, store, target, license=license, tag=tag)
    if kind is None and ref_or_artifact in (artifact.name, f"{artifact.name}@latest"):
        plan = replace(plan, notes=(*plan.notes, *_namesakes(store, artifact)))
    refuse_secrets_in(plan.files, token, progress)

    if isinstance(target, FolderTarget):
        from conceptlib.hub.local import publish_to_folder

        status: Any = "dry-run" if dry_run else publish_to_folder(plan, target.path)
        notes = (*plan.notes, _OPEN_FOLDER) if plan.unsafe else plan.notes
        return PublishResult(str(target.path), None, None, plan.files, status, str(target.path), plan.card, notes)

    from conceptlib.hub.remote import page_url, publish_to_hub

    url = page_url(target.repo_id, plan.repo_type)
    if dry_run:
        gate = gated or ("auto" if plan.unsafe else None)
        return PublishResult(target.repo_id, None, plan.tag, plan.files, "dry-run", url, plan.card, plan.notes, gate)
    sent = publish_to_hub(
        plan, target.repo_id, store=store, private=private, gated=gated, token=token, progress=progress
    )
    return PublishResult(
        target.repo_id, sent.revision, plan.tag, plan.files, sent.status, url, plan.card, plan.notes, sent.gated
    )


__all__ = ["PublishResult", "make_plan", "publish"]
